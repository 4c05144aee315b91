package listener

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// stallTimeout is how long a client may take to read stallChunk bytes. What is
	// slower has gone away, or holds connections to do harm.
	stallTimeout = 2 * time.Minute
	stallChunk   = 256 << 10 // bytes
)

// guardStalls ends responses whose clients do not read them.
func guardStalls(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &stallWriter{ResponseWriter: w, control: http.NewResponseController(w), timeout: timeout}
		defer s.end()
		next.ServeHTTP(s, r)
	})
}

// stallWriter moves the deadline of the connection, or stream, with the bytes.
type stallWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	renewed time.Time
}

// Unwrap gives http.ResponseController its way to the connection.
func (s *stallWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush implements http.Flusher.
func (s *stallWriter) Flush() { _ = s.control.Flush() }

func (s *stallWriter) Write(p []byte) (int, error) {
	s.renew()
	return s.ResponseWriter.Write(p)
}

// ReadFrom keeps the way by which the kernel copies a file to a socket: of
// HTTP/1.1 without TLS, whose writer is an io.ReaderFrom.
func (s *stallWriter) ReadFrom(src io.Reader) (int64, error) {
	lim, bounded := src.(*io.LimitedReader)
	if _, ok := s.ResponseWriter.(io.ReaderFrom); !ok || !bounded {
		return io.Copy(struct{ io.Writer }{s}, src)
	}
	var sent int64
	for lim.N > 0 {
		s.renew()
		n, err := io.CopyN(s.ResponseWriter, lim.R, min(stallChunk, lim.N))
		sent += n
		lim.N -= n
		if errors.Is(err, io.EOF) { // CopyN's word for a source that ended early
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// renew moves the deadline, but not for every few bytes.
func (s *stallWriter) renew() {
	now := time.Now()
	if now.Sub(s.renewed) < s.timeout/8 {
		return
	}
	s.renewed = now
	_ = s.control.SetWriteDeadline(now.Add(s.timeout))
}

// end takes the deadline away, which would otherwise cut the connection's next
// response.
func (s *stallWriter) end() {
	if !s.renewed.IsZero() {
		_ = s.control.SetWriteDeadline(time.Time{})
	}
}
