package edge

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"weak"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// maxSigned is how many signatures are remembered.
const maxSigned = 4096

// signer signs manifests and names their URLs.
type signer struct {
	key    ed25519.PrivateKey
	secret []byte // of the names

	mu sync.Mutex
	// signed remembers Object ID and signature while the manifest is in use
	// somewhere: hashing a big manifest for every grant would be dear.
	signed map[weak.Pointer[manifest.Manifest]]signature
	// chunks is the signed map that was asked for last: when a version comes out all
	// who have the one before ask for the same, and wait here while it is signed.
	signing  sync.Mutex
	chunks   []byte
	chunksOf manifest.ObjectID
}

type signature struct {
	object manifest.ObjectID
	bytes  []byte
}

func newSigner(key ed25519.PrivateKey) *signer {
	mac := hmac.New(sha256.New, key.Seed())
	mac.Write([]byte("tandem manifest names v1"))
	return &signer{key: key, secret: mac.Sum(nil), signed: map[weak.Pointer[manifest.Manifest]]signature{}}
}

func (s *signer) public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// sign returns m with its signature.
func (s *signer) sign(m *manifest.Manifest) *manifest.Signed {
	p := weak.Make(m)
	s.mu.Lock()
	known, ok := s.signed[p]
	s.mu.Unlock()
	if ok {
		return &manifest.Signed{Manifest: m, Object: known.object, Key: s.public(), Signature: known.bytes}
	}
	signed := manifest.Sign(m, s.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.signed) >= maxSigned {
		clear(s.signed)
	}
	s.signed[p] = signature{signed.Object, signed.Signature}
	return signed
}

// signChunks returns the encoding of m with its signature, which is not to be changed.
func (s *signer) signChunks(m *chunkmap.Map) []byte {
	s.signing.Lock()
	defer s.signing.Unlock()
	if s.chunks == nil || s.chunksOf != m.Object {
		s.chunks, s.chunksOf = m.Sign(s.key), m.Object
	}
	return s.chunks
}

// name is the part of a manifest's URL that stands for the version. Nobody can
// guess it who has not been served the object, so that the manifests of signed
// URLs need no signature of their own.
func (s *signer) name(o object) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(o.size)))
	mac.Write([]byte(o.etag))
	mac.Write([]byte{0})
	mac.Write([]byte(o.key))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
