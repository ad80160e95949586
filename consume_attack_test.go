package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// TestConsumeAttack runs three Consumes at a time with options, handlers,
// faults and ends by chance, again and again, until all is handled or in the
// dead letters. The name of a round is its seed.
func TestConsumeAttack(t *testing.T) {
	for range 30 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newConsumeAttack(t, seed).run() })
		})
	}
}

type consumeAttack struct {
	*testing.T
	b                *memory.Backend
	backends         messaging.Backends
	url              string
	options          messaging.ConsumeOptions
	running, burying atomic.Int32

	mu                 sync.Mutex
	rng                *rand.Rand
	done, dead, starts map[string]int
}

const attackMessages = 300

func newConsumeAttack(t *testing.T, seed uint64) *consumeAttack {
	a := &consumeAttack{T: t, b: &memory.Backend{Seed: seed | 1}, rng: rand.New(rand.NewPCG(seed, 0)), done: map[string]int{}, dead: map[string]int{}, starts: map[string]int{}}
	a.backends = messaging.Backends{"mem": a.b}
	kind := []string{"queue", "queue&order=key", "stream&group=g"}[a.random(3)]
	if a.random(2) == 0 {
		a.b.Chaos = memory.Chaos{Reorder: 0.05, LostReply: 0.05, Expire: 0.02, Move: 0.02}
	}
	a.url = fmt.Sprintf("mem://q?kind=%s&lease=5s&handover=2s&inflight=%d", kind, 1+a.random(100))
	a.options = messaging.ConsumeOptions{Concurrency: 1 + a.random(64), Grace: time.Duration(1+a.random(5000)) * time.Millisecond}
	if strings.HasPrefix(kind, "stream") {
		a.options.Order = messaging.Order(a.random(4))
	}
	switch a.random(4) {
	case 0:
		a.options.Order, a.options.Semantics = 0, messaging.AtMostOnce
	case 1, 2:
		a.options.DeadLetter, a.options.MaxAttempts = a, a.random(3)
	}
	return a
}

func (a *consumeAttack) random(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rng.IntN(n)
}

func (a *consumeAttack) count(in map[string]int, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	in[id]++
}

// open opens a subscriber.
func (a *consumeAttack) open() messaging.Subscriber {
	s, err := a.backends.OpenSubscriber(a.Context(), a.url)
	if err != nil {
		a.Fatal(err)
	}
	return s
}

func (a *consumeAttack) run() {
	a.open().Close()
	pub, err := a.backends.OpenPublisher(a.Context(), a.url)
	if err != nil {
		a.Fatal(err)
	}
	for i := range attackMessages {
		key := []string{"", "a", "b", "c", "d"}[a.random(5)]
		if err := pub.Publish(a.Context(), messaging.Message{ID: fmt.Sprint(i), Key: key}); err != nil {
			a.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	end := time.Now().Add(20 * time.Minute)
	for range 3 {
		wg.Go(func() {
			for a.left() > 0 && time.Now().Before(end) {
				a.consume()
			}
		})
	}
	wg.Wait()
	if n := a.left(); n > 0 && a.options.Semantics != messaging.AtMostOnce {
		a.Errorf("%s: %+v: %d are left", a.url, a.options, n)
	}
	for id, n := range a.starts {
		if n > 1 && a.options.Semantics == messaging.AtMostOnce {
			a.Errorf("%s: %s was started %d times", a.url, id, n)
		}
	}
	time.Sleep(time.Minute) // handlers that were abandoned
}

// left is how many messages nothing has become of.
func (a *consumeAttack) left() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range attackMessages {
		id := fmt.Sprint(i)
		if a.done[id]+a.dead[id] == 0 {
			n++
		}
	}
	return n
}

// consume runs one Consume for a while, whose subscriber may crash or freeze.
func (a *consumeAttack) consume() {
	s := a.open()
	span, what := time.Duration(a.random(20_000))*time.Millisecond, a.random(4)
	ctx, cancel := context.WithTimeout(a.Context(), span)
	defer cancel()
	time.AfterFunc(span/3, func() {
		switch what {
		case 0:
			_ = a.b.Crash(s)
		case 1:
			thaw, _ := a.b.Freeze(s)
			time.AfterFunc(span/2, thaw)
		}
	})
	o := a.options
	err := messaging.Consume(ctx, s, a.handle, &o)
	if err != nil && !errors.Is(err, messaging.ErrGrace) && !(what == 0 && errors.Is(err, messaging.ErrClosed)) {
		a.Errorf("Consume: %v", err)
	}
	if err := s.Close(); err != nil {
		a.Error(err)
	}
}

// handle is the handler: it takes a while, and may end in any way.
func (a *consumeAttack) handle(ctx context.Context, d *messaging.Delivery) error {
	if n := a.running.Add(1); int(n) > 3*a.options.Concurrency {
		a.Errorf("%d handlers of three Consumes with %d", n, a.options.Concurrency)
	}
	defer a.running.Add(-1)
	a.count(a.starts, d.ID)
	if err := a.pause(ctx); err != nil {
		return err
	}
	switch a.random(20) {
	case 0:
		panic("on purpose")
	case 1:
		runtime.Goexit()
	case 2:
		return messaging.Reject(errBroken)
	case 3:
		return errBroken
	}
	a.count(a.done, d.ID)
	return nil
}

func (a *consumeAttack) pause(ctx context.Context) error {
	select {
	case <-time.After(time.Duration(a.random(200)) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Publish takes dead letters, or fails.
func (a *consumeAttack) Publish(ctx context.Context, ms ...messaging.Message) error {
	if n := a.burying.Add(1); int(n) > 3*a.options.Concurrency {
		a.Errorf("%d dead letters at once, of three Consumes with %d", n, a.options.Concurrency)
	}
	defer a.burying.Add(-1)
	if err := a.pause(ctx); err != nil {
		return err
	}
	if a.random(4) == 0 {
		return errBroken
	}
	a.count(a.dead, ms[0].ID)
	return nil
}

func (a *consumeAttack) Close() error { return nil }
