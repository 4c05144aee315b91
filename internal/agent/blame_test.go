package agent

import (
	"testing"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/swarm"
)

// Control hears of what only one who means harm, or is broken, does.
func TestBlamable(t *testing.T) {
	for reason, want := range map[string]bool{
		"": false, fetch.DropStall: false, fetch.DropLiar: false,
		fetch.DropCorrupt: true, swarm.BrokeProtocol: true,
	} {
		if got := blamable(reason); got != want {
			t.Errorf("%q is blamed: %v, want %v", reason, got, want)
		}
	}
}
