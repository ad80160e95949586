//go:build race

package conformance

const RaceEnabled = true
