//go:build linux

package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/test/lab"
)

// Trial is one crowd in a fresh lab: clients that all ask for one file.
type Trial struct {
	Clients []Client // in order of At
	Edge    lab.Link
	System  System
	File    func(path string) error // makes the file
	Timeout time.Duration
}

// Client is one of a crowd.
type Client struct {
	Link lab.Link
	NAT  lab.NAT
	At   time.Duration // when it asks, after the first
}

// Alike are n clients without NATs that ask at once.
func Alike(n int, link lab.Link) []Client {
	return slices.Repeat([]Client{{Link: link, NAT: lab.Open}}, n)
}

// System is a way to bring the file to the crowd.
type System interface {
	// Serve starts the server side; it ends with ctx.
	Serve(ctx context.Context, s Site) error
	// Client is the download of one client on h into dir.
	Client(ctx context.Context, s Site, h *lab.Host, dir string) (*Download, error)
}

// Site is where a trial takes place.
type Site struct {
	Edge    *lab.Host
	Clients []*lab.Host
	Dir     string // removed after the trial
	WWW     string // what the edge serves
	File    string // the file in it
	URL     string // of the file
}

// Observed is what a trial showed.
type Observed struct {
	Outcomes []Outcome     // in the order of the clients
	Wall     time.Duration // from the first start of a process to the last file
	Sent     int64         // bytes that left the edge's interface
	Size     int64         // of the file, bytes
	Machine  Machine
}

// settle is how long a server is left alone after its start, so that nothing of
// it falls into the measured time.
const settle = 2 * time.Second

// Run runs the trial and checks every byte that was delivered.
func (t Trial) Run(ctx context.Context) (*Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	var o *Observed
	err := InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		s, err := t.build(ctx, l, dir)
		if err != nil {
			return err
		}
		if err := t.System.Serve(ctx, s); err != nil {
			return err
		}
		if err := Sleep(ctx, settle); err != nil {
			return err
		}
		o, err = t.download(ctx, s)
		return err
	})
	return o, err
}

func (t Trial) build(ctx context.Context, l *lab.Lab, dir string) (Site, error) {
	s := Site{Dir: dir, WWW: filepath.Join(dir, "www")}
	if err := os.MkdirAll(s.WWW, 0o755); err != nil {
		return s, fmt.Errorf("file of the trial: %w", err)
	}
	s.File = filepath.Join(s.WWW, "file.bin")
	if err := t.File(s.File); err != nil {
		return s, fmt.Errorf("file of the trial: %w", err)
	}
	var err error
	if s.Edge, err = l.Server(ctx, t.Edge); err != nil {
		return s, err
	}
	s.URL = "http://" + s.Edge.IP.String() + "/" + filepath.Base(s.File)
	for _, c := range t.Clients {
		h, err := l.Client(ctx, c.Link, c.NAT)
		if err != nil {
			return s, err
		}
		s.Clients = append(s.Clients, h)
	}
	return s, nil
}

func (t Trial) download(ctx context.Context, s Site) (*Observed, error) {
	all := make([]*Download, len(s.Clients))
	for i, h := range s.Clients {
		d, err := t.System.Client(ctx, s, h, filepath.Join(s.Dir, h.Name))
		if err != nil {
			return nil, err
		}
		d.At = t.Clients[i].At
		all[i] = d
	}
	cc, err := s.Edge.CongestionControl(ctx)
	if err != nil {
		return nil, err
	}
	before, err := s.Edge.Counters(ctx)
	if err != nil {
		return nil, err
	}
	got, wall, stop, err := Crowd(ctx, all)
	if err != nil {
		return nil, err
	}
	defer stop()
	after, err := s.Edge.Counters(ctx)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(s.File)
	if err != nil {
		return nil, fmt.Errorf("file of the trial: %w", err)
	}
	return &Observed{
		Outcomes: got, Wall: wall, Sent: after.Sent - before.Sent, Size: info.Size(), Machine: ThisMachine(cc),
	}, Same(s.File, all)
}

// FromPeers and Wasted are shares of all bytes that were delivered, as the
// clients say.
func (o *Observed) FromPeers() float64 {
	return o.share(func(c Outcome) int64 { return c.FromPeers })
}

// Wasted is the share that was received and not needed.
func (o *Observed) Wasted() float64 { return o.share(func(c Outcome) int64 { return c.Wasted }) }

func (o *Observed) share(part func(Outcome) int64) float64 {
	var some, all int64
	for _, c := range o.Outcomes {
		some += part(c)
		all += c.FromEdge + c.FromPeers
	}
	if all == 0 {
		return 0
	}
	return float64(some) / float64(all)
}

// Sleep waits for d or the end of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
