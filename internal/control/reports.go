package control

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// maxWastedShare is how many times the object's size a report may say was
// wasted: beyond it the numbers are made up.
const maxWastedShare = 16

// record is a report that passed its checks.
type record struct {
	installation wire.Key
	publisher    wire.Key
	report       wire.Report
	received     time.Time
}

// checkReport verifies what can be verified of a report: that its grant is real
// and was given for this object and session, that it and every receipt are signed
// by the session, and that the sums agree. What a client says of the edge's bytes is
// its word; the edge's own log is the other side of that account.
func checkReport(r *wire.Report, now time.Time) (*grant.Claims, error) {
	if !validReportID(r.ID) {
		return nil, errors.New("id: want 1 to 64 letters, digits, - or _")
	}
	// An account comes late when the client was off: judge the grant as of then.
	claims, err := grant.Parse(r.Grant, now.Add(-reportAge))
	if err != nil {
		return nil, err
	}
	if claims.Object != r.Object || claims.Key != r.Session {
		return nil, grant.ErrMismatch
	}
	switch {
	case r.Size < 0 || r.Size > manifest.MaxSize:
		return nil, fmt.Errorf("size %d", r.Size)
	case r.FromEdge < 0 || r.FromPeers < 0 || r.FromEdge > r.Size || r.FromPeers > r.Size-r.FromEdge:
		return nil, fmt.Errorf("%d bytes from the edge and %d from peers of an object of %d", r.FromEdge, r.FromPeers, r.Size)
	case r.Wasted < 0 || r.Wasted/maxWastedShare > r.Size:
		return nil, fmt.Errorf("%d bytes wasted on an object of %d", r.Wasted, r.Size)
	case r.Millis < 0 || r.Millis > maxMillis:
		return nil, fmt.Errorf("duration of %d ms", r.Millis)
	}
	if err := checkReceipts(r); err != nil {
		return nil, err
	}
	if !ed25519.Verify(r.Session.Public(), r.SignedBytes(), r.Signature) {
		return nil, errors.New("bad signature")
	}
	return claims, nil
}

// checkReceipts does not compare their sum with the report: a receipt is over all
// that the session ever had of the object. What of it is news is the database's
// to say.
func checkReceipts(r *wire.Report) error {
	seen := make(map[wire.Key]bool, len(r.Receipts))
	for _, rc := range r.Receipts {
		switch {
		case rc.Uploader == r.Session || seen[rc.Uploader]:
			return fmt.Errorf("receipt for %s: twice, or for oneself", rc.Uploader.Short())
		case rc.Bytes > uint64(manifest.MaxSize):
			return fmt.Errorf("receipt for %s: %d bytes", rc.Uploader.Short(), rc.Bytes)
		case !ed25519.Verify(r.Session.Public(), wire.ReceiptBytes(r.Object, rc.Uploader.Public(), r.Session.Public(), rc.Bytes), rc.Signature):
			return fmt.Errorf("receipt for %s: bad signature", rc.Uploader.Short())
		}
		seen[rc.Uploader] = true
	}
	return nil
}

func validReportID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 64
}

// trusts reports whether a grant may name the publisher it names: its own
// signer, or anyone where control itself has signed, having seen the publisher's
// signature on the manifest.
func (c *Control) trusts(g *grant.Claims) error {
	if g.Publisher != g.Signer && g.Signer != c.key.public {
		return fmt.Errorf("%w: %s may not grant for %s", grant.ErrUntrusted, g.Signer.Short(), g.Publisher.Short())
	}
	if !c.cfg.serves(g.Publisher) {
		return fmt.Errorf("%w: publisher %s is not served here", grant.ErrUntrusted, g.Publisher.Short())
	}
	return nil
}
