package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// fleet is several Consumes of one group on the memory broker. It counts what
// their handlers start and finish, and watches that none of one consumer and
// lane overlap.
type fleet struct {
	t        *testing.T
	backends messaging.Backends
	url      string
	options  messaging.ConsumeOptions
	takes    time.Duration // of a handler, at most
	fails    int           // one of so many handlers fails, and one panics; 0: none

	mu      sync.Mutex
	rng     *rand.Rand
	starts  map[string]int
	done    map[string]int
	running map[string]string // by consumer and lane
	wg      sync.WaitGroup
	members int
}

func newFleet(t *testing.T, seed uint64, b *memory.Backend, url string) *fleet {
	return &fleet{
		t: t, backends: messaging.Backends{"mem": b}, url: url, rng: rand.New(rand.NewPCG(seed, 1)),
		starts: map[string]int{}, done: map[string]int{}, running: map[string]string{}, takes: 300 * time.Millisecond,
	}
}

// random returns a number below n.
func (f *fleet) random(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(n)
}

// join opens a subscriber and has it consume until ctx ends.
func (f *fleet) join(ctx context.Context) {
	s, err := f.backends.OpenSubscriber(f.t.Context(), f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	f.members++
	member := strconv.Itoa(f.members)
	f.wg.Go(func() {
		defer s.Close()
		err := messaging.Consume(ctx, s, func(ctx context.Context, d *messaging.Delivery) error { return f.handle(ctx, member, d) }, &f.options)
		if err != nil && !errors.Is(err, messaging.ErrGrace) {
			f.t.Errorf("Consume: %v", err)
		}
	})
}

func (f *fleet) handle(ctx context.Context, member string, d *messaging.Delivery) error {
	lane := ""
	switch {
	case d.Partition != "" && f.options.Order == messaging.Ordered:
		lane = member + " partition " + d.Partition
	case f.options.Order == messaging.OrderedByKey:
		lane = member + " partition " + d.Partition + " key " + d.Key
	}
	f.enter(lane, d)
	defer f.leave(lane)
	select {
	case <-time.After(time.Duration(f.random(int(f.takes)))):
	case <-ctx.Done():
		return ctx.Err()
	}
	if f.fails > 0 {
		switch f.random(f.fails) {
		case 0:
			return errBroken
		case 1:
			panic("oh")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done[d.ID]++
	return nil
}

func (f *fleet) enter(lane string, d *messaging.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts[d.ID]++
	if other, ok := f.running[lane]; ok && lane != "" {
		f.t.Errorf("%s starts while %s runs: consumer %s", d.ID, other, lane)
	}
	f.running[lane] = d.ID
}

func (f *fleet) leave(lane string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, lane)
}

// publish publishes n messages with a few keys, with pauses, and has members
// come and go meanwhile.
func (f *fleet) publish(ctx context.Context, n int) {
	pub, err := f.backends.OpenPublisher(ctx, f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	defer pub.Close()
	for i := range n {
		if err := pub.Publish(ctx, messaging.Message{ID: strconv.Itoa(i), Key: strconv.Itoa(f.random(7))}); err != nil {
			f.t.Fatal(err)
		}
		if f.random(10) == 0 {
			time.Sleep(time.Duration(f.random(500)) * time.Millisecond)
		}
		if f.random(40) == 0 {
			short, cancel := context.WithTimeout(ctx, time.Duration(f.random(20000))*time.Millisecond)
			f.t.Cleanup(cancel)
			f.join(short)
		}
	}
}

// handled waits until n messages are done, for at most an hour.
func (f *fleet) handled(n int) {
	deadline := time.Now().Add(time.Hour)
	for {
		f.mu.Lock()
		missing := n - len(f.done)
		f.mu.Unlock()
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			f.t.Errorf("%d messages were not handled within an hour", missing)
			return
		}
		time.Sleep(time.Second)
	}
}

// startedTwice fails the test for each message that was started more than
// once.
func (f *fleet) startedTwice() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, n := range f.starts {
		if n > 1 {
			f.t.Errorf("%s was started %d times", id, n)
		}
	}
}

// eachOrder calls test for both flavours and each order that they have, in a bubble
// each, for some seeds.
func eachOrder(t *testing.T, seeds uint64, test func(t *testing.T, seed uint64, kind string, order messaging.Order)) {
	for _, kind := range []string{"queue", "stream"} {
		for _, order := range []messaging.Order{messaging.Unordered, messaging.OrderedByKey, messaging.Ordered} {
			if kind == "queue" && order == messaging.Ordered {
				continue
			}
			t.Run(fmt.Sprint(kind, " ", order), func(t *testing.T) {
				for seed := range seeds {
					synctest.Test(t, func(t *testing.T) { test(t, seed+1, kind, order) })
				}
			})
		}
	}
}

// orderOf returns the order= of the broker, which only queues have.
func orderOf(kind string, order messaging.Order) messaging.Order {
	if kind == "queue" {
		return order
	}
	return 0
}

// TestConsumeLosesNothing has partitions move, replies get lost and leases
// expire under handlers that fail and panic.
func TestConsumeLosesNothing(t *testing.T) {
	eachOrder(t, 8, func(t *testing.T, seed uint64, kind string, order messaging.Order) {
		f := newFleet(t, seed, &memory.Backend{
			Seed: seed, Order: orderOf(kind, order), Lease: 20 * time.Second,
			Chaos: memory.Chaos{Duplicate: 0.02, Reorder: 0.05, LostReply: 0.05, Expire: 0.02, Move: 0.02},
		}, "mem://orders?group=g&kind="+kind)
		f.fails = 20
		f.options = messaging.ConsumeOptions{Concurrency: 1 + int(seed%4), Order: order, Grace: 5 * time.Second, Backoff: func(int, error) time.Duration { return 200 * time.Millisecond }}
		ctx, stop := context.WithCancel(t.Context())
		for range 3 {
			f.join(ctx)
		}
		f.publish(ctx, 300)
		f.handled(300)
		stop()
		f.wg.Wait()
	})
}

// TestConsumeAtMostOnceStartsNothingTwice does the same at most once.
func TestConsumeAtMostOnceStartsNothingTwice(t *testing.T) {
	eachOrder(t, 8, func(t *testing.T, seed uint64, kind string, order messaging.Order) {
		if kind == "stream" && order != messaging.Ordered {
			return
		}
		f := newFleet(t, seed, &memory.Backend{
			Seed: seed, Order: orderOf(kind, order), Lease: 20 * time.Second,
			Chaos: memory.Chaos{Reorder: 0.05, LostReply: 0.05, Expire: 0.02, Move: 0.02},
		}, "mem://orders?group=g&kind="+kind)
		f.fails = 20
		f.options = messaging.ConsumeOptions{Concurrency: 1 + int(seed%4), Order: order, Grace: 5 * time.Second, Semantics: messaging.AtMostOnce}
		ctx, stop := context.WithCancel(t.Context())
		for range 3 {
			f.join(ctx)
		}
		f.publish(ctx, 300)
		time.Sleep(10 * time.Minute)
		stop()
		f.wg.Wait()
		f.startedTwice()
		if n := len(f.starts); n < 200 {
			t.Errorf("%d of 300 were started", n)
		}
	})
}

// TestConsumeHandOverStartsNothingTwice has members come and go in order,
// with handlers that are shorter than the hand-over's bound.
func TestConsumeHandOverStartsNothingTwice(t *testing.T) {
	eachOrder(t, 8, func(t *testing.T, seed uint64, kind string, order messaging.Order) {
		f := newFleet(t, seed, &memory.Backend{Seed: seed, Order: orderOf(kind, order)}, "mem://orders?group=g&kind="+kind)
		f.options = messaging.ConsumeOptions{Concurrency: 1 + int(seed%4), Order: order}
		ctx, stop := context.WithCancel(t.Context())
		for range 3 {
			f.join(ctx)
		}
		f.publish(ctx, 300)
		f.handled(300)
		stop()
		f.wg.Wait()
		f.startedTwice()
	})
}
