package agentapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/keyfile"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// maxSeeds bounds how many finished downloads are shared; the oldest go first.
const maxSeeds = 1000

// seed is an element of seeds.json.
type seed struct {
	URL    string      `json:"url"`
	File   string      `json:"file"`
	Header http.Header `json:"header,omitempty"` // for its next manifest and grant
}

// entry is a download that runs, or a finished one that is shared.
type entry struct {
	seq int
	seed
	dl *agent.Download
}

// transfers are the agent's downloads and seeds, by file.
type transfers struct {
	engine *agent.Engine
	path   string // of the list of seeds
	log    *slog.Logger

	life    context.Context // of the server
	waiting sync.WaitGroup  // for seeds to be shared

	mu      sync.Mutex
	seq     int
	running map[string]*entry
	seeds   map[string]*entry
}

func newTransfers(e *agent.Engine, path string, log *slog.Logger) *transfers {
	return &transfers{engine: e, path: path, log: log, running: map[string]*entry{}, seeds: map[string]*entry{}}
}

// run downloads and, when that is done, shares. When ctx ends before, the
// download is stopped and stays resumable.
func (t *transfers) run(ctx context.Context, req Request, report func(Transfer)) (agent.Result, error) {
	e, err := t.begin(ctx, req)
	if err != nil {
		return agent.Result{}, err
	}
	for {
		tick, cancel := context.WithTimeout(ctx, progressEvery)
		result, err := e.dl.Wait(tick)
		late := tick.Err() != nil && ctx.Err() == nil && errors.Is(err, agent.ErrInterrupted)
		cancel()
		if late {
			report(NewTransfer(e.URL, e.File, e.dl.Progress()))
			continue
		}
		t.end(e, result, err)
		return result, err
	}
}

func (t *transfers) begin(ctx context.Context, req Request) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running[req.File] != nil {
		return nil, fmt.Errorf("%s: %w: the agent is downloading to it", req.File, agent.ErrExists)
	}
	if old := t.seeds[req.File]; old != nil && req.Overwrite {
		delete(t.seeds, req.File)
		t.close1(old)
	}
	dl, err := t.engine.Download(ctx, agent.Request{
		URL: req.URL, File: req.File, Resume: req.Resume, Overwrite: req.Overwrite, From: req.From, Fresh: req.Fresh, Header: req.Header,
		Class: req.Class, FinishBy: time.Duration(req.FinishBy * float64(time.Second)),
	})
	if err != nil {
		return nil, err
	}
	e := t.entry(seed{URL: req.URL, File: req.File, Header: req.Header}, dl)
	t.running[req.File] = e
	return e, nil
}

func (t *transfers) entry(s seed, dl *agent.Download) *entry {
	t.seq++
	return &entry{seq: t.seq, seed: s, dl: dl}
}

// end makes a seed of a finished download and closes any other. One that was
// finished before its manifest was there is shared once that is; an object
// without any is not shared.
func (t *transfers) end(e *entry, r agent.Result, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, e.File)
	if err == nil && r.Object != (manifest.ObjectID{}) {
		t.add(e)
		t.save()
		return
	}
	t.close1(e)
	if err != nil {
		return
	}
	dl, err := t.engine.Seed(t.life, agent.Request{URL: e.URL, File: e.File, Header: e.Header})
	if err != nil {
		t.log.Info("not shared", "file", e.File, "reason", err)
		return
	}
	late := t.entry(e.seed, dl)
	t.waiting.Go(func() { t.addLate(late) })
}

func (t *transfers) addLate(e *entry) {
	_, err := e.dl.Wait(t.life)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil || t.seeds[e.File] != nil || t.running[e.File] != nil {
		t.log.Info("not shared", "file", e.File, "reason", err)
		t.close1(e)
		return
	}
	t.add(e)
	t.save()
}

func (t *transfers) add(e *entry) {
	t.seeds[e.File] = e
	if len(t.seeds) > maxSeeds {
		oldest := slices.MinFunc(values(t.seeds), func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
		delete(t.seeds, oldest.File)
		t.close1(oldest)
	}
}

func (t *transfers) close1(e *entry) {
	if err := e.dl.Close(); err != nil {
		t.log.Warn("download not closed well", "file", e.File, "error", err)
	}
}

// save writes the list of seeds. t.mu is held.
func (t *transfers) save() {
	if err := t.write(); err != nil {
		t.log.Warn("list of seeds not saved", "error", err)
	}
}

func (t *transfers) write() error {
	list := []seed{}
	for _, e := range t.ordered(t.seeds) {
		list = append(list, e.seed)
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("seeds: %w", err)
	}
	return keyfile.Replace(t.path, b)
}

// restore shares again what the list names, as far as it is still there.
func (t *transfers) restore() {
	b, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var list []seed
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		t.log.Warn("list of seeds not read", "file", t.path, "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range list[:min(len(list), maxSeeds)] {
		dl, err := t.engine.Seed(t.life, agent.Request{URL: s.URL, File: s.File, Header: s.Header})
		if err != nil {
			t.log.Info("no longer shared", "file", s.File, "reason", err)
			continue
		}
		e := t.entry(s, dl)
		t.add(e)
		t.waiting.Go(func() { t.watch(e) })
	}
}

// watch takes a seed off the list when it turns out that it is gone or changed.
func (t *transfers) watch(e *entry) {
	_, err := e.dl.Wait(t.life)
	if err == nil || t.life.Err() != nil {
		return
	}
	t.log.Info("no longer shared", "file", e.File, "reason", err)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seeds[e.File] != e {
		return
	}
	delete(t.seeds, e.File)
	t.close1(e)
	t.save()
}

// list returns what runs and what is shared, in the order they came.
func (t *transfers) list() (downloads, seeds []Transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	downloads, seeds = []Transfer{}, []Transfer{}
	for _, e := range t.ordered(t.running) {
		downloads = append(downloads, NewTransfer(e.URL, e.File, e.dl.Progress()))
	}
	for _, e := range t.ordered(t.seeds) {
		seeds = append(seeds, NewTransfer(e.URL, e.File, e.dl.Progress()))
	}
	return downloads, seeds
}

func (t *transfers) ordered(m map[string]*entry) []*entry {
	list := values(m)
	slices.SortFunc(list, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

func values(m map[string]*entry) []*entry {
	list := make([]*entry, 0, len(m))
	for _, e := range m {
		list = append(list, e)
	}
	return list
}

// close stops all and keeps the list. The server's life has ended.
func (t *transfers) close() error {
	t.waiting.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, e := range append(values(t.running), values(t.seeds)...) {
		errs = append(errs, e.dl.Close())
	}
	clear(t.running)
	clear(t.seeds)
	return errors.Join(errs...)
}
