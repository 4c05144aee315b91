// Package sim runs crowds of simulated clients on a simulated network under the
// schedulers (packages fetch and stream), the upload allocation (package upload)
// and the peer selection (package directory) that the real programs run.
//
// It is a flow-level simulation over a virtual clock: bytes flow at the rates
// that access links allow, shared max-min fairly; packets, and what happens
// inside the network, are not modelled. Hosts, objects, edges and what the users
// do are values in a [Config]; [Run] is a pure function of it: the same Config
// gives the same [Result].
//
// # Model
//
// Time goes in quanta ([Config.Tick]). What users do, and what takes a while, is
// in a calendar and happens between them. In a quantum everybody first decides:
// clients take in what their neighbours have got, as soon as the announcement can
// have arrived, and their plans are asked. Then the requests reach the uploaders,
// whose allocators give turns; the flows share the links; what flows in the
// quantum is delivered. A turn that ends within a quantum leaves its rest to the
// next one, so that no capacity is lost on average.
//
// A round trip is charged to the request: its answer begins a round trip after it
// was sent and then arrives without delay, which is the same to the receiver. A
// new connection to an edge takes two more, and every connection starts slowly,
// doubling its window each round trip. A download begins with the round trips of
// the real client: first response, manifest, grant, login, join, links. Whether
// the networks of two hosts let them link falls by the chance that the directory
// reckons with, always alike for the same two, or follows from their NATs alone
// ([Config.CertainLinks]).
//
// # Scale
//
// Hosts are in shards, and the phases of a quantum run over all shards at once. A
// phase writes to its own shard and to outboxes that are read in order, so the
// number of goroutines does not change the result. Idle seeds cost nothing, and
// times in which nothing flows are skipped.
package sim
