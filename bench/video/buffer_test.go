//go:build linux

package main

import (
	"testing"
	"time"
)

func TestBuffer(t *testing.T) {
	const s = time.Second
	b := &buffer{}
	b.add(1*s, 2*s, 4*s) // not enough to begin
	if b.began {
		t.Fatal("began with 2 s of 4")
	}
	b.add(2*s, 2*s, 4*s)
	if !b.began || b.startup != 2*s {
		t.Fatalf("%+v: want a start after 2 s", b)
	}
	b.advance(5 * s)
	if b.ahead != 1*s || b.stalls != 0 {
		t.Fatalf("%+v: want 1 s ahead", b)
	}
	b.advance(8 * s) // dry since 6 s
	b.add(9*s, 4*s, 4*s)
	if b.stalls != 1 || b.stalled != 3*s || !b.playing {
		t.Fatalf("%+v: want one stall of 3 s", b)
	}
	if got := b.room(4*s, 6*s); got != 2*s {
		t.Errorf("room for 4 s in 6 s with 4 s there after %v, want 2 s", got)
	}
}
