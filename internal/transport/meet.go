package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// errMet ends a handshake as TLS client: the peer has begun one as well, and this side
// is to answer it.
var errMet = errors.New("the peer has dialled at the same time")

// The beginning of a ClientHello (RFC 8446, sections 5.1 and 4): a record's header, which
// ends with the length of what follows, and the type of a handshake message.
const (
	recordHeader    = 5
	recordHandshake = 22
	clientHello     = 1
)

// meeting is a TCP connection, below TLS, that both sides may have dialled: two SYNs that
// cross make one connection (RFC 9293 §3.5), whose sides then both speak first. Or the
// peer may have accepted it; nothing but its first message tells. Where that is a
// ClientHello the controlling side overlooks it and stays the client, and the other side
// gets errMet once and reads the ClientHello after that, as a server.
type meeting struct {
	net.Conn
	controls bool

	known bool   // whether the peer has dialled, too
	first []byte // what was read to know it and not handed on
}

func (m *meeting) Read(b []byte) (int, error) {
	if !m.known {
		if err := m.find(); err != nil {
			return 0, err
		}
	}
	if len(m.first) > 0 {
		n := copy(b, m.first)
		m.first = m.first[n:]
		return n, nil
	}
	return m.Conn.Read(b)
}

// find reads as far as it takes to know the peer's part.
func (m *meeting) find() error {
	head := make([]byte, recordHeader+1)
	if _, err := io.ReadFull(m.Conn, head); err != nil {
		return err
	}
	m.known, m.first = true, head
	length := int64(binary.BigEndian.Uint16(head[recordHeader-2:]))
	switch {
	case head[0] != recordHandshake || head[recordHeader] != clientHello || length == 0:
		return nil
	case !m.controls:
		return errMet
	}
	m.first = nil
	_, err := io.CopyN(io.Discard, m.Conn, length-1)
	return err
}
