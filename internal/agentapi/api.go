package agentapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/gateway"
	"github.com/tandem-cdn/tandem/internal/hoststate"
	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/portmap"
)

// Request asks for one download; the fields are those of [agent.Request].
type Request struct {
	URL       string      `json:"url"`
	File      string      `json:"file"` // absolute
	Resume    bool        `json:"resume,omitempty"`
	Overwrite bool        `json:"overwrite,omitempty"`
	From      []string    `json:"from,omitempty"` // absolute
	Fresh     bool        `json:"fresh,omitempty"`
	Header    http.Header `json:"header,omitempty"`
	Class     fetch.Class `json:"class,omitempty"`
	FinishBy  float64     `json:"finish_by,omitempty"` // seconds
}

// Event is one line of the answer to a [Request]; one field is set.
type Event struct {
	Progress *Transfer `json:"progress,omitempty"`
	Result   *Transfer `json:"result,omitempty"`
	Error    *Failure  `json:"error,omitempty"`
}

// Failure is why a download ended early.
type Failure struct {
	Cause   string `json:"cause"` // a key of causes, "" for any other
	Message string `json:"message"`
}

// Transfer is a download, or a finished one that is shared.
type Transfer struct {
	URL       string             `json:"url"`
	File      string             `json:"file"`
	Size      int64              `json:"size"` // bytes, -1 while not known
	Done      int64              `json:"done"`
	FromEdge  int64              `json:"from_edge"`
	FromPeers int64              `json:"from_peers"`
	FromDisk  int64              `json:"from_disk"`
	FromOld   int64              `json:"from_old"`
	Wasted    int64              `json:"wasted"`
	Peers     int                `json:"peers"`
	Rate      int64              `json:"rate"`     // bytes per second
	Uploaded  int64              `json:"uploaded"` // bytes
	Seconds   float64            `json:"seconds"`
	Object    *manifest.ObjectID `json:"object,omitempty"`
	SHA256    *manifest.Hash     `json:"sha256,omitempty"`
	Warning   string             `json:"warning,omitempty"`
	Note      string             `json:"note,omitempty"`
	Edges     []Edge             `json:"edges,omitempty"` // of a result
	Complete  bool               `json:"complete"`
}

// Edge is a server that a finished download came from.
type Edge struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Status is what the agent does.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Upload  bool      `json:"upload"`
	// Limits in bytes per second, 0 for none.
	UploadLimit   int64 `json:"upload_limit"`
	DownloadLimit int64 `json:"limit_rate"`
	// UploadMonthly is the most to upload in a month, in bytes, 0 for no limit; Paused
	// is why nothing is uploaded for the moment.
	UploadMonthly int64 `json:"upload_monthly"`
	// DownloadMonthly is the most to receive in a month, in bytes, 0 for no limit.
	DownloadMonthly int64  `json:"download_monthly"`
	Paused          string `json:"paused,omitempty"`
	// Host is what is known of the machine while Upload is on.
	Host hoststate.State `json:"host"`
	// Month is what was shared since the month began, Days the same by UTC date.
	Month ledger.Day            `json:"month"`
	Days  map[string]ledger.Day `json:"days"`
	// Shared is what was sent by object and publisher, as far back as is kept.
	Shared ledger.Shares `json:"shared"`
	// PortMapping is what the router lets in, or why it does not.
	PortMapping portmap.Status `json:"port_mapping"`
	// Uploaded counts the bytes given to peers since the start.
	Uploaded  int64      `json:"uploaded"`
	Downloads []Transfer `json:"downloads"`
	Seeds     []Transfer `json:"seeds"`
	// Gateway is nil where there is none.
	Gateway *gateway.Traffic `json:"gateway,omitempty"`
}

// PairingCode lets one web page pair itself with the gateway at URL.
type PairingCode struct {
	Code  string    `json:"code"`
	Until time.Time `json:"until"`
	URL   string    `json:"url"` // of the gateway
}

// NewTransfer describes a download at one moment.
func NewTransfer(url, file string, p agent.Progress) Transfer {
	t := Transfer{
		URL: url, File: file, Size: p.Size, Done: p.Done, FromEdge: p.FromEdge, FromPeers: p.FromPeers,
		FromDisk: p.FromDisk, FromOld: p.FromOld, Wasted: p.Wasted, Peers: p.Peers, Rate: p.Rate, Uploaded: p.Uploaded,
		Seconds: p.Elapsed.Seconds(), Complete: p.Complete, Note: p.Note,
	}
	if p.Object != (manifest.ObjectID{}) {
		t.Object = &p.Object
	}
	return t
}

func (t Transfer) progress() agent.Progress {
	p := agent.Progress{
		Size: t.Size, Done: t.Done, FromEdge: t.FromEdge, FromPeers: t.FromPeers, FromDisk: t.FromDisk,
		Wasted: t.Wasted, Peers: t.Peers, Rate: t.Rate, Uploaded: t.Uploaded,
		Elapsed: time.Duration(t.Seconds * float64(time.Second)), Complete: t.Complete, Note: t.Note,
	}
	if t.Object != nil {
		p.Object = *t.Object
	}
	return p
}

func finished(r agent.Result) Transfer {
	t := Transfer{
		URL: r.URL, File: r.File, Size: r.Size, Done: r.Size, FromEdge: r.FromEdge, FromPeers: r.FromPeers,
		FromDisk: r.FromDisk, FromOld: r.FromOld, Wasted: r.Wasted, Peers: r.Peers, Seconds: r.Elapsed.Seconds(), Complete: true,
		SHA256: &r.SHA256, Warning: r.Warning,
	}
	for _, e := range r.Edges {
		t.Edges = append(t.Edges, Edge{e.Name, e.Bytes})
	}
	if r.Object != (manifest.ObjectID{}) {
		t.Object = &r.Object
	}
	return t
}

func (t Transfer) result() agent.Result {
	r := agent.Result{
		URL: t.URL, File: t.File, Size: t.Size, FromEdge: t.FromEdge, FromPeers: t.FromPeers,
		FromDisk: t.FromDisk, FromOld: t.FromOld, Wasted: t.Wasted, Peers: t.Peers, Elapsed: t.progress().Elapsed,
		Warning: t.Warning,
	}
	for _, e := range t.Edges {
		r.Edges = append(r.Edges, fetch.EdgeStats{Name: e.Name, Bytes: e.Bytes})
	}
	if t.Object != nil {
		r.Object = *t.Object
	}
	if t.SHA256 != nil {
		r.SHA256 = *t.SHA256
	}
	return r
}

// causes carries errors across: the command's exit code is the same whoever did
// the work.
func causes() map[string]error {
	return map[string]error{
		"url": agent.ErrURL, "not-found": agent.ErrNotFound, "denied": agent.ErrDenied, "server": agent.ErrServer,
		"network": agent.ErrNetwork, "tls": agent.ErrTLS, "verify": agent.ErrVerify, "manifest": agent.ErrManifest,
		"changed": agent.ErrChanged, "exists": agent.ErrExists, "disk": agent.ErrDisk, "interrupted": agent.ErrInterrupted,
		"monthly": agent.ErrMonthly,
	}
}

func failure(err error) *Failure {
	f := &Failure{Message: err.Error()}
	for name, cause := range causes() {
		// Of two causes, one of which is a kind of the other, the narrower counts.
		if errors.Is(err, cause) && (f.Cause == "" || errors.Is(cause, causes()[f.Cause])) {
			f.Cause = name
		}
	}
	return f
}

// Error is the other end's message.
func (f *Failure) Error() string { return f.Message }

// Unwrap is the cause, as package agent has it.
func (f *Failure) Unwrap() error { return causes()[f.Cause] }

// errorf is an error of the API itself.
func errorf(format string, args ...any) error {
	return fmt.Errorf("local API of the agent: "+format, args...)
}
