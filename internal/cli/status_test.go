package cli

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/portmap"
)

func TestPrintStatus(t *testing.T) {
	st := agentapi.Status{Version: "tandem/test", Upload: true, UploadMonthly: 20 << 30, DownloadMonthly: 50 << 30}
	st.Month = ledger.Day{Uploaded: 3 << 30, Received: 5 << 30}
	st.Shared.Publishers = map[string]ledger.Share{
		"a.example": {Uploaded: 1 << 20, Last: "2026-11-01"}, "b\x1b.example": {Uploaded: 2 << 20, Last: "2026-11-02"},
	}
	text := func() string {
		var b bytes.Buffer
		printStatus(&b, st, time.Now())
		return b.String()
	}
	got := text()
	for _, want := range []string{"sharing, no limit", " of " + formatSize(20<<30), " of " + formatSize(50<<30), "sent for a.example"} {
		if !strings.Contains(got, want) {
			t.Errorf("without %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") || strings.Index(got, ".example  2") > strings.Index(got, "a.example") {
		t.Errorf("not sorted, or not printable:\n%s", got)
	}
	st.Paused = "on battery"
	if got := text(); !strings.Contains(got, "not sharing: on battery;") {
		t.Errorf("it does not say why nothing is shared:\n%s", got)
	}
}

func TestPrintPorts(t *testing.T) {
	now := time.Now()
	tcp := portmap.Mapping{Net: portmap.TCP, Internal: 4000, External: netip.MustParseAddrPort("11.0.0.1:4001"), Until: now.Add(90 * time.Second)}
	for _, tt := range []struct {
		st   portmap.Status
		want string
	}{
		{portmap.Status{Protocol: portmap.PCP, Mappings: []portmap.Mapping{tcp}}, "port mapping: tcp by PCP at 11.0.0.1:4001, for 1:30 unless renewed\n"},
		{portmap.Status{Why: "refused\x1b[31m"}, "port mapping: none: refused"},
		{portmap.Status{Protocol: portmap.UPnP, Mappings: []portmap.Mapping{tcp}, Why: "no udp"}, "unless renewed\nport mapping: not for every port: no udp\n"},
	} {
		var b strings.Builder
		printPorts(&b, tt.st, now)
		if !strings.Contains(b.String(), tt.want) || strings.Contains(b.String(), "\x1b") {
			t.Errorf("got %q, want %q", b.String(), tt.want)
		}
	}
}
