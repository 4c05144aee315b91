//go:build !amd64 || purego

package twinhash

func supported() bool { return false }

func blocks(_, _ *[8]uint32, _ *byte, _ int) {}
