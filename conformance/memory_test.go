package conformance_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/memory"
)

// aside is in the environment of a process that runs one test, which leaves
// goroutines behind.
const aside = "CONFORMANCE_ASIDE"

func TestMain(m *testing.M) {
	if os.Getenv(aside) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// leaveBehind runs f, a test that lets targets hang, in a process of its own:
// a goroutine that hangs in a bubble can never end.
func leaveBehind(t *testing.T, f func()) {
	if os.Getenv(aside) != "" {
		f()
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), aside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
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
		Native:  nativeMemory(b),
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

// nativeMemory is memory without what a mutant puts around it: as memory has
// no other client, it stands for one. It sets ids, since memory's publisher
// would set those that are missing.
func nativeMemory(b *memory.Backend) *conformance.Native {
	return &conformance.Native{
		Write: func(ctx context.Context, channel string, m messaging.Message) (messaging.Message, error) {
			p, err := b.OpenPublisher(ctx, &url.URL{Scheme: "mem", Host: channel})
			if err != nil {
				return m, err
			}
			if m.ID == "" {
				m.ID = messaging.NewID()
			}
			return m, errors.Join(p.Publish(ctx, m), p.Close())
		},
		Read: func(ctx context.Context, channel string, n int) (ms []messaging.Message, err error) {
			s, err := b.OpenStream(ctx, &url.URL{Scheme: "mem", Host: channel})
			if err != nil {
				return nil, err
			}
			defer s.Close()
			for d, err := range messaging.Deliveries(ctx, s, 1) {
				if err != nil {
					return nil, err
				}
				if ms = append(ms, d.Message); len(ms) == n {
					break
				}
			}
			return ms, nil
		},
	}
}
