package conformance_test

import (
	"testing"

	"github.com/fa5182d2/messaging/conformance"
)

// TestMemoryStream judges a channel that is only a stream, with another seed
// each time.
func TestMemoryStream(t *testing.T) {
	conformance.Stream(t, func() *conformance.Target {
		target := newMemory()
		target.URL = func(channel string) string { return "mem://" + channel + "?kind=stream" }
		return target
	}, nil)
}
