package session_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// script is a control that says what a test wants.
func script(t *testing.T, f func(ctx context.Context, ws *websocket.Conn)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(1 << 20)
		f(r.Context(), ws)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func say(ctx context.Context, ws *websocket.Conn, m wire.Message) {
	b, _ := json.Marshal(m)
	_ = ws.Write(ctx, websocket.MessageText, b)
}

func hear(ctx context.Context, ws *websocket.Conn) *wire.Message {
	_, b, err := ws.Read(ctx)
	if err != nil {
		return &wire.Message{Type: "end"}
	}
	m, err := wire.ParseMessage(b)
	if err != nil {
		return &wire.Message{Type: "bad"}
	}
	return m
}

// admit logs any client in.
func admit(ctx context.Context, ws *websocket.Conn, w wire.Welcome) {
	say(ctx, ws, wire.Message{Type: wire.MsgChallenge, Challenge: &wire.Challenge{Version: 1, Nonce: "n"}})
	hear(ctx, ws)
	say(ctx, ws, wire.Message{Type: wire.MsgWelcome, Welcome: &w})
}

// A control that breaks the protocol does no harm: the session tries again.
func TestHostileControl(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(ctx context.Context, ws *websocket.Conn){
		"garbage": func(ctx context.Context, ws *websocket.Conn) { _ = ws.Write(ctx, websocket.MessageText, []byte("{")) },
		"welcome": func(ctx context.Context, ws *websocket.Conn) {
			say(ctx, ws, wire.Message{Type: wire.MsgWelcome, Welcome: &wire.Welcome{}})
		},
		"huge": func(ctx context.Context, ws *websocket.Conn) {
			_ = ws.Write(ctx, websocket.MessageText, make([]byte, 200<<10))
		},
		"no body": func(ctx context.Context, ws *websocket.Conn) {
			_ = ws.Write(ctx, websocket.MessageText, []byte(`{"type":"challenge"}`))
		},
		"goes away": func(context.Context, *websocket.Conn) {},
		"bad later": func(ctx context.Context, ws *websocket.Conn) {
			admit(ctx, ws, wire.Welcome{Refresh: -5})
			say(ctx, ws, wire.Message{Type: wire.MsgAck, Ack: &wire.Ack{ID: "never sent"}})
			say(ctx, ws, wire.Message{Type: wire.MsgError, Error: &wire.Error{Code: wire.CodeOverload, Report: "never sent", Retry: -1}})
			_ = ws.Write(ctx, websocket.MessageBinary, []byte{0xff})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tries := make(chan struct{}, 100)
			c := begin(t, script(t, func(ctx context.Context, ws *websocket.Conn) {
				tries <- struct{}{}
				f(ctx, ws)
			}))
			get(t, "try", tries)
			get(t, "second try", tries)
			if st := c.State(); st.Error == "" && !st.Connected {
				t.Errorf("state %+v", st)
			}
			select {
			case id := <-c.acked:
				t.Errorf("report %q was acknowledged to the caller", id)
			default:
			}
		})
	}
}

// Joins are repeated at the refresh that control names, and ask for nobody then.
func TestRefresh(t *testing.T) {
	t.Parallel()
	joins := make(chan wire.Join, 100)
	c := begin(t, script(t, func(ctx context.Context, ws *websocket.Conn) {
		admit(ctx, ws, wire.Welcome{Refresh: 1}) // it is taken for the least there is
		for m := hear(ctx, ws); m.Type != "end"; m = hear(ctx, ws) {
			if m.Join != nil {
				joins <- *m.Join
			}
		}
	}))
	get(t, "welcome", c.welcome)
	began := time.Now()
	c.Join(wire.Join{Object: object, Total: 10, Want: 40})
	if j := get(t, "join", joins); j.Want != 40 {
		t.Errorf("first join %+v", j)
	}
	c.Find(wire.Find{Object: object, Have: 7})
	if j := get(t, "refresh", joins); j.Want != 0 || j.Have != 7 || time.Since(began) < 4*time.Second {
		t.Errorf("refresh %+v after %v", j, time.Since(began))
	}
}

// What control puts off is said again when control says.
func TestReportIsPutOff(t *testing.T) {
	t.Parallel()
	reports := make(chan string, 100)
	c := begin(t, script(t, func(ctx context.Context, ws *websocket.Conn) {
		admit(ctx, ws, wire.Welcome{Refresh: 100})
		for n := 0; ; {
			m := hear(ctx, ws)
			switch {
			case m.Type == "end":
				return
			case m.Report == nil:
			case n < 2:
				n++
				say(ctx, ws, wire.Message{Type: wire.MsgError, Error: &wire.Error{Code: wire.CodeOverload, Report: m.Report.ID, Retry: 1}})
			default:
				reports <- m.Report.ID
				say(ctx, ws, wire.Message{Type: wire.MsgAck, Ack: &wire.Ack{ID: m.Report.ID}})
			}
		}
	}))
	c.Report(wire.Report{ID: "x"})
	get(t, "report", reports)
	if id := get(t, "ack", c.acked); id != "x" || c.State().Reports != 0 {
		t.Errorf("acknowledged %q, state %+v", id, c.State())
	}
}

// The pause that a full control asks for is kept.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var at []time.Time
	second := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 2 {
			close(second)
		}
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "full")
	}))
	defer srv.Close()
	c := begin(t, srv.Listener.Addr().String())
	get(t, "second try", second)
	c.stop()
	mu.Lock()
	defer mu.Unlock()
	if d := at[1].Sub(at[0]); d < 3*time.Second {
		t.Errorf("tried again after %v", d)
	}
}
