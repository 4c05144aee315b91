package manifest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
)

// The signature block that follows the unsigned bytes:
//
//	offset  size  field
//	0       4     magic "TDSG"
//	4       1     version (1)
//	5       3     reserved, 0
//	8       32    Ed25519 public key of the signer
//	40      64    signature over the context string and the Object ID
const signatureSize = 4 + 1 + 3 + ed25519.PublicKeySize + ed25519.SignatureSize

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
	b = s.Manifest.Append(b)
	b = append(b, sigMagic[:]...)
	b = append(b, version, 0, 0, 0)
	b = append(b, s.Key...)
	return append(b, s.Signature...)
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
	sig := b[n:]
	if len(sig) != signatureSize {
		return nil, fmt.Errorf("%w: signature block of %d bytes, want %d", ErrMalformed, len(sig), signatureSize)
	}
	if [4]byte(sig[:4]) != sigMagic || sig[4] != version || [3]byte(sig[5:8]) != [3]byte{} {
		return nil, fmt.Errorf("%w: unknown signature block", ErrMalformed)
	}
	return &Signed{
		Manifest:  m,
		Object:    sha256.Sum256(b[:n]),
		Key:       ed25519.PublicKey(append([]byte(nil), sig[8:40]...)),
		Signature: append([]byte(nil), sig[40:]...),
	}, nil
}

// Verify reports whether the signature is good and by one of the trusted keys;
// if not, the error is [ErrSignature].
func (s *Signed) Verify(trusted []ed25519.PublicKey) error {
	for _, k := range trusted {
		if k.Equal(s.Key) && ed25519.Verify(k, SignedBytes(s.Object), s.Signature) {
			return nil
		}
	}
	return ErrSignature
}
