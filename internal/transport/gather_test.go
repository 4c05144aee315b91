package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

// counting is a connection that counts writes, and fails once it has taken limit bytes.
type counting struct {
	net.Conn
	writes int
	limit  int
	got    bytes.Buffer
}

var errBroken = errors.New("broken")

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	if c.limit > 0 && c.got.Len()+len(b) > c.limit {
		n, _ := c.got.Write(b[:c.limit-c.got.Len()])
		return n, errBroken
	}
	return c.got.Write(b)
}

func TestGatherer(t *testing.T) {
	c := &counting{}
	g := &gatherer{Conn: c}
	record := bytes.Repeat([]byte("r"), 16<<10)
	var want []byte
	write := func(b []byte) {
		want = append(want, b...)
		if n, err := g.Write(b); n != len(b) || err != nil {
			t.Fatalf("write of %d bytes: %d, %v", len(b), n, err)
		}
	}
	write([]byte("handshake"))
	if c.writes != 1 {
		t.Errorf("%d writes while nothing is gathered, want 1", c.writes)
	}
	g.gather()
	for range 8 {
		write(record)
	}
	if c.writes != 1 {
		t.Errorf("%d writes before the flush", c.writes-1)
	}
	if err := g.flush(); err != nil || c.writes != 2 {
		t.Errorf("flush: %v after %d writes, want 1", err, c.writes-1)
	}
	g.gather()
	for range 20 { // more than is gathered at a time
		write(record)
	}
	if err := g.flush(); err != nil || c.writes != 5 {
		t.Errorf("flush of 320 KiB: %v after %d writes, want 3", err, c.writes-2)
	}
	if err := g.flush(); err != nil || c.writes != 5 {
		t.Errorf("flush of nothing: %v, %d writes", err, c.writes-5)
	}
	if !bytes.Equal(c.got.Bytes(), want) {
		t.Error("other bytes than were written")
	}
}

// Once a write was cut short nothing may follow it: the peer would take the rest of
// one record for the beginning of the next.
func TestGathererFailsForGood(t *testing.T) {
	c := &counting{limit: 10}
	g := &gatherer{Conn: c}
	g.gather()
	if _, err := g.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := g.flush(); !errors.Is(err, errBroken) {
		t.Errorf("flush: %v", err)
	}
	c.limit = 0
	if _, err := g.Write([]byte("more")); !errors.Is(err, errBroken) {
		t.Errorf("write after a failure: %v", err)
	}
	if c.got.Len() != 10 {
		t.Errorf("%d bytes went out", c.got.Len())
	}
}

// A frame of the largest size leaves in one system call, and arrives.
func TestTCPLinkGathers(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	atA, atB := link(t, a, b, candidate(a, "tcp"), candidate(b, "tcp"))
	out := atA.stream.(tcpStream).out
	c := &counting{Conn: out.Conn}
	pass := &passing{counting: c}
	out.mu.Lock()
	out.Conn = pass
	out.mu.Unlock()
	want := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	done := make(chan error, 1)
	got := make([]byte, len(want))
	go func() {
		_, err := io.ReadFull(atB, got)
		done <- err
	}()
	if _, err := atA.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read: %v", err)
	}
	if c.writes != 1 {
		t.Errorf("%d writes for one frame", c.writes)
	}
}

// passing counts writes and passes them on.
type passing struct{ *counting }

func (p *passing) Write(b []byte) (int, error) {
	p.writes++
	return p.Conn.Write(b)
}
