// Package transport makes authenticated links between peers: TLS 1.3 over TCP
// and QUIC over one shared UDP socket. Both sides of a pair learn each other's
// addresses from control at the same moment and dial all of them at once; the
// handshakes are the connectivity checks and, sent from both sides, the hole
// punch. The side with the smaller key picks one connection, which becomes the
// link, by writing a selection byte on it.
//
// A peer is its Ed25519 key: each side shows a self-signed certificate, and the
// handshake proves that it holds the key.
package transport
