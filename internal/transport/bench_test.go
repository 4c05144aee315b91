package transport

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
)

// BenchmarkLink moves bytes from one endpoint to another over each kind of link,
// and over bare TLS to compare.
func BenchmarkLink(b *testing.B) {
	for _, network := range []string{"tcp", "udp"} {
		b.Run("kind="+network, func(b *testing.B) {
			x, y := listen(b, Config{Key: keyOf("a")}), listen(b, Config{Key: keyOf("b")})
			atX, atY := link(b, x, y, candidate(x, network), candidate(y, network))
			move(b, atX, atY)
		})
	}
	b.Run("kind=bare-tls", func(b *testing.B) {
		id, err := newIdentity(keyOf("a"))
		if err != nil {
			b.Fatal(err)
		}
		other, err := newIdentity(keyOf("b"))
		if err != nil {
			b.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		move(b, tls.Client(client, id.config(nil)), tls.Server(server, other.config(nil)))
	})
}

func move(b *testing.B, from io.WriteCloser, to io.ReadCloser) {
	const chunk = 256 << 10
	b.SetBytes(chunk)
	b.ReportAllocs()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, chunk)
		for {
			if _, err := to.Read(buf); err != nil {
				break
			}
		}
		to.Close()
	})
	buf := make([]byte, chunk)
	for b.Loop() {
		if _, err := from.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	from.Close()
	wg.Wait()
}
