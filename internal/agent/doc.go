// Package agent is the engine that the agent, `tandem get` and the SDK share: it
// composes fetch, swarm, store, session and transport into downloads and seeds.
package agent
