package wire

import "testing"

func TestRoundUplink(t *testing.T) {
	for kbit, want := range map[uint32]uint32{
		0: 0, 1: 1, 2: 2, 3: 4, 5: 4, 6: 8, 724: 512, 725: 1024, 1000: 1024, 20_000: 16384, 24_000: 32768,
		1 << 20: 1 << 20, 1<<32 - 1: 1 << 20,
	} {
		if got := RoundUplink(kbit); got != want || RoundUplink(got) != got {
			t.Errorf("%d rounds to %d, want %d", kbit, got, want)
		}
	}
}
