// Package gateway is the agent's door for programs that know nothing of Tandem:
// players, download managers and package managers get the URLs of publishers from a
// loopback address, https://HOST/PATH as http://127.0.0.1:PORT/https/HOST/PATH, so
// that relative references within what they get stay here.
//
// What the server shares comes through the engine, from peers as well, verified, and
// stays for sharing within a quota; all else is passed on as it comes. It is no open
// proxy: a [Policy] lets only publishers pass, and is asked again for every address
// that is connected to. Anything on loopback is reachable from any web page, so
// requests of pages are refused unless the user has paired the page's origin
// ([Pairings]).
package gateway
