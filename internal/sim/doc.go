// Package sim runs crowds of simulated clients on a simulated network under the
// scheduler (package fetch), the upload allocation (package upload) and the
// peer selection (package directory) that the real programs run.
//
// It is a flow-level simulation over a virtual clock: bytes flow at the rates
// that access links allow, shared max-min fairly; packets, and what happens
// inside the network, are not modelled. Hosts, objects, edges and what the users
// do are values in a [Config]; [Run] is a pure function of it: the same Config
// gives the same [Result].
package sim
