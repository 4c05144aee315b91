package control

import (
	"context"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Totals are sums over reports, in bytes.
type Totals struct {
	Reports   int64 `json:"reports"`
	Complete  int64 `json:"complete"`
	FromEdge  int64 `json:"from_edge"`
	FromPeers int64 `json:"from_peers"`
	Receipted int64 `json:"receipted"` // of FromPeers, with a signed receipt
	Wasted    int64 `json:"wasted"`
}

// PublisherTotals are the sums of one publisher.
type PublisherTotals struct {
	Publisher wire.Key `json:"publisher"`
	Totals
}

// ObjectTotals are the sums of one object.
type ObjectTotals struct {
	Publisher wire.Key          `json:"publisher"`
	Object    manifest.ObjectID `json:"object"`
	Totals
}

// maxTotals bounds the publishers and objects that a status lists, the largest
// first.
const maxTotals = 50

const sums = `coalesce(sum(reports),0), coalesce(sum(complete),0), coalesce(sum(from_edge),0),
	coalesce(sum(from_peers),0), coalesce(sum(receipted),0), coalesce(sum(wasted),0)`

func (t *Totals) fields() []any {
	return []any{&t.Reports, &t.Complete, &t.FromEdge, &t.FromPeers, &t.Receipted, &t.Wasted}
}

// totals sums everything.
func (r *reportDB) totals(ctx context.Context) (t Totals, err error) {
	if err = r.db.QueryRowContext(ctx, `SELECT `+sums+` FROM totals`).Scan(t.fields()...); err != nil {
		return t, fmt.Errorf("totals: %w", err)
	}
	return t, nil
}

// byPublisher sums by publisher, byObject by publisher and object.
func (r *reportDB) byPublisher(ctx context.Context) ([]PublisherTotals, error) {
	var out []PublisherTotals
	err := r.each(ctx, `SELECT publisher, `+sums+` FROM totals GROUP BY publisher ORDER BY sum(from_edge+from_peers) DESC LIMIT ?`,
		func(scan func(...any) error) error {
			var t PublisherTotals
			var publisher []byte
			err := scan(append([]any{&publisher}, t.fields()...)...)
			copy(t.Publisher[:], publisher)
			out = append(out, t)
			return err
		})
	return out, err
}

func (r *reportDB) byObject(ctx context.Context) ([]ObjectTotals, error) {
	var out []ObjectTotals
	err := r.each(ctx, `SELECT publisher, object, `+sums+` FROM totals GROUP BY publisher, object ORDER BY sum(from_edge+from_peers) DESC LIMIT ?`,
		func(scan func(...any) error) error {
			var t ObjectTotals
			var publisher, object []byte
			err := scan(append([]any{&publisher, &object}, t.fields()...)...)
			copy(t.Publisher[:], publisher)
			copy(t.Object[:], object)
			out = append(out, t)
			return err
		})
	return out, err
}

func (r *reportDB) each(ctx context.Context, query string, row func(scan func(...any) error) error) error {
	rows, err := r.db.QueryContext(ctx, query, maxTotals)
	if err != nil {
		return fmt.Errorf("totals: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err has the error, too
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return fmt.Errorf("totals: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("totals: %w", err)
	}
	return nil
}
