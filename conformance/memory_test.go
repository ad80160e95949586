package conformance_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newMemory is the honest target.
func newMemory() *conformance.Target {
	b := &memory.Backend{}
	return &conformance.Target{
		Name:    "memory",
		Backend: b,
		URL:     func(channel string) string { return "mem://" + channel },
		Ordered: func(channel string) string { return "mem://" + channel + "?order=key" },
		Virtual: true,
		Hooks:   conformance.Hooks{Crash: b.Crash, Freeze: b.Freeze, StepClock: b.StepClock},
	}
}

func TestMemoryQueue(t *testing.T) { conformance.Queue(t, newMemory, nil) }
