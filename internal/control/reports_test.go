package control

import (
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// report is a good one of c: 100 bytes, 30 from the edge, 70 from an uploader.
func (c *client) report(id string, publisher ed25519.PrivateKey, expires time.Time) *wire.Report {
	r := &wire.Report{
		ID: id, Object: object, Grant: c.grant(publisher, object, expires), Session: public(c.session),
		Size: 100, FromEdge: 30, FromPeers: 70, Wasted: 5, Millis: 1000, Complete: true,
	}
	r.Receipts = []wire.PeerReceipt{c.receipt(wire.Key{7}, 70)}
	return c.sign(r)
}

func (c *client) sign(r *wire.Report) *wire.Report {
	r.Signature = ed25519.Sign(c.session, r.SignedBytes())
	return r
}

func (c *client) receipt(uploader wire.Key, n uint64) wire.PeerReceipt {
	signed := wire.ReceiptBytes(object, uploader.Public(), public(c.session).Public(), n)
	return wire.PeerReceipt{Uploader: uploader, Bytes: n, Signature: ed25519.Sign(c.session, signed)}
}

func (n *node) totals(t *testing.T) Totals {
	t.Helper()
	s, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Totals
}

var once = Totals{Reports: 1, Complete: 1, FromEdge: 30, FromPeers: 70, Receipted: 70, Wasted: 5}

func TestReportsCountOnce(t *testing.T) {
	data := t.TempDir()
	n := start(t, Config{Data: data})
	publisher := newKey(t)
	c := dial(t, n, "").login()
	r := c.report("download-1", publisher, time.Now().Add(time.Hour))
	for range 3 {
		c.send(wire.Message{Type: wire.MsgReport, Report: r})
		if ack := c.want(wire.MsgAck).Ack; ack.ID != r.ID {
			t.Fatalf("ack %+v", ack)
		}
	}
	if d := cmp.Diff(once, n.totals(t)); d != "" {
		t.Fatal(d)
	}
	// A restart with the same data knows it still.
	n.stop()
	n = start(t, Config{Data: data})
	again := dial(t, n, "")
	again.installation, again.session = c.installation, newKey(t)
	again.login()
	again.send(wire.Message{Type: wire.MsgReport, Report: r})
	again.want(wire.MsgAck)
	if d := cmp.Diff(once, n.totals(t)); d != "" {
		t.Fatal(d)
	}
	// Under another ID the same receipt does not count again.
	r.ID = "download-2"
	c.sign(r)
	again.send(wire.Message{Type: wire.MsgReport, Report: r})
	again.want(wire.MsgAck)
	want := Totals{Reports: 2, Complete: 2, FromEdge: 60, FromPeers: 140, Receipted: 70, Wasted: 10}
	s, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, s.Totals); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff([]ObjectTotals{{public(publisher), object, want}}, s.Objects); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff([]PublisherTotals{{public(publisher), want}}, s.Publishers); d != "" {
		t.Fatal(d)
	}
	// A receipt counts for no more than the report says came from peers.
	r = c.report("download-3", publisher, time.Now().Add(time.Hour))
	r.Receipts[0] = c.receipt(wire.Key{9}, 1_000_000)
	again.send(wire.Message{Type: wire.MsgReport, Report: r})
	again.want(wire.MsgAck)
	if got := n.totals(t); got.Receipted != 140 {
		t.Errorf("totals %+v", got)
	}
}

func TestReportRules(t *testing.T) {
	publisher := newKey(t)
	n := start(t, Config{Publishers: []ed25519.PublicKey{publisher.Public().(ed25519.PublicKey)}})
	c := dial(t, n, "").login()
	hour := time.Now().Add(time.Hour)
	for name, x := range map[string]struct {
		spoil func(*wire.Report)
		ok    bool
	}{
		"good":              {func(*wire.Report) {}, true},
		"late":              {func(r *wire.Report) { *r = *c.report(r.ID, publisher, hour.Add(-29*24*time.Hour)) }, true},
		"too late":          {func(r *wire.Report) { *r = *c.report(r.ID, publisher, hour.Add(-31*24*time.Hour)) }, false},
		"resumed":           {func(r *wire.Report) { r.FromEdge = 10 }, true},
		"not signed anew":   {func(r *wire.Report) { r.FromEdge = 10 }, false},
		"fewer receipts":    {func(r *wire.Report) { r.Receipts = nil }, true},
		"id":                {func(r *wire.Report) { r.ID = "../etc" }, false},
		"long id":           {func(r *wire.Report) { r.ID = fmt.Sprintf("%065d", 1) }, false},
		"publisher":         {func(r *wire.Report) { *r = *c.report(r.ID, newKey(t), hour) }, false},
		"object":            {func(r *wire.Report) { r.Object[0]++ }, false},
		"session":           {func(r *wire.Report) { r.Session[0]++ }, false},
		"sum":               {func(r *wire.Report) { r.FromEdge = 31 }, false},
		"negative":          {func(r *wire.Report) { r.FromEdge = -1 }, false},
		"overflow":          {func(r *wire.Report) { r.FromEdge, r.FromPeers = math.MaxInt64, math.MaxInt64 }, false},
		"huge":              {func(r *wire.Report) { r.Size = math.MaxInt64 }, false},
		"waste":             {func(r *wire.Report) { r.Wasted = math.MaxInt64 }, false},
		"duration":          {func(r *wire.Report) { r.Millis = math.MaxInt64 }, false},
		"receipt signature": {func(r *wire.Report) { r.Receipts[0].Signature[3]++ }, false},
		"receipt empty":     {func(r *wire.Report) { r.Receipts[0].Signature = nil }, false},
		"receipt bytes":     {func(r *wire.Report) { r.Receipts[0].Bytes++ }, false},
		"receipt of before": {func(r *wire.Report) { r.Receipts[0] = c.receipt(wire.Key{7}, 1000) }, true},
		"receipt twice":     {func(r *wire.Report) { r.Receipts = append(r.Receipts, r.Receipts[0]) }, false},
		"receipts overflow": {func(r *wire.Report) {
			r.Receipts = append(r.Receipts, c.receipt(wire.Key{8}, math.MaxUint64))
		}, false},
		"receipt for oneself": {func(r *wire.Report) { r.Receipts[0] = c.receipt(r.Session, 5) }, false},
	} {
		r := c.report("x", publisher, hour)
		x.spoil(r)
		if name != "not signed anew" {
			c.sign(r) // what is wrong is not just the signature
		}
		c.send(wire.Message{Type: wire.MsgReport, Report: r})
		m, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if ok := m.Type == wire.MsgAck; ok != x.ok || !ok && (m.Error.Code != wire.CodeBadReport || m.Error.Report != r.ID) {
			t.Errorf("%s: answer %s %+v", name, m.Type, m.Error)
		}
	}
}

// Many sessions report at once; every report is on disk when it is acknowledged.
func TestReportsInParallel(t *testing.T) {
	n := start(t, Config{})
	publisher := newKey(t)
	var wg sync.WaitGroup
	for range 8 {
		c := dial(t, n, "").login()
		wg.Go(func() {
			for i := range 10 {
				c.send(wire.Message{Type: wire.MsgReport, Report: c.report(fmt.Sprint(i), publisher, time.Now().Add(time.Hour))})
			}
			for range 10 {
				if m, err := c.read(); err != nil || m.Type != wire.MsgAck {
					t.Errorf("answer %v, error %v", m, err)
				}
			}
		})
	}
	wg.Wait()
	if got := n.totals(t).Reports; got != 80 {
		t.Errorf("%d reports, want 80", got)
	}
}

func TestPrune(t *testing.T) {
	n := start(t, Config{})
	c := dial(t, n, "").login()
	c.send(wire.Message{Type: wire.MsgReport, Report: c.report("a", newKey(t), time.Now().Add(time.Hour))})
	c.want(wire.MsgAck)
	if err := n.reports.prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := n.reports.db.QueryRow(`SELECT (SELECT count(*) FROM reports) + (SELECT count(*) FROM receipts)`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows left, error %v", left, err)
	}
	if d := cmp.Diff(once, n.totals(t)); d != "" {
		t.Error(d)
	}
}

func TestSchema(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second time there is nothing to do
		r, err := openReports(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r.close()
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "reports.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if r, err := openReports(dir, slog.New(slog.DiscardHandler)); err == nil {
		r.close()
		t.Error("a database of a later version was opened")
	}
}
