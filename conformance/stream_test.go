package conformance_test

import (
	"fmt"
	"testing"

	"github.com/fa5182d2/messaging/conformance"
)

var streamRules = []string{"S01", "S02", "S03", "S04", "S05", "S07", "S08", "S09", "S10", "S11", "S12", "S13", "S16", "S17", "S18"}

// newMemoryStream is the honest target as a stream.
func newMemoryStream() *conformance.Target {
	t := newMemory()
	t.URL = func(channel string) string { return "mem://" + channel + "?kind=stream" }
	return t
}

func TestStreamHonest(t *testing.T) {
	for _, seed := range []uint64{1, 2, 0} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			conformance.Stream(t, newMemoryStream, &conformance.Options{Seed: seed, Rules: streamRules})
		})
	}
}
