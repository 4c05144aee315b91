// Package agentapi is how commands on the same machine talk to the running
// agent: a small HTTP API on a loopback address, with its server and its client.
//
// The agent writes where it listens, with a fresh token, into agent.json in its
// data directory, which only its user can read. Web pages must not get at the
// API, whatever they trick the user's browser into: every request needs the
// token, names a loopback host (a rebound DNS name does not), and carries no
// Origin.
//
//	GET  /v1/status     → Status
//	POST /v1/downloads  Request → Events, one JSON object a line, until the
//	                    download ends; hanging up before that stops it
//
//	POST   /v1/pairings           → PairingCode, for a web page
//	GET    /v1/pairings           → the pages that are paired
//	DELETE /v1/pairings?origin=…  ends a pairing
//
// What was downloaded stays shared until the agent ends, and again when it
// starts: the list is seeds.json in the data directory.
package agentapi
