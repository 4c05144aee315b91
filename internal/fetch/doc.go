// Package fetch plans and drives the download of one object from its edge and
// from peers together.
//
// [Plan] is the scheduler: a pure state machine. Time is an argument, what is to
// be done comes back as values, and there is no I/O, lock or goroutine in it, so
// the client, the simulator and the property tests run the very same code.
// [Download] drives a Plan with real edges, peers and a store.
//
// # Policy
//
// In the order in which a free moment of a source is used:
//
//  1. Urgent: pieces just ahead of a reader come from the edge unless a peer is
//     sure to be earlier.
//  2. Peers: every peer's pipeline is kept as deep as its measured rate asks,
//     with the locally rarest piece it holds.
//  3. Seed duty: every stripe of pieces has an owner among the neighbours that
//     upload, elected by rendezvous hashing without a message. The owner fetches
//     it from the edge at once; nobody else does while the swarm keeps up. N
//     clients that start together thus draw about one copy from the edge.
//  4. Deficit: the edge fills what peers leave of the downlink. Where they could
//     fill it themselves and the edge holds them up it gives way, byte by byte (see
//     pacer); a client that would finish later than the edge alone would serve it
//     has it not held back at all: never slower than the edge.
//  5. Endgame: when everything missing is asked for, idle sources take over what
//     would arrive last.
package fetch
