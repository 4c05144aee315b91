package control

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// messageConn carries whole messages. It is all that sessions know of
// WebSocket.
type messageConn interface {
	// Read waits for a message; it is called by one goroutine alone.
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, b []byte) error
	// Ping waits for the answer, which Read must be running to see.
	Ping(ctx context.Context) error
	// Close says goodbye and ends the connection, Abort only ends it.
	Close(code closeCode, reason string)
	Abort()
	// Heard is when the client was last heard of.
	Heard() time.Time
}

// closeCode is a WebSocket close code (RFC 6455 §7.4).
type closeCode = websocket.StatusCode

const (
	closePolicy   = websocket.StatusPolicyViolation
	closeRestart  = websocket.StatusServiceRestart
	closeReplaced = closeCode(4001) // another session has logged in with this key
)

type webSocket struct {
	*websocket.Conn
	now   func() time.Time
	heard atomic.Int64 // Unix nanoseconds
}

// accept upgrades a request. Any origin may: see the package comment.
func accept(w http.ResponseWriter, r *http.Request, now func() time.Time) (messageConn, error) {
	ws := &webSocket{now: now}
	ws.heard.Store(now().UnixNano())
	var err error
	ws.Conn, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true,
		OnPingReceived: func(context.Context, []byte) bool {
			ws.heard.Store(now().UnixNano())
			return true
		},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(wire.MaxControlMessage)
	return ws, nil
}

func (ws *webSocket) Read(ctx context.Context) ([]byte, error) {
	typ, b, err := ws.Conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	ws.heard.Store(ws.now().UnixNano())
	if typ != websocket.MessageText {
		return nil, errors.New("message is not text")
	}
	return b, nil
}

func (ws *webSocket) Write(ctx context.Context, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return ws.Conn.Write(ctx, websocket.MessageText, b)
}

func (ws *webSocket) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pongWithin)
	defer cancel()
	return ws.Conn.Ping(ctx)
}

// The connection is over in either case: its errors are of no use.
func (ws *webSocket) Close(code closeCode, reason string) { _ = ws.Conn.Close(code, reason) }
func (ws *webSocket) Abort()                              { _ = ws.CloseNow() }

func (ws *webSocket) Heard() time.Time { return time.Unix(0, ws.heard.Load()) }
