// Package portmap asks the gateway of the local network to let peers in: to pass
// what comes to a port of its external address on to a port of this machine. It
// speaks PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP-IGD (WANIPConnection:1 and 2)
// over IPv4, renews mappings before they expire, makes them anew when the gateway
// has restarted or is another one, and removes them in the end.
//
// A gateway is believed only what it may know: answers count that come from its own
// address and belong to what was asked. Nothing else on the network is talked to.
package portmap
