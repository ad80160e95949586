package conformance_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/memory"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/fa5182d2/messaging/conformance_test.hang"))
}

// newMemory is the honest target, with every fault that memory has a hook for.
func newMemory() *conformance.Target {
	b := &memory.Backend{}
	return &conformance.Target{
		Name:    "memory",
		Backend: b,
		URL:     func(channel string) string { return "mem://" + channel },
		Ordered: func(channel string) string { return "mem://" + channel + "?order=key" },
		Dedup:   func(channel string) string { return "mem://" + channel + "?dedup=5m" },
		Virtual: true,
		Hold:    time.Hour,
		Hooks: conformance.Hooks{
			Crash:     b.Crash,
			Freeze:    b.Freeze,
			StepClock: b.StepClock,
			Pause:     func(context.Context) (func(), error) { return b.Pause(), nil },
			Delete:    func(_ context.Context, channel string) error { return b.Delete(channel) },
			Trim: func(_ context.Context, channel, partition string, before messaging.Offset) error {
				return b.Trim(channel, partition, before)
			},
			AddPartitions: func(_ context.Context, channel string, n int) error { return b.AddPartitions(channel, n) },
			Split:         func(_ context.Context, channel, partition string) error { return b.Split(channel, partition) },
			Faults: map[string]func(context.Context) (func() int, error){
				"F3": func(context.Context) (func() int, error) {
					b.SetChaos(memory.Chaos{LostReply: 0.1})
					return func() int { return b.SetChaos(memory.Chaos{}) }, nil
				},
			},
		},
	}
}

func TestMemoryQueue(t *testing.T) { conformance.Queue(t, newMemory, nil) }
