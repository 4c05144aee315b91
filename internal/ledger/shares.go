package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// maxObjects and maxPublishers bound what is kept by object and by publisher; what
	// was sent least lately goes first.
	maxObjects, maxPublishers = 1000, 200
	// maxName bounds a URL and the name of a publisher, in bytes.
	maxName = 200
)

// Share is what was sent of one object, or for one publisher.
type Share struct {
	// Publisher is the host that objects came from, URL the object's, without a query;
	// either may be unknown.
	Publisher string `json:"publisher,omitempty"`
	URL       string `json:"url,omitempty"`
	Uploaded  int64  `json:"uploaded"` // bytes
	Last      string `json:"last"`     // UTC date
}

func (s Share) plus(t Share) Share {
	return Share{cmp.Or(t.Publisher, s.Publisher), cmp.Or(t.URL, s.URL), s.Uploaded + t.Uploaded, max(s.Last, t.Last)}
}

// Shares is what was sent, by the text of object IDs and by publisher.
type Shares struct {
	Objects    map[string]Share `json:"objects"`
	Publishers map[string]Share `json:"publishers"`
}

func newShares() Shares { return Shares{map[string]Share{}, map[string]Share{}} }

func (s Shares) add(t Shares) {
	for id, n := range t.Objects {
		s.Objects[id] = s.Objects[id].plus(n)
	}
	for name, n := range t.Publishers {
		s.Publishers[name] = s.Publishers[name].plus(n)
	}
}

func trim(all map[string]Share, most int) {
	for len(all) > most {
		delete(all, slices.MinFunc(slices.Collect(maps.Keys(all)), func(a, b string) int {
			return cmp.Or(cmp.Compare(all[a].Last, all[b].Last), cmp.Compare(all[a].Uploaded, all[b].Uploaded), cmp.Compare(a, b))
		}))
	}
}

// Name says where an object came from: the host and the URL without its query, which
// may hold a secret.
func (l *Ledger) Name(object manifest.ObjectID, publisher, url string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names) >= maxObjects { // who shares so many names them again when it matters
		clear(l.names)
	}
	l.names[object] = Share{Publisher: short(publisher), URL: short(url)}
}

func short(s string) string { return s[:min(len(s), maxName)] }

// Uploaded counts n bytes of an object sent to a peer.
func (l *Ledger) Uploaded(object manifest.ObjectID, n int) {
	l.mu.Lock()
	name, id := l.names[object], object.String()
	s := Share{Publisher: name.Publisher, URL: name.URL, Uploaded: int64(n), Last: l.clock.now().Format(time.DateOnly)}
	l.unshared.add(Shares{Objects: map[string]Share{id: s}})
	if s.URL = ""; s.Publisher != "" {
		l.unshared.add(Shares{Publishers: map[string]Share{s.Publisher: s}})
	}
	l.mu.Unlock()
	l.count(Day{Uploaded: int64(n)})
}

// Shares returns what was sent by object and publisher, as far back as is kept.
func (l *Ledger) Shares() Shares {
	l.saving.Lock()
	defer l.saving.Unlock()
	s := l.writtenShares()
	l.mu.Lock()
	defer l.mu.Unlock()
	s.add(l.unshared)
	return s
}

func (l *Ledger) objectsPath() string { return filepath.Join(l.dir, "objects.json") }

func (l *Ledger) writtenShares() Shares {
	s := newShares()
	l.readCounters(l.objectsPath(), &s)
	if s.Objects == nil || s.Publishers == nil {
		return newShares()
	}
	return s
}

// saveShares adds what was counted to the file, as saveDays does.
func (l *Ledger) saveShares() error {
	l.mu.Lock()
	unshared := l.unshared
	l.unshared = newShares()
	l.mu.Unlock()
	if len(unshared.Objects) == 0 {
		return nil
	}
	s := l.writtenShares()
	s.add(unshared)
	trim(s.Objects, maxObjects)
	trim(s.Publishers, maxPublishers)
	b, err := json.Marshal(s)
	if err == nil {
		err = replace(l.objectsPath(), append(b, '\n'))
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.unshared.add(unshared)
		return fmt.Errorf("write counters by object: %w", err)
	}
	return nil
}
