package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Key is an Ed25519 public key: base64url without padding in JSON. Between
// peers it is the key of a session, made anew by every process; the key of an
// installation goes to control alone.
type Key [ed25519.PublicKeySize]byte

// KeyOf converts a public key.
func KeyOf(k ed25519.PublicKey) Key { return Key(k) }

// Public converts the key for verification.
func (k Key) Public() ed25519.PublicKey { return k[:] }

// String is the base64url form.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// Short is enough of the key to tell peers apart in a log.
func (k Key) Short() string { return k.String()[:8] }

// MarshalText writes base64url.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads base64url.
func (k *Key) UnmarshalText(b []byte) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(b))
	if err != nil || len(raw) != len(k) || len(b) != base64.RawURLEncoding.EncodedLen(len(k)) { // the decoder skips line ends
		return fmt.Errorf("key %.60q: want %d bytes in base64url", b, len(k))
	}
	*k = Key(raw)
	return nil
}

// Message is one control message: a JSON object whose "type" names which of the
// pointers is set. Fields and types not known are ignored.
//
// From control: challenge, welcome, peers, ack, error.
// From the client: login, update, join, leave, find, links, report, blame.
type Message struct {
	Type string `json:"type"`

	Challenge *Challenge `json:"challenge,omitempty"`
	Welcome   *Welcome   `json:"welcome,omitempty"`
	Peers     *Peers     `json:"peers,omitempty"`
	Ack       *Ack       `json:"ack,omitempty"`
	Error     *Error     `json:"error,omitempty"`

	Login  *Login  `json:"login,omitempty"`
	Update *Update `json:"update,omitempty"`
	Join   *Join   `json:"join,omitempty"`
	Leave  *Leave  `json:"leave,omitempty"`
	Find   *Find   `json:"find,omitempty"`
	Report *Report `json:"report,omitempty"`
	Links  *Links  `json:"links,omitempty"`
	Blame  *Blame  `json:"blame,omitempty"`
}

// The values of [Message.Type].
const (
	MsgChallenge = "challenge"
	MsgWelcome   = "welcome"
	MsgPeers     = "peers"
	MsgAck       = "ack"
	MsgError     = "error"
	MsgLogin     = "login"
	MsgUpdate    = "update"
	MsgJoin      = "join"
	MsgLeave     = "leave"
	MsgFind      = "find"
	MsgReport    = "report"
	MsgLinks     = "links"
	MsgBlame     = "blame"
)

// Challenge is control's first message.
type Challenge struct {
	Version int    `json:"version"`
	Nonce   string `json:"nonce"` // base64url, 32 bytes
}

// Login proves that the client holds both keys: each signs [LoginBytes].
type Login struct {
	Version      int    `json:"version"`
	Installation Key    `json:"installation"`
	Session      Key    `json:"session"`
	InstallSig   []byte `json:"install_sig"`
	SessionSig   []byte `json:"session_sig"`
	Agent        string `json:"agent,omitempty"`
}

const loginContext = "tandem login v1\x00"

// LoginBytes are the bytes both signatures of a [Login] cover.
func LoginBytes(nonce string, installation, session Key) []byte {
	b := append([]byte(loginContext), nonce...)
	b = append(b, 0)
	b = append(b, installation[:]...)
	return append(b, session[:]...)
}

// Welcome ends the login.
type Welcome struct {
	Session string   `json:"session"`        // name of the session, for logs on both sides
	You     string   `json:"you"`            // the client's address as control sees it, IP:port
	STUN    []string `json:"stun,omitempty"` // host:port of STUN services on UDP; an empty host is the control host itself
	Refresh int      `json:"refresh"`        // seconds after which a Join must be repeated
}

// NAT is how the client's UDP socket looks from outside (RFC 4787 mapping).
type NAT string

// Kinds of NAT.
const (
	NATUnknown   NAT = ""
	NATOpen      NAT = "open"      // no translation
	NATCone      NAT = "cone"      // one mapping whatever the destination
	NATSymmetric NAT = "symmetric" // a mapping per destination
	NATBlocked   NAT = "blocked"   // no answer over UDP
)

// Addr is a way to reach a peer.
type Addr struct {
	Net  string `json:"net"`  // "tcp" or "udp"
	Addr string `json:"addr"` // IP:port
	Kind string `json:"kind"` // "host" (an interface), "mapped" (seen by STUN or control)
}

// Update tells control how the session can be reached and what it offers.
type Update struct {
	Addrs   []Addr `json:"addrs"`
	NAT     NAT    `json:"nat,omitempty"`
	Uploads bool   `json:"uploads"`
	Uplink  uint32 `json:"uplink,omitempty"` // kbit/s, see [RoundUplink]; 0 = not known
	Load    int    `json:"load,omitempty"`   // percentage of it in use
}

// Join enters a swarm, or renews the membership. Control answers with Peers.
type Join struct {
	Object manifest.ObjectID `json:"object"`
	Grant  string            `json:"grant"`
	Have   int               `json:"have"`  // verified pieces
	Total  int               `json:"total"` // pieces of the object
	Want   int               `json:"want"`  // candidates wanted now, 0 for a seed that waits to be asked
}

// Find asks for more candidates of a swarm the session has joined.
type Find struct {
	Object manifest.ObjectID `json:"object"`
	Want   int               `json:"want"`
	Except []Key             `json:"except,omitempty"` // peers already linked
	Have   int               `json:"have"`
}

// Leave quits a swarm.
type Leave struct {
	Object manifest.ObjectID `json:"object"`
}

// Peers names candidates of a swarm. Both sides of each pair get one at the same
// moment and connect to each other at once.
type Peers struct {
	Object manifest.ObjectID `json:"object"`
	Peers  []Candidate       `json:"peers"`
	Policy Policy            `json:"policy"`
	Duty   *Duty             `json:"duty,omitempty"` // nil: as before
}

// Duty is the share of an object that a member is to fetch from the edge for its
// swarm: the numbers Index to Index+Width−1 of those below Of. Which stripes a
// number stands for is in docs/PROTOCOL.md §8.5. A Duty with Of 0 is none.
type Duty struct {
	Index uint32 `json:"index"`
	Width uint32 `json:"width"`
	Of    uint32 `json:"of"`
}

func (d *Duty) valid() bool {
	return d.Of == 0 || d.Of <= maxDuty && d.Index < d.Of && d.Width > 0 && d.Width <= d.Of-d.Index
}

// maxDuty bounds Duty.Of.
const maxDuty = 1 << 30

// Candidate is a peer as control describes it to another.
type Candidate struct {
	Key     Key    `json:"key"`
	Addrs   []Addr `json:"addrs"`
	NAT     NAT    `json:"nat,omitempty"`
	Uploads bool   `json:"uploads"`
	Seed    bool   `json:"seed,omitempty"`   // has the whole object
	Uplink  uint32 `json:"uplink,omitempty"` // kbit/s, see [RoundUplink]
	Near    uint8  `json:"near,omitempty"`   // how near it is to the receiver: 0 (or not known) … Nearest
}

// Values of [Candidate.Near]; the greater is the nearer.
const (
	NearCountry = 1
	NearAS      = 2 // the same autonomous system
	NearNet     = 3 // the same IPv4 /24 or IPv6 /48 in it
	Nearest     = 4 // behind the same public address
)

// Policy is what a publisher allows for an object.
type Policy struct {
	P2P P2P `json:"p2p,omitempty"`
}

// P2P says who may share an object with whom.
type P2P string

// Values of [P2P].
const (
	P2POn          P2P = "on" // the default
	P2PSameCountry P2P = "same-country"
	P2PLAN         P2P = "lan"
	P2POff         P2P = "off"
)

// Links tells which of the candidates that control has named could be linked to,
// and which could not, each of them once.
type Links struct {
	Object manifest.ObjectID `json:"object"`
	Made   []Key             `json:"made,omitempty"`
	Failed []Key             `json:"failed,omitempty"`
}

// Report accounts for one download. It is sent until acknowledged; control
// counts each ID once.
type Report struct {
	ID        string            `json:"id"` // chosen by the client, unique
	Object    manifest.ObjectID `json:"object"`
	Grant     string            `json:"grant"`
	Session   Key               `json:"session"` // the key that signed the receipts
	Size      int64             `json:"size"`    // bytes
	FromEdge  int64             `json:"from_edge"`
	FromPeers int64             `json:"from_peers"`
	Wasted    int64             `json:"wasted"`
	Millis    int64             `json:"millis"` // duration of the download
	Complete  bool              `json:"complete"`
	Receipts  []PeerReceipt     `json:"receipts,omitempty"`
	Signature []byte            `json:"signature"` // by the session key, over SignedBytes
}

const reportContext = "tandem report v1\x00"

// SignedBytes are the bytes that a report's signature covers: who had how much of
// what. Grants are shown to every peer; the signature keeps them from reporting
// in another's name. Receipts carry their own.
func (r *Report) SignedBytes() []byte {
	b := append([]byte(reportContext), byte(len(r.ID)))
	b = append(b, r.ID...)
	b = append(b, r.Object[:]...)
	b = append(b, r.Session[:]...)
	for _, n := range []int64{r.Size, r.FromEdge, r.FromPeers, r.Wasted, r.Millis} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if r.Complete {
		return append(b, 1)
	}
	return append(b, 0)
}

// PeerReceipt is one receipt in a report; the signature covers [ReceiptBytes].
type PeerReceipt struct {
	Uploader  Key    `json:"uploader"`
	Bytes     uint64 `json:"bytes"`
	Signature []byte `json:"signature"`
}

// Ack says a report is on control's disk.
type Ack struct {
	ID string `json:"id"`
}

// Blame names a peer that broke the protocol or sent bad data.
type Blame struct {
	Object manifest.ObjectID `json:"object"`
	Peer   Key               `json:"peer"`
	Reason string            `json:"reason"` // "corrupt", "protocol"
}

// Error is control's refusal of a message.
type Error struct {
	Code    string             `json:"code"` // see docs/PROTOCOL.md
	Message string             `json:"message"`
	Object  *manifest.ObjectID `json:"object,omitempty"`
	Report  string             `json:"report,omitempty"` // ID of the report that is refused
	Retry   int                `json:"retry,omitempty"`  // seconds
}

// Codes of [Error].
const (
	CodeBadMessage = "bad-message"
	CodeBadLogin   = "bad-login"
	CodeBadGrant   = "bad-grant"
	CodeBadReport  = "bad-report"
	CodeOverload   = "overload"
	CodeVersion    = "version"
)

// ParseMessage reads one control message and checks that the body its type
// announces is there.
func ParseMessage(b []byte) (*Message, error) {
	if len(b) > MaxControlMessage {
		return nil, fmt.Errorf("control message of %d bytes, the limit is %d", len(b), MaxControlMessage)
	}
	var m Message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("control message %.40q: %w", m.Type, err)
	}
	if m.Login != nil {
		m.Login.Agent = clean(m.Login.Agent, MaxAgent) // it reaches logs
	}
	return &m, nil
}

func (m *Message) check() error {
	present := map[string]bool{
		MsgChallenge: m.Challenge != nil, MsgWelcome: m.Welcome != nil, MsgPeers: m.Peers != nil,
		MsgAck: m.Ack != nil, MsgError: m.Error != nil, MsgLogin: m.Login != nil,
		MsgUpdate: m.Update != nil, MsgJoin: m.Join != nil, MsgLeave: m.Leave != nil,
		MsgFind: m.Find != nil, MsgReport: m.Report != nil, MsgLinks: m.Links != nil, MsgBlame: m.Blame != nil,
	}
	if ok, known := present[m.Type]; known && !ok {
		return fmt.Errorf("body %q is missing", m.Type)
	}
	switch {
	case m.Join != nil && (m.Join.Total < 0 || m.Join.Total > manifest.MaxPieces || m.Join.Have < 0 || m.Join.Have > m.Join.Total || m.Join.Want < 0):
		return fmt.Errorf("%d of %d pieces, %d wanted", m.Join.Have, m.Join.Total, m.Join.Want)
	case m.Find != nil && (m.Find.Have < 0 || m.Find.Want < 0):
		return fmt.Errorf("%d pieces, %d wanted", m.Find.Have, m.Find.Want)
	case m.Links != nil && len(m.Links.Made)+len(m.Links.Failed) > MaxOutcomes:
		return fmt.Errorf("%d outcomes, the limit is %d", len(m.Links.Made)+len(m.Links.Failed), MaxOutcomes)
	case m.Update != nil && len(m.Update.Addrs) > MaxAddrs:
		return fmt.Errorf("%d addresses, the limit is %d", len(m.Update.Addrs), MaxAddrs)
	case m.Peers != nil && len(m.Peers.Peers) > MaxCandidates:
		return fmt.Errorf("%d peers, the limit is %d", len(m.Peers.Peers), MaxCandidates)
	case m.Peers != nil && m.Peers.Duty != nil && !m.Peers.Duty.valid():
		return fmt.Errorf("duty %+v", *m.Peers.Duty)
	case m.Report != nil && len(m.Report.Receipts) > MaxReceipts:
		return fmt.Errorf("%d receipts, the limit is %d", len(m.Report.Receipts), MaxReceipts)
	case m.Join != nil && len(m.Join.Grant) > MaxGrant, m.Report != nil && len(m.Report.Grant) > MaxGrant:
		return fmt.Errorf("grant over %d bytes", MaxGrant)
	}
	if m.Peers != nil {
		for _, p := range m.Peers.Peers {
			if len(p.Addrs) > MaxAddrs {
				return fmt.Errorf("%d addresses of peer %s, the limit is %d", len(p.Addrs), p.Key.Short(), MaxAddrs)
			}
		}
	}
	return nil
}
