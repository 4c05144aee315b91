package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/ledger"
)

// A download ends when the month's bytes are used up, none begins after that, and a
// restart frees nothing.
func TestDownloadMonthly(t *testing.T) {
	const size, most = 8 << 20, 2 << 20
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.") {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "f", time.Unix(1, 0), strings.NewReader(strings.Repeat("x", size)))
	}))
	defer web.Close()
	data := t.TempDir()
	get := func(monthly, limit int64) (took int64, err error) {
		t.Helper()
		e, err := New(Config{Data: data, DownloadMonthly: monthly, DownloadLimit: limit, NoP2P: true})
		if err != nil {
			t.Fatal(err)
		}
		before := e.ledger.Month().Received
		d, err := e.Download(t.Context(), Request{URL: web.URL + "/f", File: filepath.Join(t.TempDir(), "f")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Wait(t.Context())
		if cerr := errors.Join(d.Close(), e.Close()); cerr != nil {
			t.Error(cerr)
		}
		return e.ledger.Month().Received - before, err
	}
	took, err := get(most, 16<<20)
	if !errors.Is(err, ErrMonthly) || errors.Is(err, ErrInterrupted) {
		t.Errorf("the first ended with %v", err)
	}
	if took < most || took > most*105/100 {
		t.Errorf("%d bytes came, %d may", took, most)
	}
	if took, err := get(most, 0); !errors.Is(err, ErrMonthly) || took > 512<<10 {
		t.Errorf("the second took %d bytes and ended with %v", took, err)
	}
	if took, err := get(0, 0); err != nil || took != size {
		t.Errorf("without a limit %d bytes came, %v", took, err)
	}
	if _, err := get(most+size/2, 0); !errors.Is(err, ErrMonthly) {
		t.Errorf("what came without a limit does not count: %v", err)
	}
}

// The byte that is the last one ends what is running, and whatever begins then.
func TestDownlinkEndsAtTheLastByte(t *testing.T) {
	e, err := New(Config{Data: t.TempDir(), DownloadMonthly: 500})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, end := e.down.during(t.Context(), fetch.Normal)
	defer end()
	if err := e.down.WaitN(ctx, 499); err != nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	if err := e.down.WaitN(ctx, 1); err != nil || !errors.Is(context.Cause(ctx), ErrMonthly) {
		t.Errorf("%v, %v", err, context.Cause(ctx))
	}
	late, end := e.down.during(t.Context(), fetch.Background)
	defer end()
	if !errors.Is(context.Cause(late), ErrMonthly) {
		t.Errorf("one begins: %v", context.Cause(late))
	}
}

// What gives way is what comes in the background from afar.
func TestFlowGivesWay(t *testing.T) {
	e, err := New(Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	began := time.Now()
	for name, tt := range map[string]struct {
		req    Request
		began  time.Time
		yields bool
	}{
		"normal":     {Request{Class: fetch.Normal}, began, false},
		"background": {Request{Class: fetch.Background}, began, true},
		"with time":  {Request{Class: fetch.Background, FinishBy: time.Hour}, began, true},
		"late":       {Request{Class: fetch.Background, FinishBy: time.Hour}, began.Add(-40 * time.Minute), false},
	} {
		f := e.down.flow(tt.req, tt.began)
		if f.yields(false) != tt.yields || f.yields(true) {
			t.Errorf("%s: gives way %v, on the own network %v", name, f.yields(false), f.yields(true))
		}
	}
	_, end := e.down.during(t.Context(), fetch.Background)
	defer end()
	if !e.down.links().yields(false) {
		t.Error("links do not give way beside background downloads alone")
	}
	_, end = e.down.during(t.Context(), fetch.Normal)
	defer end()
	if e.down.links().yields(false) {
		t.Error("links give way while somebody waits")
	}
}

// A limit is exceeded by no more than a twentieth in ten seconds, however low it is, and
// what may be received is.
func TestDownlinkLimit(t *testing.T) {
	for _, limit := range []int64{20e3, 100e3, 1e6, 100e6} {
		synctest.Test(t, func(t *testing.T) {
			l, err := ledger.Open(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			f := newDownlink(Config{DownloadLimit: limit}, l).flow(Request{Class: fetch.Normal}, time.Now())
			var came int64
			for began := time.Now(); time.Since(began) < 10*time.Second; {
				n := f.Step(1<<20, false)
				if err := f.Wait(t.Context(), n, false); err != nil {
					t.Fatal(err)
				}
				came += int64(n)
			}
			if most := limit * 10; came > most*105/100 || came < most*95/100 {
				t.Errorf("%d bytes came at a limit of %d", came, limit)
			}
		})
	}
}
