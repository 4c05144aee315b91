// Package replay runs what happened again: it reads the reports of downloads that
// control has kept, rebuilds who wanted what when and how fast each could take
// it, and lets the simulator play it under the present policy or another.
//
// Reports do not tell everything. What they leave open is as in any scenario and
// can be set: how uplinks relate to downlinks, who gives, NATs, the edge's rate,
// how long copies stay.
package replay

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/control"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	maxRecords = 5_000_000
	maxLine    = 64 << 10 // bytes
)

// Record is a report as a line of JSON. Installation and object are any names
// that tell them apart.
type Record struct {
	Installation string `json:"installation"`
	Object       string `json:"object"`
	Received     int64  `json:"received"` // Unix seconds; the download ended then
	Size         int64  `json:"size"`     // bytes, as the next three
	FromEdge     int64  `json:"from_edge"`
	FromPeers    int64  `json:"from_peers"`
	Wasted       int64  `json:"wasted"`
	Millis       int64  `json:"millis"` // duration of the download
	Complete     bool   `json:"complete"`
	// Not in control's database, but taken if they are known.
	AS      uint32 `json:"as,omitempty"`
	Country string `json:"country,omitempty"`
}

// began is when the download began.
func (r *Record) began() time.Time {
	return time.Unix(r.Received, 0).Add(-time.Duration(r.Millis) * time.Millisecond)
}

func (r *Record) check() error {
	switch {
	case r.Installation == "" || r.Object == "":
		return errors.New("no installation or no object")
	case r.Size <= 0 || r.Size > manifest.MaxSize:
		return fmt.Errorf("size %d", r.Size)
	case r.FromEdge < 0 || r.FromPeers < 0 || r.Wasted < 0 || r.FromEdge > r.Size || r.FromPeers > r.Size:
		return fmt.Errorf("%d bytes from the edge and %d from peers of %d", r.FromEdge, r.FromPeers, r.Size)
	case r.Millis < 0 || r.Millis > (90*24*time.Hour).Milliseconds():
		return fmt.Errorf("duration of %d ms", r.Millis)
	case r.Received < 0 || r.Received > 1<<40:
		return fmt.Errorf("received at %d", r.Received)
	case len(r.Country) > 2 || r.Country != "" && len(r.Country) != 2:
		return fmt.Errorf("country %.8q", r.Country)
	}
	return nil
}

// Trace is what was recorded, in the order in which it began.
type Trace struct {
	Name    string
	Records []Record
	// Skipped are reports of nothing: empty objects, or an object that the
	// installation had reported before.
	Skipped int
}

// Read reads a database of control, or a file of [Record] lines.
func Read(ctx context.Context, path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("trace %s: %w", path, err)
	}
	var records []Record
	if bytes.Equal(head[:n], []byte("SQLite format 3\x00")) {
		records, err = database(ctx, path)
	} else {
		records, err = lines(io.MultiReader(bytes.NewReader(head[:n]), f))
	}
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", path, err)
	}
	t := order(records)
	if len(t.Records) == 0 {
		return nil, fmt.Errorf("trace %s: no download in it", path)
	}
	return t, nil
}

var errMany = fmt.Errorf("more than %d reports", maxRecords)

func database(ctx context.Context, path string) ([]Record, error) {
	var list []Record
	name := base64.RawURLEncoding.EncodeToString
	err := control.ReadReports(ctx, path, func(r control.StoredReport) error {
		if len(list) == maxRecords {
			return errMany
		}
		list = append(list, Record{
			Installation: name(r.Installation), Object: name(r.Object), Received: r.Received.Unix(), Size: r.Size,
			FromEdge: r.FromEdge, FromPeers: r.FromPeers, Wasted: r.Wasted, Millis: r.Took.Milliseconds(), Complete: r.Complete,
		})
		return nil
	})
	return list, err
}

// lines reads a JSON object a line. Fields that it does not know are passed over:
// whole reports are fine.
func lines(r io.Reader) ([]Record, error) {
	var list []Record
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		if len(list) == maxRecords {
			return nil, errMany
		}
		var rec Record
		if err := json.Unmarshal(line, &rec); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if rec.Size == 0 && rec.Object != "" {
			rec.Size = -1 // an empty object: for order to skip
		} else if err := rec.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, rec)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

// order sorts records by their beginning and drops those of nothing.
func order(records []Record) *Trace {
	slices.SortStableFunc(records, func(a, b Record) int {
		return cmp.Or(a.began().Compare(b.began()), cmp.Compare(a.Installation, b.Installation), cmp.Compare(a.Object, b.Object))
	})
	t := &Trace{}
	type pair struct{ installation, object string }
	seen := make(map[pair]bool, len(records))
	for _, r := range records {
		k := pair{r.Installation, r.Object}
		if r.Size <= 0 || seen[k] {
			t.Skipped++
			continue
		}
		seen[k] = true
		t.Records = append(t.Records, r)
	}
	return t
}
