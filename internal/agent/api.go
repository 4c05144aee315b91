package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/hoststate"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Config is what an Engine needs. The zero value of each field is usable.
type Config struct {
	// Data is the directory of the engine's own state: installation key, reports
	// not yet acknowledged, ledger, cache. Empty: a temporary one.
	Data string
	// Upload lets this process serve verified pieces to peers.
	Upload bool
	// UploadLimit and DownloadLimit are in bytes per second; 0 is no limit.
	UploadLimit   int64
	DownloadLimit int64
	// UploadMonthly is the most bytes to upload in a calendar month (UTC); 0 is no
	// limit. QuietHours are when less may be uploaded, or nothing.
	UploadMonthly int64
	QuietHours    []Hours
	// DownloadMonthly is the most bytes of objects to receive in a calendar month (UTC);
	// 0 is no limit. Downloads end with [ErrMonthly] then.
	DownloadMonthly int64
	// Host tells of the machine; with nil nothing is known of it. Uploads rest on
	// battery, on metered links and behind a VPN, except for what UploadAlso has:
	// "battery", "metered", "vpn".
	Host       Host
	UploadAlso []string
	// Ungoverned uploads take what they can get of the uplink, as any program does;
	// else they give way to whatever else uses it.
	Ungoverned bool
	// NoP2P makes every download an edge download.
	NoP2P bool
	// ListenTCP and ListenUDP are the addresses for links from peers; empty is
	// any port on all interfaces.
	ListenTCP, ListenUDP string
	// MapPorts has the router asked to let peers in, when control sees this machine
	// behind a NAT, and not where Host says that the link is metered.
	MapPorts bool
	// Patience is how long a download waits, without a byte from anyone, for servers
	// that say when to come back (503 and Retry-After); 0 is ten minutes. Downloads
	// that have time have more of it.
	Patience time.Duration
	// HTTP is used for edge requests; nil is a client with the engine's settings.
	HTTP *http.Client
	// CAFile holds extra PEM roots for edges and control.
	CAFile string
	// Guard, if set, is asked before a request of a guarded download connects to an
	// address: of which host and port it was found to be one. An error refuses it.
	Guard func(hostport string, to netip.AddrPort) error
	// Agent names the program to servers and peers.
	Agent string
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Host follows the state of the machine while Run runs; see [hoststate.Watcher].
type Host interface {
	Run(ctx context.Context) error
	State() hoststate.State
	Changed() <-chan struct{}
}

// Request is one download.
type Request struct {
	URL string
	// File is where the object appears when whole and verified. Empty: a
	// temporary file that is removed when the download is closed.
	File string
	// Resume continues from what an interrupted download of the same URL left.
	Resume bool
	// Overwrite replaces an existing File.
	Overwrite bool
	// From are files that may hold an older version of the object: what has not
	// changed is copied from there. The file to be replaced is one of them, and what
	// earlier downloads of the URL have left.
	From []string
	// Fresh takes nothing from older versions.
	Fresh bool
	// Header is sent with every request to the edge.
	Header http.Header
	// Class says how long the download may take. FinishBy is the time, from its
	// beginning, in which one of class [fetch.Background] must be done; 0 is no such
	// time.
	Class    fetch.Class
	FinishBy time.Duration
	// NoRedirects makes a redirect an error, for callers that follow them.
	NoRedirects bool
	// Sequential plans for a reader that starts at the beginning: pieces near the
	// reading position come first, from the edge when peers are late.
	Sequential bool
	// Guarded has every address that the download's requests connect to pass
	// [Config.Guard]: the URL may be somebody else's choice than the user's.
	Guarded bool
	// Begun is the whole answer to a GET of URL, to begin with; nil has the download
	// ask itself. Its body is the download's from now on.
	Begun *http.Response
}

// Progress is a download at one moment.
type Progress struct {
	Size      int64 // bytes, -1 while not known
	Done      int64 // bytes on disk (verified where there is a manifest)
	FromEdge  int64 // bytes of Done that came from an edge
	FromPeers int64 // bytes of Done that came from peers
	FromDisk  int64 // bytes of Done that an earlier run had left
	FromOld   int64 // bytes of Done that older versions had
	Wasted    int64 // bytes received that were not needed or not right
	Peers     int   // links open in the swarm
	Rate      int64 // bytes per second, smoothed
	Uploaded  int64 // bytes sent to peers for this object
	Elapsed   time.Duration
	Object    manifest.ObjectID // zero while there is no manifest
	Complete  bool
	Note      string // what is waited for, in one line; mostly empty
}

// Result is a finished download.
type Result struct {
	URL       string
	File      string
	Size      int64
	Elapsed   time.Duration
	FromEdge  int64
	FromPeers int64
	FromDisk  int64
	FromOld   int64
	Wasted    int64
	Peers     int               // peers that sent verified bytes
	Object    manifest.ObjectID // zero for a plain URL
	SHA256    manifest.Hash     // of the whole file
	Edges     []fetch.EdgeStats // servers it came from, first that of the URL; nil for a plain URL
	Warning   string            // what went wrong beside, in one line; mostly empty
}

// Errors by cause; errors of a download wrap one of them. Their texts say what
// to do next.
var (
	ErrURL         = errors.New("not a URL this program can fetch")
	ErrNotFound    = errors.New("no such object")                       // 404, 410
	ErrDenied      = errors.New("the server refuses this URL")          // 401, 403
	ErrServer      = errors.New("the server answered with an error")    // other statuses
	ErrNetwork     = errors.New("the server cannot be reached")         // DNS, connect, reset, time-out
	ErrTLS         = errors.New("the server's certificate is not good") // x509
	ErrVerify      = errors.New("verification")                         // manifest, signature or content does not agree
	ErrManifest    = fmt.Errorf("%w: bad manifest", ErrVerify)          // forged, damaged, of hostile size, or of other bytes
	ErrChanged     = errors.New("the object changed during the download")
	ErrExists      = errors.New("the file exists")
	ErrDisk        = errors.New("the file cannot be written") // full, read-only, no permission
	ErrMonthly     = errors.New("the bytes that may be received this month are used up")
	ErrInterrupted = errors.New("interrupted")
)
