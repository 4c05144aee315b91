package node

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/hoststate"
	"github.com/tandem-cdn/tandem/internal/hoststate/hosttest"
)

// An agent rests while the machine runs on battery, says so, and goes on by itself.
func TestAgentFollowsHost(t *testing.T) {
	machine := hosttest.NewBus(t).NewMachine()
	machine.Battery(true)
	www := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)
	if err := os.WriteFile(filepath.Join(www, "f.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	base, _ := run(t, func(ctx context.Context, env Env) error {
		return Serve(ctx, www, config.Serve{Listen: "127.0.0.1:0", Data: t.TempDir()}, env)
	})
	data := t.TempDir()
	run(t, func(ctx context.Context, env Env) error {
		c := config.Agent{Listen: "127.0.0.1:0", Sharing: loopbackOnly()}
		c.Data = data
		c.UploadAlso = []string{"vpn", "metered"} // where these tests may run
		return Agent(ctx, c, env)
	})
	client, err := agentapi.Dial(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	until := func(want string, battery hoststate.Answer) {
		t.Helper()
		for limit := time.Now().Add(20 * time.Second); ; {
			st, err := client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if st.Paused == want && st.Host.Battery == battery {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("paused %q, host %+v; want %q and battery %v", st.Paused, st.Host, want, battery)
			}
		}
	}
	until("on battery", hoststate.Yes)
	d, err := client.Download(t.Context(), agent.Request{URL: base + "/f.bin", File: filepath.Join(t.TempDir(), "f.bin")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	machine.Battery(false)
	until("", hoststate.No)
	fromPeers(t, base+"/f.bin", content)
	machine.Battery(true)
	until("on battery", hoststate.Yes)
}
