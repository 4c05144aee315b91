// Package e2e holds the tests that run the program as users do: the built
// binary, as separate processes, on loopback or on hosts of the lab. Each test
// says what a person or a script would notice; what it costs is measured in
// bench.
package e2e
