//go:build !purego

package twinhash

// supported says whether the processor has SSSE3, SSE4.1 and the SHA extensions.
func supported() bool {
	if most, _, _ := cpuid(0, 0); most < 7 {
		return false
	}
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29
	_, _, ecx := cpuid(1, 0)
	_, ebx, _ := cpuid(7, 0)
	return ecx&ssse3 != 0 && ecx&sse41 != 0 && ebx&sha != 0
}

// blocks adds n bytes at p, whole blocks, to both hashes.
//
//go:noescape
func blocks(a, b *[8]uint32, p *byte, n int)

func cpuid(leaf, part uint32) (eax, ebx, ecx uint32)
