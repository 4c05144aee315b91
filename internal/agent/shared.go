package agent

import (
	"errors"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/store"
)

// shared is the file of a member as its peers read it.
type shared struct{ m *member }

func (s shared) Have() manifest.Bitfield { return s.m.file.Have() }
func (s shared) Has(piece int) bool      { return s.m.file.Has(piece) }

// ReadAt has the member leave when the file's owner has changed it: what was announced
// is not there any more, and peers take who does not have what he announces for a liar.
func (s shared) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.m.file.ReadAt(p, off)
	if errors.Is(err, store.ErrChanged) {
		select {
		case s.m.changed <- struct{}{}:
		default:
		}
	}
	return n, err
}

// watch leaves the swarm when the file has changed. It is a goroutine of its own: the
// link that has found out is among those that are told.
func (m *member) watch() {
	select {
	case <-m.ctx.Done():
	case <-m.changed:
		m.d.e.log.Warn("not shared any more, the file has changed", "file", m.file.Path(), "object", m.object().String()[:16])
		m.leave()
	}
}
