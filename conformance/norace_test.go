//go:build !race

package conformance

const RaceEnabled = false
