package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/streams"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	trackPrefix = wire.WellKnownPath + "/track/"
	// maxPageWait is how long a request for pages may wait, in seconds.
	maxPageWait = 25
	// noHost names this edge in playlists where nothing says how clients do: absolute
	// URLs are those of other hosts then.
	noHost = "http://edge.invalid"
)

// followStreams has the playlists that are served followed.
func (e *Edge) followStreams() error {
	if e.cfg.NoStreams || e.cfg.Policy.P2P == wire.P2POff {
		return nil
	}
	public := e.public
	if public == nil {
		var err error
		if public, err = url.Parse(noHost); err != nil {
			return err
		}
	}
	c := streams.Config{Load: e.loadPlaylist, Take: e.takeSegment, Key: e.signer.key, Public: public, Logger: e.log}
	if e.cfg.Data != "" {
		c.Dir = filepath.Join(e.cfg.Data, "streams")
	}
	s, err := streams.New(c)
	if err != nil {
		return fmt.Errorf("edge: streams: %w", err)
	}
	e.streams = s
	return nil
}

func (e *Edge) loadPlaylist(ctx context.Context, key string, most int64) ([]byte, string, error) {
	o, b, err := e.source.read(ctx, key, most)
	if err != nil {
		return nil, "", err
	}
	if o.private {
		return nil, "", fmt.Errorf("%s is not for everybody: %w", key, errNoManifest)
	}
	return b, o.etag, nil
}

func (e *Edge) takeSegment(ctx context.Context, key string) (streams.Object, error) {
	o, err := e.source.wait(ctx, key)
	if err != nil {
		return streams.Object{}, err
	}
	if o.private {
		return streams.Object{}, fmt.Errorf("%s is not for everybody: %w", key, errNoManifest)
	}
	return streams.Object{ETag: o.etag, Manifest: o.manifest}, nil
}

// trackLinks are the links (RFC 8288) of a playlist to its tracks, of which an
// object that is served may be the first sign.
func (e *Edge) trackLinks(h http.Header, o object) []string {
	if e.streams == nil || o.private && !o.coded {
		return nil
	}
	etag := o.etag
	if h.Get("Content-Encoding") != "" {
		etag = "" // it tells nothing of what is followed
	}
	var links []string
	for _, id := range e.streams.Served(o.key, etag, h.Get("Content-Type")) {
		links = append(links, fmt.Sprintf("<%s>; rel=%q; type=%q", trackPrefix+id.String(), "describedby", wire.TrackType))
	}
	return links
}

// serveTrack answers with the header of a track, or with pages of it.
func (e *Edge) serveTrack(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	e.allowOrigin(w.Header())
	name, pages := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, trackPrefix), "/pages")
	id, err := manifest.ParseObjectID(name)
	if err != nil || e.streams == nil {
		fail(w, http.StatusNotFound, streams.ErrGone.Error())
		return
	}
	if pages {
		e.servePages(w, r, id)
		return
	}
	b, ok := e.streams.Header(id)
	if !ok {
		fail(w, http.StatusNotFound, streams.ErrGone.Error())
		return
	}
	w.Header().Set("Content-Type", wire.TrackType)
	w.Header().Set("Etag", `"`+id.String()+`"`)
	sendForever(w, r, b)
}

func (e *Edge) servePages(w http.ResponseWriter, r *http.Request, id track.ID) {
	q := r.URL.Query()
	from, err := strconv.ParseUint(q.Get("from"), 10, 31)
	var wait uint64
	if s := q.Get("wait"); s != "" && err == nil {
		wait, err = strconv.ParseUint(s, 10, 31)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "want ?from=SEGMENT&wait=SECONDS")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(min(wait, maxPageWait))*time.Second)
	defer cancel()
	b, err := e.streams.Pages(ctx, id, int(from))
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case errors.Is(err, streams.ErrGone):
		fail(w, http.StatusNotFound, err.Error()+" with that beginning: begin again at the playlist")
	case err != nil:
		w.Header().Set("Retry-After", manifestRetry)
		fail(w, http.StatusServiceUnavailable, err.Error())
	case b == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", wire.TrackPagesType)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	}
}
