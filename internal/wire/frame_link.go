package wire

import "encoding/binary"

// Hello opens a link. Both sides send it once, as the first frame, on the one
// connection that the controlling side (the one with the smaller key) has
// chosen.
//
//	u16 version | u32 features | u8 n | n bytes agent
type Hello struct {
	Version  uint16
	Features uint32 // bit set, none defined in version 1
	Agent    string // software name and version, printable ASCII; see [MaxAgent]
}

// Type implements [Frame].
func (*Hello) Type() Type { return TypeHello }

// Append implements [Frame].
func (f *Hello) Append(b []byte) []byte {
	agent := clean(f.Agent, MaxAgent)
	b = appendHeader(b, TypeHello, 2+4+1+len(agent))
	b = binary.BigEndian.AppendUint16(b, f.Version)
	b = binary.BigEndian.AppendUint32(b, f.Features)
	return appendText(b, agent)
}

func parseHello(d *decoder) Frame {
	return &Hello{Version: d.u16(), Features: d.u32(), Agent: d.text(MaxAgent)}
}

// Ping asks for a Pong with the same nonce.
//
//	u64 nonce
type Ping struct{ Nonce uint64 }

// Type implements [Frame].
func (*Ping) Type() Type { return TypePing }

// Append implements [Frame].
func (f *Ping) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, TypePing, 8), f.Nonce)
}

func parsePing(d *decoder) Frame { return &Ping{Nonce: d.u64()} }

// Pong answers a Ping.
//
//	u64 nonce
type Pong struct{ Nonce uint64 }

// Type implements [Frame].
func (*Pong) Type() Type { return TypePong }

// Append implements [Frame].
func (f *Pong) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, TypePong, 8), f.Nonce)
}

func parsePong(d *decoder) Frame { return &Pong{Nonce: d.u64()} }

// Bye ends a link; nothing follows it.
//
//	u8 n | n bytes reason
type Bye struct{ Reason string }

// Type implements [Frame].
func (*Bye) Type() Type { return TypeBye }

// Append implements [Frame].
func (f *Bye) Append(b []byte) []byte {
	r := clean(f.Reason, MaxReason)
	return appendText(appendHeader(b, TypeBye, 1+len(r)), r)
}

func parseBye(d *decoder) Frame { return &Bye{Reason: d.text(MaxReason)} }
