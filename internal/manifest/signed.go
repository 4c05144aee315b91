package manifest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
)

// SignatureSize is the size of the signature block that follows the unsigned bytes
// of what an edge or publisher signs:
//
//	offset  size  field
//	0       4     magic "TDSG"
//	4       1     version (1)
//	5       3     reserved, 0
//	8       32    Ed25519 public key of the signer
//	40      64    signature over a context string and the SHA-256 of the unsigned
//	              bytes, which is the Object ID where these are a manifest
const SignatureSize = 4 + 1 + 3 + ed25519.PublicKeySize + ed25519.SignatureSize

var sigMagic = [4]byte{'T', 'D', 'S', 'G'}

// sigContext separates manifest signatures from everything else a key signs.
const sigContext = "tandem manifest v1\x00"

// ErrSignature is returned for a manifest that no trusted key has signed.
var ErrSignature = errors.New("manifest signature is not by a trusted key")

// Signed is a manifest with the signature of the edge or publisher that made it.
type Signed struct {
	*Manifest
	Object    ObjectID
	Key       ed25519.PublicKey
	Signature []byte
}

// Sign signs m.
func Sign(m *Manifest, key ed25519.PrivateKey) *Signed {
	id := m.ID()
	return &Signed{
		Manifest:  m,
		Object:    id,
		Key:       key.Public().(ed25519.PublicKey),
		Signature: ed25519.Sign(key, SignedBytes(id)),
	}
}

// SignedBytes are the bytes a manifest's signature covers.
func SignedBytes(id ObjectID) []byte { return append([]byte(sigContext), id[:]...) }

// Append appends the signed encoding to b.
func (s *Signed) Append(b []byte) []byte {
	return appendBlock(s.Manifest.Append(b), s.Key, s.Signature)
}

func appendBlock(b []byte, key ed25519.PublicKey, signature []byte) []byte {
	b = append(b, sigMagic[:]...)
	b = append(b, version, 0, 0, 0)
	b = append(b, key...)
	return append(b, signature...)
}

// parseBlock reads a signature block that fills b exactly.
func parseBlock(b []byte) (key ed25519.PublicKey, signature []byte, err error) {
	if len(b) != SignatureSize {
		return nil, nil, fmt.Errorf("%w: signature block of %d bytes, want %d", ErrMalformed, len(b), SignatureSize)
	}
	if [4]byte(b[:4]) != sigMagic || b[4] != version || [3]byte(b[5:8]) != [3]byte{} {
		return nil, nil, fmt.Errorf("%w: unknown signature block", ErrMalformed)
	}
	return ed25519.PublicKey(append([]byte(nil), b[8:40]...)), append([]byte(nil), b[40:]...), nil
}

// AppendSignature appends to b a signature block for something other than a
// manifest, the SHA-256 of whose bytes is sum. The context, which ends in a zero
// byte, is its own.
func AppendSignature(b []byte, key ed25519.PrivateKey, context string, sum Hash) []byte {
	return appendBlock(b, key.Public().(ed25519.PublicKey), ed25519.Sign(key, append([]byte(context), sum[:]...)))
}

// CheckSignature reports whether block is such a block by one of the trusted keys;
// else the error is [ErrMalformed] or [ErrSignature].
func CheckSignature(block []byte, trusted []ed25519.PublicKey, context string, sum Hash) error {
	key, signature, err := parseBlock(block)
	if err != nil {
		return err
	}
	return check(trusted, key, append([]byte(context), sum[:]...), signature)
}

func check(trusted []ed25519.PublicKey, key ed25519.PublicKey, signed, signature []byte) error {
	for _, k := range trusted {
		if k.Equal(key) && ed25519.Verify(k, signed, signature) {
			return nil
		}
	}
	return ErrSignature
}

// ParseSigned reads a signed manifest that fills b exactly, and checks that the
// signature is good and by one of the trusted keys. With no trusted key it
// returns [ErrSignature].
func ParseSigned(b []byte, trusted []ed25519.PublicKey) (*Signed, error) {
	s, err := DecodeSigned(b)
	if err != nil {
		return nil, err
	}
	if err := s.Verify(trusted); err != nil {
		return nil, err
	}
	return s, nil
}

// DecodeSigned reads a signed manifest that fills b exactly and believes
// nothing: before the content is used, [Signed.Verify] has to accept it. It is
// for those who learn whom to trust later, or have checked the bytes before.
func DecodeSigned(b []byte) (*Signed, error) {
	m, n, err := Parse(b)
	if err != nil {
		return nil, err
	}
	key, signature, err := parseBlock(b[n:])
	if err != nil {
		return nil, err
	}
	return &Signed{Manifest: m, Object: sha256.Sum256(b[:n]), Key: key, Signature: signature}, nil
}

// Verify reports whether the signature is good and by one of the trusted keys;
// if not, the error is [ErrSignature].
func (s *Signed) Verify(trusted []ed25519.PublicKey) error {
	return check(trusted, s.Key, SignedBytes(s.Object), s.Signature)
}
