package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestConsumeAcknowledgesWhatSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(10)...)
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return nil }, &messaging.ConsumeOptions{Concurrency: 3})
		synctest.Wait()
		ids := q.done("ack")
		slices.Sort(ids)
		equal(t, "acknowledged", ids, []string{"1", "10", "2", "3", "4", "5", "6", "7", "8", "9"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		if q.inHand != 0 {
			t.Errorf("%d in hand afterwards", q.inHand)
		}
	})
}

func TestConsumeAsksForFreeSlotsAndAsManyAhead(t *testing.T) {
	for _, test := range []struct {
		semantics messaging.Semantics
		want      int
	}{{messaging.AtLeastOnce, 6}, {messaging.AtMostOnce, 3}} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			q.arrive(messages(20)...)
			var running, most atomic.Int32
			h := func(context.Context, *messaging.Delivery) error {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				time.Sleep(time.Second)
				return nil
			}
			c := consume(t, q, h, &messaging.ConsumeOptions{Concurrency: 3, Semantics: test.semantics})
			time.Sleep(3500 * time.Millisecond)
			if err := c.end(); err != nil {
				t.Errorf("Consume: %v", err)
			}
			if q.mostAsked != test.want || most.Load() != 3 {
				t.Errorf("semantics %v: asked for at most %d, want %d; %d handlers ran, want 3", test.semantics, q.mostAsked, test.want, most.Load())
			}
			if most := q.mostHeld; test.semantics == messaging.AtLeastOnce && (most < 6 || most > 9) {
				t.Errorf("held at most %d, want 6, three running and three ahead, and up to three whose Ack is under way", most)
			}
		})
	}
}

func TestConsumeNacksWhatFailedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		d := message("1")
		d.Attempt = 3
		q.arrive(d)
		var heard log
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return errBroken }, &messaging.ConsumeOptions{
			Backoff: func(attempt int, err error) time.Duration {
				if attempt != 3 || !errors.Is(err, errBroken) {
					t.Errorf("Backoff(%d, %v), want attempt 3 and the handler's error", attempt, err)
				}
				return 99 * time.Second
			},
			OnError: heard.onError,
		})
		synctest.Wait()
		if s := q.all(); len(s) != 1 || s[0].verb != "nack" || s[0].delay < 99*time.Second || s[0].delay > 99*time.Second*9/8 {
			t.Errorf("settled %+v, want one nack of 99 s and at most an eighth more", s)
		}
		equal(t, "OnError", heard.all(), []string{"1: broken"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeTurnsPanicAndGoexitIntoErrorsWithTheStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(4)...)
		var heard log
		h := func(_ context.Context, d *messaging.Delivery) error {
			switch d.ID {
			case "1":
				panic(errBroken)
			case "2":
				panic("oh")
			case "3":
				runtime.Goexit()
			}
			return nil
		}
		c := consume(t, q, h, &messaging.ConsumeOptions{OnError: func(d *messaging.Delivery, err error) {
			heard.add("%s is broken: %v, has stack: %v", d.ID, errors.Is(err, errBroken), strings.Contains(err.Error(), "consume_queue_test.go"))
		}})
		synctest.Wait()
		equal(t, "OnError", heard.all(), []string{"1 is broken: true, has stack: true", "2 is broken: false, has stack: true", "3 is broken: false, has stack: true"})
		equal(t, "acknowledged", q.done("ack"), []string{"4"})
		if n := len(q.done("nack")); n != 3 {
			t.Errorf("%d nacked, want 3", n)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeSettlesOneCallAtATimeWithAllThatBecameReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var calls, atOnce atomic.Int32
		q.answer = func(context.Context, settled) error {
			if calls.Add(1) > 1 {
				atOnce.Add(1)
			}
			defer calls.Add(-1)
			time.Sleep(time.Second)
			return nil
		}
		q.arrive(messages(100)...)
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return nil }, &messaging.ConsumeOptions{Concurrency: 4})
		time.Sleep(1500 * time.Millisecond)
		if s := q.all(); len(s) != 1 {
			t.Errorf("%d calls ended within 1.5 s, want 1", len(s))
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		if s := q.all(); len(s) != 2 || atOnce.Load() > 0 {
			t.Errorf("settled by %d calls, %d of them beside another: want 2, one after the other: %v", len(s), atOnce.Load(), s)
		}
		if n := len(q.done("ack")); n != 100 {
			t.Errorf("%d acknowledged, want 100: a settle that hangs must not hold up handlers", n)
		}
	})
}

func TestConsumeRepeatsASettleThatWasUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		tries := 0
		q.answer = func(_ context.Context, s settled) error {
			if tries++; tries <= 3 {
				errs := make([]error, len(s.ids))
				errs[0] = fmt.Errorf("%w: no answer", messaging.ErrUncertain)
				return &messaging.BatchError{Errs: errs}
			}
			return nil
		}
		q.arrive(messages(1)...)
		var heard log
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return nil }, &messaging.ConsumeOptions{OnError: heard.onError})
		time.Sleep(time.Second)
		equal(t, "acknowledged", q.done("ack"), []string{"1"})
		if s := q.all(); len(s) != 4 || s[3].at.Sub(s[0].at) != 350*time.Millisecond {
			t.Errorf("settled by %d calls, want 4 within 350 ms: %+v", len(s), s)
		}
		if n := len(heard.all()); n != 3 {
			t.Errorf("OnError heard %d, want 3", n)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeDoesNotRepeatASettleThatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.answer = func(context.Context, settled) error { return messaging.ErrLost }
		q.arrive(messages(1)...)
		var heard log
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return nil }, &messaging.ConsumeOptions{OnError: heard.onError})
		time.Sleep(time.Minute)
		if s := q.all(); len(s) != 1 {
			t.Errorf("settled %d times, want once", len(s))
		}
		equal(t, "OnError", heard.all(), []string{"1: messaging: delivery lost"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeEndsTheContextOfALostDeliveryOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ds := messages(2)
		q.arrive(ds...)
		var ended log
		h := func(ctx context.Context, d *messaging.Delivery) error {
			select {
			case <-ctx.Done():
				ended.add("%s: %v", d.ID, context.Cause(ctx))
			case <-time.After(time.Minute):
			}
			return nil
		}
		var heard log
		c := consume(t, q, h, &messaging.ConsumeOptions{Concurrency: 2, OnError: heard.onError})
		synctest.Wait()
		ds[0].Lease.Lose()
		time.Sleep(2 * time.Minute)
		equal(t, "ended", ended.all(), []string{"1: messaging: delivery lost"})
		equal(t, "acknowledged", q.done("ack"), []string{"2"})
		equal(t, "OnError", heard.all(), []string{"1: messaging: delivery lost"})

		q.arrive(message("3"), message("4"))
		time.Sleep(2 * time.Minute)
		equal(t, "acknowledged with the same slots", slices.Sorted(slices.Values(q.done("ack"))), []string{"2", "3", "4"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeDoesNotStartWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ds := messages(2)
		q.arrive(ds...)
		var started log
		c := consume(t, q, func(_ context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			time.Sleep(time.Second)
			return nil
		}, nil)
		synctest.Wait()
		ds[1].Lease.Lose()
		time.Sleep(time.Minute)
		equal(t, "started", started.all(), []string{"1"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(8)...)
		var started log
		c := consume(t, q, func(ctx context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			time.Sleep(10 * time.Second)
			return ctx.Err()
		}, &messaging.ConsumeOptions{Concurrency: 2})
		synctest.Wait()
		before := time.Now()
		c.stop()
		synctest.Wait()
		equal(t, "released at once", q.done("release"), []string{"3", "4"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		if took := time.Since(before); took != 10*time.Second {
			t.Errorf("draining took %v, want the 10 s of the handlers", took)
		}
		equal(t, "started", started.all(), []string{"1", "2"})
		equal(t, "acknowledged", slices.Sorted(slices.Values(q.done("ack"))), []string{"1", "2"})
		if left := len(q.arriving); left != 4 {
			t.Errorf("%d left in the queue, want 4", left)
		}
	})
}

func TestConsumeCutsHandlersAtTheEndOfGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(3)...)
		h := func(ctx context.Context, d *messaging.Delivery) error {
			switch d.ID {
			case "1": // obeys
				<-ctx.Done()
				if cause := context.Cause(ctx); cause != messaging.ErrGrace {
					t.Errorf("the handler's context ended with cause %v, want ErrGrace", cause)
				}
				return ctx.Err()
			case "2": // obeys, and had just done its work
				<-ctx.Done()
				return nil
			}
			time.Sleep(time.Hour) // does not obey
			return nil
		}
		c := consume(t, q, h, &messaging.ConsumeOptions{Concurrency: 3, Grace: 5 * time.Second})
		synctest.Wait()
		before := time.Now()
		err := c.end()
		if took := time.Since(before); took != 6*time.Second {
			t.Errorf("took %v, want Grace and a second", took)
		}
		if !errors.Is(err, messaging.ErrGrace) {
			t.Errorf("Consume: %v, want ErrGrace", err)
		}
		equal(t, "released: not a failed attempt", q.done("release"), []string{"1"})
		equal(t, "acknowledged", q.done("ack"), []string{"2"})
		equal(t, "nacked", q.done("nack"), nil)
		time.Sleep(2 * time.Hour)
		if n := len(q.all()); n != 2 {
			t.Errorf("%d settles, want that of the abandoned handler's delivery missing: %v", n, q.all())
		}
	})
}

func TestConsumeAbandonsASettleWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.answer = func(ctx context.Context, s settled) error {
			<-ctx.Done()
			return fmt.Errorf("%w: %w", messaging.ErrUncertain, ctx.Err())
		}
		q.arrive(messages(1)...)
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return nil }, nil)
		synctest.Wait()
		before := time.Now()
		if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
			t.Errorf("Consume: %v, want ErrGrace", err)
		}
		if took := time.Since(before); took != 31*time.Second {
			t.Errorf("took %v, want Grace and a second", took)
		}
	})
}

func TestConsumeReleaseThatFailsIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.answer = func(ctx context.Context, s settled) error {
			if s.verb == "release" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		q.arrive(messages(2)...)
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { time.Sleep(time.Second); return nil }, nil)
		synctest.Wait()
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v, want nil: what was started is settled", err)
		}
		equal(t, "acknowledged", q.done("ack"), []string{"1"})
	})
}

func TestConsumeReturnsTheFinalErrorOfReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(1)...)
		q.end(fmt.Errorf("gone: %w", messaging.ErrNotFound))
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { time.Sleep(time.Second); return nil }, nil)
		if err := <-c.result; !errors.Is(err, messaging.ErrNotFound) {
			t.Errorf("Consume: %v, want ErrNotFound", err)
		}
		equal(t, "acknowledged before it returned", q.done("ack"), []string{"1"})
	})
}

func TestConsumeRefusesOptionsThatDoNotFit(t *testing.T) {
	h := func(context.Context, *messaging.Delivery) error { return nil }
	dead := publisherFunc(func(context.Context, ...messaging.Message) error { return nil })
	unordered := newQueue()
	unordered.caps.Order = messaging.Unordered
	byKey := newStream()
	byKey.caps.Order = messaging.OrderedByKey
	for name, test := range map[string]struct {
		s    messaging.Subscriber
		h    messaging.Handler
		o    messaging.ConsumeOptions
		want string
	}{
		"subscriber":     {nil, h, messaging.ConsumeOptions{}, "the subscriber is nil"},
		"handler":        {newQueue(), nil, messaging.ConsumeOptions{}, "the handler is nil"},
		"neither":        {newFake(), h, messaging.ConsumeOptions{}, "neither"},
		"concurrency":    {newQueue(), h, messaging.ConsumeOptions{Concurrency: -1}, "Concurrency is -1"},
		"attempts":       {newQueue(), h, messaging.ConsumeOptions{MaxAttempts: -1}, "MaxAttempts is -1"},
		"no dead letter": {newQueue(), h, messaging.ConsumeOptions{MaxAttempts: 3}, "MaxAttempts needs a DeadLetter"},
		"grace":          {newQueue(), h, messaging.ConsumeOptions{Grace: -1}, "Grace is -1ns"},
		"order":          {newQueue(), h, messaging.ConsumeOptions{Order: 4}, "Order is 4"},
		"too strict":     {unordered, h, messaging.ConsumeOptions{Order: messaging.OrderedByKey}, "promises Unordered, not OrderedByKey"},
		"semantics":      {newQueue(), h, messaging.ConsumeOptions{Semantics: 2}, "Semantics is 2"},
		"once, attempts": {newQueue(), h, messaging.ConsumeOptions{Semantics: messaging.AtMostOnce, MaxAttempts: 1}, "takes neither MaxAttempts nor DeadLetter"},
		"once, dead":     {newQueue(), h, messaging.ConsumeOptions{Semantics: messaging.AtMostOnce, DeadLetter: dead}, "takes neither MaxAttempts nor DeadLetter"},
		"once, by key":   {newStream(), h, messaging.ConsumeOptions{Semantics: messaging.AtMostOnce, Order: messaging.OrderedByKey}, "takes only Ordered"},
		"once, promised": {byKey, h, messaging.ConsumeOptions{Semantics: messaging.AtMostOnce}, "takes only Ordered"},
	} {
		t.Run(name, func(t *testing.T) {
			err := messaging.Consume(t.Context(), test.s, test.h, &test.o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Consume: %v, want %q in it", err, test.want)
			}
			if unsupported := errors.Is(err, errors.ErrUnsupported); unsupported != (name == "too strict") {
				t.Errorf("Consume: %v: is ErrUnsupported: %v", err, unsupported)
			}
		})
	}
}

func TestConsumeWithAContextThatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(1)...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := messaging.Consume(ctx, q, func(context.Context, *messaging.Delivery) error { return nil }, nil); err != nil {
			t.Errorf("Consume: %v", err)
		}
		if q.mostAsked > 0 {
			t.Error("it received")
		}
	})
}

type publisherFunc func(context.Context, ...messaging.Message) error

func (f publisherFunc) Publish(ctx context.Context, ms ...messaging.Message) error {
	return f(ctx, ms...)
}
func (publisherFunc) Close() error { return nil }
