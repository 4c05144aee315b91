package listener

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// stallTimeout is how long a client may take to read stallChunk bytes. What is
	// slower has gone away, or holds connections to do harm.
	stallTimeout = 2 * time.Minute
	stallChunk   = 256 << 10 // bytes
	// stallRun is what the kernel is given of a file to send at once. Short runs cost a third
	// of the throughput of a fast line; of a slow one the deadline ends the run, and
	// what was sent by then tells.
	stallRun = 16 << 20 // bytes
)

// guardStalls ends responses whose clients do not read them.
func guardStalls(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &stallWriter{ResponseWriter: w, control: http.NewResponseController(w), timeout: timeout, run: stallRun}
		if r.TLS != nil {
			s.run = stallChunk // a deadline that passes is the end of a TLS connection
		}
		defer s.end()
		next.ServeHTTP(s, r)
	})
}

// stallWriter moves the deadline of the connection, or stream, with the bytes.
type stallWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	run     int64 // most bytes between two looks at the time
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
	file, run := asFile(lim.R), s.run
	if file == nil {
		run = stallChunk
	}
	var sent int64
	for lim.N > 0 {
		s.renew()
		n, err := io.CopyN(s.ResponseWriter, lim.R, min(run, lim.N))
		sent += n
		lim.N -= n
		switch {
		case errors.Is(err, io.EOF): // CopyN's word for a source that ended early
			return sent, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && n >= stallChunk && file.wind(sent):
			s.renewed = time.Time{} // slow, but it reads
		case err != nil:
			return sent, err
		}
	}
	return sent, nil
}

// source is a file that is sent from a place on. Where the kernel does not copy it by
// itself, more may have been read than was sent when the deadline came: only what can
// be wound back can go on.
type source struct {
	io.Seeker
	start int64
}

// asFile is nil for what is no file.
func asFile(r io.Reader) *source {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil
	}
	return &source{f, at}
}

// wind goes to the byte behind those that were sent.
func (s *source) wind(sent int64) bool {
	if s == nil {
		return false
	}
	_, err := s.Seek(s.start+sent, io.SeekStart)
	return err == nil
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
