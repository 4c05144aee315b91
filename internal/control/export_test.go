package control

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// TestReadReports reads the database that a running control writes.
func TestReadReports(t *testing.T) {
	dir := t.TempDir()
	db, err := openReports(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.close() })
	var batch []pendingReport
	for i, id := range []string{"late", "early"} {
		batch = append(batch, pendingReport{record: record{
			installation: wire.Key{1}, publisher: wire.Key{2}, received: time.Unix(int64(2000-i), 0),
			report: wire.Report{ID: id, Object: manifest.ObjectID{3}, Size: 100, FromEdge: 40, FromPeers: 60, Wasted: 5, Millis: 1500, Complete: true},
		}})
	}
	if err := db.commit(batch); err != nil {
		t.Fatal(err)
	}
	var got []StoredReport
	path := filepath.Join(dir, "reports.db")
	collect := func(r StoredReport) error { got = append(got, r); return nil }
	if err := ReadReports(t.Context(), path, collect); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Received.Unix() != 1999 || got[1].Received.Unix() != 2000 {
		t.Fatalf("read %+v", got)
	}
	r := got[0]
	if r.Installation[0] != 1 || r.Object[0] != 3 || r.Size != 100 || r.FromEdge != 40 || r.FromPeers != 60 || r.Wasted != 5 || r.Took != 1500*time.Millisecond || !r.Complete {
		t.Errorf("read %+v", r)
	}
	enough := errors.New("enough")
	if err := ReadReports(t.Context(), path, func(StoredReport) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	if err := ReadReports(t.Context(), filepath.Join(dir, "none.db"), collect); err == nil {
		t.Error("read a database that is not there")
	}
}
