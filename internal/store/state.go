package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Limits of the state file: what lies outside is refused before it is read.
const (
	maxMeta  = 64 << 10 // bytes of description
	maxMarks = 1 << 20  // marks of a Plain: 1 TiB of it can be resumed
	maxState = stateHead + maxMeta + sha256.Size + maxMarks*markSize +
		piecesHead + manifest.MaxEncoded + sha256.Size + manifest.MaxPieces

	stateHead    = 16
	stateVersion = 1
	markSize     = 1 + 8 + sha256.Size
	piecesHead   = 1 + 4

	entryMark   = 'M'
	entryPieces = 'P'
	claimed     = 1
)

var stateMagic = [8]byte{'T', 'A', 'N', 'D', 'E', 'M', 'S', 'T'}

// A mark says what the first Length bytes of the data hash to.
type mark struct {
	Length int64
	Sum    manifest.Hash
}

// state is a state file in memory.
type state struct {
	meta   Meta
	marks  []mark           // lengths increase
	signed *manifest.Signed // nil for a Plain
	claims []byte           // one per piece
	end    int64            // where the next mark goes, or the claims begin
}

// encodeHead is the start of a state file.
func encodeHead(meta Meta) ([]byte, error) {
	desc, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	if len(desc) > maxMeta {
		return nil, fmt.Errorf("URL and validators of %d bytes, the limit is %d", len(desc), maxMeta)
	}
	b := append(stateMagic[:len(stateMagic):len(stateMagic)], stateVersion, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(desc)))
	b = append(b, desc...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// appendMark appends one mark.
func appendMark(b []byte, m mark) []byte {
	b = append(b, entryMark)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Length))
	return append(b, m.Sum[:]...)
}

// appendPieces appends the manifest; the claims go behind it.
func appendPieces(b []byte, s *manifest.Signed) []byte {
	b = append(b, entryPieces)
	n := len(b)
	b = s.Append(append(b, 0, 0, 0, 0))
	body := b[n+4:]
	binary.BigEndian.PutUint32(b[n:], uint32(len(body)))
	sum := sha256.Sum256(body)
	return append(b, sum[:]...)
}

// parseState reads a state file. What a kill in the middle of a write leaves is
// no damage: the entry is as if it had not been begun.
func parseState(b []byte) (*state, error) {
	rest, meta, err := parseHead(b)
	if err != nil {
		return nil, err
	}
	st := &state{meta: meta}
	for len(rest) >= markSize && rest[0] == entryMark && len(st.marks) < maxMarks {
		m := mark{Length: int64(binary.BigEndian.Uint64(rest[1:])), Sum: manifest.Hash(rest[9:])}
		if m.Length <= st.marked() {
			return nil, fmt.Errorf("%w: mark at %d after %d", ErrDamaged, m.Length, st.marked())
		}
		st.marks = append(st.marks, m)
		rest = rest[markSize:]
	}
	st.end = int64(len(b) - len(rest))
	if len(rest) == 0 || rest[0] != entryPieces {
		return st, nil
	}
	return st, st.parsePieces(rest)
}

// marked is the length the last mark vouches for.
func (st *state) marked() int64 {
	if len(st.marks) == 0 {
		return 0
	}
	return st.marks[len(st.marks)-1].Length
}

func parseHead(b []byte) (rest []byte, meta Meta, err error) {
	if len(b) < stateHead || [8]byte(b[:8]) != stateMagic {
		return nil, meta, fmt.Errorf("%w: no state file", ErrDamaged)
	}
	if [4]byte(b[8:12]) != [4]byte{stateVersion} {
		return nil, meta, fmt.Errorf("%w: version %d, this program knows %d", ErrDamaged, b[8], stateVersion)
	}
	n := binary.BigEndian.Uint32(b[12:])
	if n > maxMeta || len(b) < stateHead+int(n)+sha256.Size {
		return nil, meta, fmt.Errorf("%w: description of %d bytes in %d", ErrDamaged, n, len(b))
	}
	head, rest := b[:stateHead+int(n)], b[stateHead+int(n):]
	if sha256.Sum256(head) != [sha256.Size]byte(rest) {
		return nil, meta, fmt.Errorf("%w: checksum of the description", ErrDamaged)
	}
	if err := json.Unmarshal(head[stateHead:], &meta); err != nil {
		return nil, meta, fmt.Errorf("%w: description: %w", ErrDamaged, err)
	}
	return rest[sha256.Size:], meta, nil
}

func (st *state) parsePieces(b []byte) error {
	if len(b) < piecesHead {
		return nil
	}
	n := int64(binary.BigEndian.Uint32(b[1:]))
	if n > manifest.MaxEncoded || int64(len(b)) < piecesHead+n+sha256.Size {
		return nil
	}
	body, rest := b[piecesHead:piecesHead+n], b[piecesHead+n:]
	if sha256.Sum256(body) != [sha256.Size]byte(rest) {
		return nil
	}
	signed, err := manifest.DecodeSigned(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	claims := rest[sha256.Size:]
	if len(claims) > signed.NumPieces() {
		return fmt.Errorf("%w: %d claims for %d pieces", ErrDamaged, len(claims), signed.NumPieces())
	}
	st.signed = signed
	st.end += piecesHead + n + sha256.Size
	st.claims = slices.Concat(claims, make([]byte, signed.NumPieces()-len(claims)))
	return nil
}
