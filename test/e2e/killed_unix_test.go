//go:build unix

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// giver is an agent that shares an object.
type giver struct {
	*process
	api *agentapi.Client
}

// newGiver lets an agent fetch the object and share it at a rate.
func newGiver(t *testing.T, url, rate string) giver {
	t.Helper()
	data := t.TempDir()
	agent := tandem(t, "agent", "--data", data, "--upload-limit", rate)
	until(t, "agent", func() bool { _, err := os.Stat(filepath.Join(data, "agent.json")); return err == nil })
	p := tandem(t, "get", url, "-o", filepath.Join(t.TempDir(), "file"), "--data", data)
	if code := p.wait(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	c, err := agentapi.Dial(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	g := giver{agent, c}
	until(t, "sharing", func() bool {
		s := g.status(t).Seeds
		return len(s) == 1 && s[0].Object != nil
	})
	return g
}

func (g giver) status(t *testing.T) agentapi.Status {
	t.Helper()
	st, err := g.api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// senders are all that send an object: an edge behind a proxy that counts, and
// peers.
type senders struct {
	url    string
	edge   *proxy
	server *process
	peers  []giver
}

func newSenders(t *testing.T, path string) *senders {
	t.Helper()
	base, server := serve(t, filepath.Dir(path))
	name := "/" + filepath.Base(path)
	peers := []giver{newGiver(t, base+name, "3M"), newGiver(t, base+name, "3M")}
	edge := newProxy(t, base, 4*mib)
	return &senders{edge.url + name, edge, server, peers}
}

// given is the bytes of the object that the peers have sent.
func (s *senders) given(t *testing.T) (n int64) {
	t.Helper()
	for _, g := range s.peers {
		n += g.status(t).Uploaded
	}
	return n
}

// signal stops all senders, or lets them go on.
func (s *senders) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	for _, p := range []*process{s.server, s.peers[0].process, s.peers[1].process} {
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
}

// settled waits until a count has not changed for a while, and returns it.
func settled(t *testing.T, count func() int64) int64 {
	t.Helper()
	const quiet = 500 * time.Millisecond
	since, last := time.Now(), count()
	until(t, "silence", func() bool {
		if n := count(); n != last {
			since, last = time.Now(), n
		}
		return time.Since(since) > quiet
	})
	return last
}

// lost is what the responses under way have brought of pieces that are not
// verified, and how many responses there are.
func (s *senders) lost(d *download, size int64) (n, responses int64) {
	have, piece := d.have(size), manifest.PieceSizeFor(size)
	for from, sent := range s.edge.open() {
		responses++
		for at := from; at < from+sent; {
			end := min((at/piece+1)*piece, from+sent)
			if have[at/piece] == 0 {
				n += end - at
			}
			at = end
		}
	}
	return n, responses
}

// A client killed in the middle continues with every piece it had verified, and
// is sent again less than a piece for every link and request that was open.
func TestKilledClientResumes(t *testing.T) {
	const size = 48 * mib
	path := file(t, "a.bin", size)
	want, piece := read(t, path), manifest.PieceSizeFor(size)
	s := newSenders(t, path)
	before := s.given(t) // to one another

	first := get(t, s.url, "--progress", "json")
	first.reached(t, size, 0.4)
	// Nobody sends any more, so that what was sent has been received in the end.
	s.signal(t, syscall.SIGSTOP)
	settled(t, func() int64 {
		n, _ := s.lost(first, size)
		return n + int64(first.verified(size))<<32
	})
	lost, requests := s.lost(first, size)
	kept := int64(first.verified(size)) * piece
	first.kill()
	s.signal(t, syscall.SIGCONT)
	if _, err := os.Stat(first.file); !os.IsNotExist(err) {
		t.Errorf("the file has its name although it is not whole: %v", err)
	}
	at := first.progress(t)
	links := int64(at.Peers)
	lostByPeers := settled(t, func() int64 { return s.given(t) }) - before - at.FromPeers - at.Wasted

	o := getTo(t, first.file, s.url, "-C").done(t, want)
	if o.fromDisk() < kept || links == 0 || requests == 0 {
		t.Errorf("%d bytes were verified before the kill, %d were kept; %d links, %d requests", kept, o.fromDisk(), links, requests)
	}
	t.Logf("kept %d of %d bytes; lost in pieces: %.2f of %d requests, %.2f of %d links",
		o.fromDisk(), size, float64(lost)/float64(piece), requests, float64(lostByPeers)/float64(piece), links)
	// What came last may not be in the progress yet: a whole piece then.
	if lost >= requests*piece || lostByPeers > links*piece || lostByPeers < 0 {
		t.Errorf("%d bytes of requests and %d of links are sent again, want no more than a piece of %d for each", lost, lostByPeers, piece)
	}
}

// progress is the last that a download has shown of itself.
func (d *download) progress(t *testing.T) (p agentapi.Transfer) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(d.stderr.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &p); err != nil {
		t.Fatal(err)
	}
	return p
}
