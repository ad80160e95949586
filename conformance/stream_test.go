package conformance_test

import (
	"testing"

	"github.com/fa5182d2/messaging/conformance"
)

// TestStreamOnly judges a channel that is only a stream, with another seed
// each time.
func TestStreamOnly(t *testing.T) {
	conformance.Stream(t, func() *conformance.Target {
		target := newMemory()
		target.URL = func(channel string) string { return "mem://" + channel + "?kind=stream" }
		return target
	}, &conformance.Options{Rules: []string{
		"S01", "S02", "S03", "S04", "S05", "S07", "S08", "S09", "S10", "S11", "S12", "S13", "S16", "S17", "S18",
	}})
}
