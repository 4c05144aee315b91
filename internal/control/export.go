package control

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"
)

// StoredReport is a report as the database keeps it.
type StoredReport struct {
	Installation, Object []byte
	Received             time.Time
	Size                 int64 // bytes, as all but the last
	FromEdge, FromPeers  int64
	Wasted               int64
	Took                 time.Duration
	Complete             bool
}

// ReadReports calls f for every report in a database of control, in order of
// their receipt. It only reads: control may be running.
func ReadReports(ctx context.Context, path string, f func(StoredReport) error) (err error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: "mode=ro&_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return fmt.Errorf("reports %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, `SELECT installation, object, received, size, from_edge, from_peers, wasted, millis, complete
		FROM reports ORDER BY received, installation, id`)
	if err != nil {
		return fmt.Errorf("reports %s: %w", path, err)
	}
	defer func() { _ = rows.Close() }() // read to the end, or the error is told already
	for rows.Next() {
		var r StoredReport
		var received, millis int64
		if err := rows.Scan(&r.Installation, &r.Object, &received, &r.Size, &r.FromEdge, &r.FromPeers, &r.Wasted, &millis, &r.Complete); err != nil {
			return fmt.Errorf("reports %s: %w", path, err)
		}
		r.Received, r.Took = time.Unix(received, 0), time.Duration(millis)*time.Millisecond
		if err := f(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reports %s: %w", path, err)
	}
	return nil
}
