//go:build !purego

#include "textflag.h"

// X1 and X2 hold the words f, e, b, a and h, g, d, c of the first hash from the
// lowest lane on, X3 and X4 those of the second; X5 to X8 the last 16 words of the
// message schedule. X10 turns words round; X11 to X14 keep the hashes while a block
// is added.

// Four rounds of both hashes, with the words of the schedule in m and the constants
// from round i on.
#define ROUNDS(i, m) \
	MOVOU       m, X0        \
	PADDL       (i*4)(AX), X0 \
	SHA256RNDS2 X0, X1, X2   \
	SHA256RNDS2 X0, X3, X4   \
	PSHUFD      $0x0e, X0, X0 \
	SHA256RNDS2 X0, X2, X1   \
	SHA256RNDS2 X0, X4, X3

// The first 16 words are those of the message.
#define LOAD(i, m) \
	MOVOU  (i*4)(SI), m \
	PSHUFB X10, m       \
	ROUNDS(i, m)

// Each four more come of the 16 before, of which m has the oldest, which they replace.
#define NEXT(i, m, m1, m2, m3) \
	SHA256MSG1 m1, m      \
	MOVOU      m3, X9     \
	PALIGNR    $4, m2, X9 \
	PADDL      X9, m      \
	SHA256MSG2 m3, m      \
	ROUNDS(i, m)

// func blocks(a, b *[8]uint32, p *byte, n int)
TEXT ·blocks(SB), NOSPLIT, $0-32
	MOVQ  a+0(FP), DI
	MOVQ  b+8(FP), BX
	MOVQ  p+16(FP), SI
	MOVQ  n+24(FP), DX
	ADDQ  SI, DX
	MOVOU (DI), X1
	MOVOU 16(DI), X2
	MOVOU (BX), X3
	MOVOU 16(BX), X4
	MOVOU turn<>(SB), X10
	LEAQ  constants<>(SB), AX

block:
	MOVOU X1, X11
	MOVOU X2, X12
	MOVOU X3, X13
	MOVOU X4, X14
	LOAD(0, X5)
	LOAD(4, X6)
	LOAD(8, X7)
	LOAD(12, X8)
	NEXT(16, X5, X6, X7, X8)
	NEXT(20, X6, X7, X8, X5)
	NEXT(24, X7, X8, X5, X6)
	NEXT(28, X8, X5, X6, X7)
	NEXT(32, X5, X6, X7, X8)
	NEXT(36, X6, X7, X8, X5)
	NEXT(40, X7, X8, X5, X6)
	NEXT(44, X8, X5, X6, X7)
	NEXT(48, X5, X6, X7, X8)
	NEXT(52, X6, X7, X8, X5)
	NEXT(56, X7, X8, X5, X6)
	NEXT(60, X8, X5, X6, X7)
	PADDL X11, X1
	PADDL X12, X2
	PADDL X13, X3
	PADDL X14, X4
	ADDQ  $64, SI
	CMPQ  SI, DX
	JNE   block

	MOVOU X1, (DI)
	MOVOU X2, 16(DI)
	MOVOU X3, (BX)
	MOVOU X4, 16(BX)
	RET

// func cpuid(leaf, part uint32) (eax, ebx, ecx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	MOVL part+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	RET

// The bytes of each word in reverse: SHA-256 is big-endian.
DATA turn<>+0(SB)/8, $0x0405060700010203
DATA turn<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL turn<>(SB), RODATA|NOPTR, $16

// FIPS 180-4 §4.2.2
DATA constants<>+0(SB)/8, $0x71374491428a2f98
DATA constants<>+8(SB)/8, $0xe9b5dba5b5c0fbcf
DATA constants<>+16(SB)/8, $0x59f111f13956c25b
DATA constants<>+24(SB)/8, $0xab1c5ed5923f82a4
DATA constants<>+32(SB)/8, $0x12835b01d807aa98
DATA constants<>+40(SB)/8, $0x550c7dc3243185be
DATA constants<>+48(SB)/8, $0x80deb1fe72be5d74
DATA constants<>+56(SB)/8, $0xc19bf1749bdc06a7
DATA constants<>+64(SB)/8, $0xefbe4786e49b69c1
DATA constants<>+72(SB)/8, $0x240ca1cc0fc19dc6
DATA constants<>+80(SB)/8, $0x4a7484aa2de92c6f
DATA constants<>+88(SB)/8, $0x76f988da5cb0a9dc
DATA constants<>+96(SB)/8, $0xa831c66d983e5152
DATA constants<>+104(SB)/8, $0xbf597fc7b00327c8
DATA constants<>+112(SB)/8, $0xd5a79147c6e00bf3
DATA constants<>+120(SB)/8, $0x1429296706ca6351
DATA constants<>+128(SB)/8, $0x2e1b213827b70a85
DATA constants<>+136(SB)/8, $0x53380d134d2c6dfc
DATA constants<>+144(SB)/8, $0x766a0abb650a7354
DATA constants<>+152(SB)/8, $0x92722c8581c2c92e
DATA constants<>+160(SB)/8, $0xa81a664ba2bfe8a1
DATA constants<>+168(SB)/8, $0xc76c51a3c24b8b70
DATA constants<>+176(SB)/8, $0xd6990624d192e819
DATA constants<>+184(SB)/8, $0x106aa070f40e3585
DATA constants<>+192(SB)/8, $0x1e376c0819a4c116
DATA constants<>+200(SB)/8, $0x34b0bcb52748774c
DATA constants<>+208(SB)/8, $0x4ed8aa4a391c0cb3
DATA constants<>+216(SB)/8, $0x682e6ff35b9cca4f
DATA constants<>+224(SB)/8, $0x78a5636f748f82ee
DATA constants<>+232(SB)/8, $0x8cc7020884c87814
DATA constants<>+240(SB)/8, $0xa4506ceb90befffa
DATA constants<>+248(SB)/8, $0xc67178f2bef9a3f7
GLOBL constants<>(SB), RODATA|NOPTR, $256
