// Package scenario turns descriptions of worlds, in YAML, into configurations of
// the simulator.
//
// [Parse] refuses what it does not know or what cannot be, by line and column
// and with the nearest name. [File.Runs] expands variants, sweeps and repeats;
// [Scenario.Config] draws the world of one run, a pure function of the scenario
// and its seed. docs/SIMULATOR.md describes every field.
package scenario
