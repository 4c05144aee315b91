package control

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// schema is the history of the database: each step brings it from the version
// that is its index to the next. Steps are appended, never changed.
func schema() []string {
	return []string{`
-- Reports as they came: what makes counting idempotent.
CREATE TABLE reports (
	installation BLOB NOT NULL,
	id           TEXT NOT NULL,
	received     INTEGER NOT NULL, -- Unix seconds
	publisher    BLOB NOT NULL,
	object       BLOB NOT NULL,
	size         INTEGER NOT NULL,
	from_edge    INTEGER NOT NULL,
	from_peers   INTEGER NOT NULL,
	wasted       INTEGER NOT NULL,
	millis       INTEGER NOT NULL,
	complete     INTEGER NOT NULL,
	PRIMARY KEY (installation, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX reports_received ON reports (received);
-- Receipts are cumulative: the largest of each pair counts, once, whatever
-- number of reports carry it.
CREATE TABLE receipts (
	object     BLOB NOT NULL,
	uploader   BLOB NOT NULL,
	downloader BLOB NOT NULL,
	received   INTEGER NOT NULL,
	bytes      INTEGER NOT NULL,
	PRIMARY KEY (object, uploader, downloader)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_received ON receipts (received);
CREATE TABLE totals (
	day        INTEGER NOT NULL, -- days since 1970 UTC
	publisher  BLOB NOT NULL,
	object     BLOB NOT NULL,
	reports    INTEGER NOT NULL,
	complete   INTEGER NOT NULL,
	from_edge  INTEGER NOT NULL,
	from_peers INTEGER NOT NULL,
	receipted  INTEGER NOT NULL, -- of from_peers, with a receipt
	wasted     INTEGER NOT NULL,
	millis     INTEGER NOT NULL,
	PRIMARY KEY (day, publisher, object)
) STRICT, WITHOUT ROWID;`}
}

// errBusy is the answer to a report for which there is no room in the queue.
var errBusy = errors.New("the queue of reports is full")

// reportDB keeps reports. One goroutine, run, writes: it commits what has
// gathered while the last commit was under way, so that the disk is synced once
// for many reports.
type reportDB struct {
	db    *sql.DB
	queue chan pendingReport
	log   *slog.Logger
}

type pendingReport struct {
	record
	done func(error) // called once, after the commit
}

func openReports(dir string, log *slog.Logger) (*reportDB, error) {
	path := filepath.Join(dir, "reports.db")
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)",
		"synchronous(FULL)", // an acknowledged report survives the loss of power
	}, "_txlock": {"immediate"}}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("reports %s: %w", path, err)
	}
	db.SetMaxOpenConns(4)
	if err := migrate(context.Background(), db); err != nil {
		return nil, errors.Join(fmt.Errorf("reports %s: %w", path, err), db.Close())
	}
	return &reportDB{db: db, queue: make(chan pendingReport, reportQueue), log: log}, nil
}

// migrate brings the schema up to date, each step in a transaction.
func migrate(ctx context.Context, db *sql.DB) error {
	steps := schema()
	for {
		var version int
		if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return fmt.Errorf("schema version: %w", err)
		}
		if version == len(steps) {
			return nil
		}
		if version > len(steps) {
			return fmt.Errorf("schema version %d is of a later program, this one knows %d", version, len(steps))
		}
		err := inTx(ctx, db, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, steps[version]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("schema version %d: %w", version+1, err)
		}
	}
}

func inTx(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// submit queues a record; done is called when it is on disk or cannot be.
func (r *reportDB) submit(rec record, done func(error)) error {
	select {
	case r.queue <- pendingReport{rec, done}:
		return nil
	default:
		return errBusy
	}
}

// run writes until the queue is closed and empty.
func (r *reportDB) run() {
	for first := range r.queue {
		batch := []pendingReport{first}
		for len(batch) < reportBatch && len(r.queue) > 0 {
			batch = append(batch, <-r.queue)
		}
		err := r.commit(batch)
		if err != nil {
			r.log.Error("reports not written", "count", len(batch), "error", err)
		}
		for _, p := range batch {
			p.done(err)
		}
	}
}

// commit stores a batch in one transaction.
func (r *reportDB) commit(batch []pendingReport) error {
	// Not a caller's context: what was received is written even while control
	// shuts down.
	ctx := context.Background()
	return inTx(ctx, r.db, func(tx *sql.Tx) error {
		for i := range batch {
			if err := store(ctx, tx, &batch[i].record); err != nil {
				return err
			}
		}
		return nil
	})
}

// store adds one report to the totals unless it is there already.
func store(ctx context.Context, tx *sql.Tx, rec *record) error {
	r := &rec.report
	at := rec.received.Unix()
	res, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO reports VALUES (?,?,?,?,?,?,?,?,?,?,?)`,
		rec.installation[:], r.ID, at, rec.publisher[:], r.Object[:], r.Size, r.FromEdge, r.FromPeers, r.Wasted, r.Millis, r.Complete)
	if err != nil {
		return fmt.Errorf("report %s: %w", r.ID, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	var receipted int64
	for _, rc := range r.Receipts {
		n, err := credit(ctx, tx, r, rc, at)
		if err != nil {
			return fmt.Errorf("report %s: receipt: %w", r.ID, err)
		}
		receipted += n
	}
	receipted = min(receipted, r.FromPeers)
	_, err = tx.ExecContext(ctx, `INSERT INTO totals VALUES (?,?,?,1,?,?,?,?,?,?)
		ON CONFLICT DO UPDATE SET reports = reports+1, complete = complete+excluded.complete,
		from_edge = from_edge+excluded.from_edge, from_peers = from_peers+excluded.from_peers,
		receipted = receipted+excluded.receipted, wasted = wasted+excluded.wasted, millis = millis+excluded.millis`,
		at/86400, rec.publisher[:], r.Object[:], r.Complete, r.FromEdge, r.FromPeers, receipted, r.Wasted, r.Millis)
	if err != nil {
		return fmt.Errorf("report %s: totals: %w", r.ID, err)
	}
	return nil
}

// credit stores a receipt and returns the bytes that no earlier one covers.
func credit(ctx context.Context, tx *sql.Tx, r *wire.Report, rc wire.PeerReceipt, at int64) (int64, error) {
	var had int64
	err := tx.QueryRowContext(ctx, `SELECT bytes FROM receipts WHERE object=? AND uploader=? AND downloader=?`,
		r.Object[:], rc.Uploader[:], r.Session[:]).Scan(&had)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	n := int64(rc.Bytes)
	if n <= had {
		return 0, nil
	}
	_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO receipts VALUES (?,?,?,?,?)`,
		r.Object[:], rc.Uploader[:], r.Session[:], at, n)
	return n - had, err
}

// prune forgets reports and receipts received before a time; totals stay.
func (r *reportDB) prune(ctx context.Context, before time.Time) error {
	for _, q := range []string{`DELETE FROM reports WHERE received < ?`, `DELETE FROM receipts WHERE received < ?`} {
		if _, err := r.db.ExecContext(ctx, q, before.Unix()); err != nil {
			return fmt.Errorf("prune reports: %w", err)
		}
	}
	return nil
}

// close releases the database; run has returned.
func (r *reportDB) close() error { return r.db.Close() }
