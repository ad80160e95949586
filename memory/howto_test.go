package memory_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// These are tests as users of this package write them; the README shows them.

// A service that dies with a message in hand: the next one gets it when the
// lease is over. In the bubble those 30 s pass at once.
func TestHowToCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		backend := new(memory.Backend)
		backends := messaging.Backends{"mem": backend}
		pub := must(backends.OpenPublisher(ctx, "mem://orders"))
		defer pub.Close()
		check(pub.Publish(ctx, messaging.Message{Body: []byte("two coffees")}))

		dying := must(backends.OpenQueue(ctx, "mem://orders?lease=30s"))
		must(dying.Receive(ctx, 1))
		check(backend.Crash(dying))

		start := time.Now()
		next := must(backends.OpenQueue(ctx, "mem://orders"))
		defer next.Close()
		ds := must(next.Receive(ctx, 1))
		if waited := time.Since(start); waited != 30*time.Second || ds[0].Attempt != 2 {
			t.Errorf("waited %v, attempt %d", waited, ds[0].Attempt)
		}
		check(next.Ack(ctx, ds...))
	})
}

// A service under everything that a broker may do to it, by a seed.
func TestHowToChaos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &memory.Backend{Seed: 17, Chaos: memory.Chaos{Duplicate: 0.1, Reorder: 0.1, LostReply: 0.1, Expire: 0.1}}
		backends := messaging.Backends{"mem": backend}
		pub := must(backends.OpenPublisher(t.Context(), "mem://orders"))
		defer pub.Close()
		for i := range 1000 {
			check(pub.Publish(t.Context(), messaging.Message{ID: fmt.Sprint("order-", i)}))
		}

		billed := map[string]bool{} // in a real service a table with a unique id
		queue := must(backends.OpenQueue(t.Context(), "mem://orders"))
		defer queue.Close()
		ctx, stop := context.WithCancel(t.Context())
		check(messaging.Consume(ctx, queue, func(ctx context.Context, d *messaging.Delivery) error {
			billed[d.ID] = true
			if len(billed) == 1000 {
				stop()
			}
			return nil
		}, nil))
		if hits := backend.SetChaos(memory.Chaos{}); hits < 100 {
			t.Errorf("%d faults: the test is not what it seems", hits)
		}
	})
}
