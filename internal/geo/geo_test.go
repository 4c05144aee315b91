package geo

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

func write(t *testing.T, records map[string]mmdbtype.DataType) string {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "test", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for cidr, rec := range records {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Insert(n, rec); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "test.mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := w.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookup(t *testing.T) {
	countries := write(t, map[string]mmdbtype.DataType{
		"192.0.2.0/24":    mmdbtype.Map{"country_code": mmdbtype.String("NL")},
		"198.51.100.0/24": mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("JP")}},
		"203.0.113.0/24":  mmdbtype.String("another shape"),
		"2001:db8::/32":   mmdbtype.Map{"country_code": mmdbtype.String("BR")},
	})
	asns := write(t, map[string]mmdbtype.DataType{
		"192.0.2.0/24": mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64500)},
	})
	db, err := Open(countries, asns)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, c := range []struct {
		ip, country string
		as          uint32
	}{
		{"192.0.2.7", "NL", 64500},
		{"::ffff:192.0.2.7", "NL", 64500},
		{"198.51.100.1", "JP", 0},
		{"203.0.113.9", "", 0},
		{"2001:db8::1", "BR", 0},
		{"8.8.8.8", "", 0},
	} {
		country, as := db.Lookup(netip.MustParseAddr(c.ip))
		if country != c.country || as != c.as {
			t.Errorf("%s: %q AS%d, want %q AS%d", c.ip, country, as, c.country, c.as)
		}
	}
}

func TestOpen(t *testing.T) {
	var none DB
	if c, as := none.Lookup(netip.MustParseAddr("192.0.2.1")); c != "" || as != 0 {
		t.Errorf("without files: %q AS%d", c, as)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.mmdb"), ""); err == nil {
		t.Error("a missing file gave no error")
	}
}
