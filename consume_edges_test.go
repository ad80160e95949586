package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestConsumeTwoAssignmentsInOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		former, next := new(messaging.Lease), new(messaging.Lease)
		former.Lose()
		s.arrive(append(records(former, "p", 0, 1), records(next, "p", 0, 1)...)...)
		var running, most atomic.Int32
		h := func(_ context.Context, d *messaging.Delivery) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(20 * time.Second)
			return nil
		}
		c := consume(t, s, h, &messaging.ConsumeOptions{Concurrency: 8})
		synctest.Wait()
		s.arrive(records(next, "p", 1, 1)...)
		time.Sleep(10 * time.Second)
		equal(t, "committed while the first runs", s.done("commit"), nil)
		time.Sleep(time.Minute)
		if most.Load() != 1 {
			t.Errorf("%d handlers of one partition at once", most.Load())
		}
		equal(t, "committed", s.done("commit"), []string{"p/0", "p/1"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeRetryAtTheEndSeesTheMessageAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "p", 0, 2)...)
		var seen log
		c := consume(t, s, func(_ context.Context, d *messaging.Delivery) error {
			seen.add("%s", d.ID)
			if d.Offset == "1" {
				time.Sleep(5 * time.Second)
				return nil
			}
			d.ID = "changed"
			return errBroken
		}, &messaging.ConsumeOptions{Concurrency: 2, Order: messaging.Unordered, Backoff: func(int, error) time.Duration { return time.Hour }})
		time.Sleep(time.Second)
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		equal(t, "seen", seen.all(), []string{"p/0", "p/1", "p/0"})
	})
}

func TestConsumeHandlerThatWritesIntoTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []messaging.Subscriber{newQueue(), newStream()} {
			d := &messaging.Delivery{Attempt: 1, Message: messaging.Message{ID: "1", Body: []byte("secret"), Headers: messaging.Headers{{"h", "1"}}}}
			want := []string{"secret [{h 1}]"}
			switch s := s.(type) {
			case fakeQueue:
				d.Attempt = 2
				s.arrive(d)
			case fakeStream:
				d.Partition, d.Offset = "p", "0"
				s.arrive(d)
				want = []string{want[0], want[0]}
			}
			dead := &letters{}
			var seen log
			c := consume(t, s, func(_ context.Context, d *messaging.Delivery) error {
				seen.add("%s %v", d.Body, d.Headers)
				d.Body[0], d.Headers[0].Value = 'X', "changed"
				return errBroken
			}, &messaging.ConsumeOptions{DeadLetter: dead, MaxAttempts: 2})
			time.Sleep(time.Minute)
			equal(t, "seen", seen.all(), want)
			if m := dead.last.Load(); m == nil || string(m.Body) != "secret" || m.Headers.Get("h") != "1" {
				t.Errorf("dead letter %+v, want the message as it was received", m)
			}
			if err := c.end(); err != nil {
				t.Errorf("Consume: %v", err)
			}
		}
	})
}

func TestConsumeStreamsReleaseWithoutAnAnswerIsErrGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.answer = func(ctx context.Context, call settled) error {
			if call.verb == "release" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		s.arrive(records(nil, "p", 0, 2)...)
		c := consume(t, s, func(context.Context, *messaging.Delivery) error { time.Sleep(time.Second); return nil }, nil)
		synctest.Wait()
		if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
			t.Errorf("Consume: %v, want ErrGrace: the next commit would pass over what was not released", err)
		}
	})
}

func TestConsumeWithAnyConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(3)...)
		c := consume(t, q, func(context.Context, *messaging.Delivery) error { return nil }, &messaging.ConsumeOptions{Concurrency: math.MaxInt})
		synctest.Wait()
		if n := len(q.done("ack")); n != 3 {
			t.Errorf("%d of 3 acknowledged", n)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeDeadLetterThatIsTooLargeGoesWithLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(message("1"))
		var sizes []int
		dead := publisherFunc(func(_ context.Context, ms ...messaging.Message) error {
			size := 0
			for _, h := range ms[0].Headers {
				size += len(h.Key) + len(h.Value)
			}
			if sizes = append(sizes, size); size > 100 {
				return messaging.ErrTooLarge
			}
			return nil
		})
		c := consume(t, q, func(context.Context, *messaging.Delivery) error {
			return messaging.Reject(fmt.Errorf("%s\n\n%s", strings.Repeat("long ", 1000), "and a stack"))
		}, &messaging.ConsumeOptions{DeadLetter: dead})
		time.Sleep(time.Minute)
		equal(t, "acknowledged", q.done("ack"), []string{"1"})
		if len(sizes) != 2 || sizes[0] > 1000 {
			t.Errorf("headers of %v bytes, want at most 1000 and then less", sizes)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeAtMostOnceGoesOnWhenItsSettledDeliveryIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		l := new(messaging.Lease)
		s.arrive(records(l, "p", 0, 1)...)
		var ended, heard log
		c := consume(t, s, func(ctx context.Context, d *messaging.Delivery) error {
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
			ended.add("%v", ctx.Err())
			return nil
		}, &messaging.ConsumeOptions{Semantics: messaging.AtMostOnce, OnError: heard.onError})
		synctest.Wait()
		l.Lose()
		time.Sleep(2 * time.Minute)
		equal(t, "ended", ended.all(), []string{"<nil>"})
		equal(t, "OnError", heard.all(), nil)
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeAtMostOnceByKeyOnAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		key := func(id, key string) *messaging.Delivery {
			d := message(id)
			d.Key = key
			return d
		}
		ending := key("ending", "a")
		q.arrive(key("1", "a"))
		var started log
		c := consume(t, q, func(_ context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			if d.ID == "1" {
				time.Sleep(time.Minute)
			}
			return nil
		}, &messaging.ConsumeOptions{Semantics: messaging.AtMostOnce, Concurrency: 2})
		synctest.Wait()
		q.arrive(ending)
		synctest.Wait()
		ending.Lease.End()
		q.arrive(key("2", "b"))
		synctest.Wait()
		equal(t, "started beside a handler of another key", started.all(), []string{"1", "2"})
		time.Sleep(2 * time.Minute)
		equal(t, "released", q.done("release"), []string{"ending"})
		q.arrive(key("3", "a"))
		synctest.Wait()
		equal(t, "started", started.all(), []string{"1", "2", "3"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeStartsNothingAfterAHandlerHasEndedItsContext(t *testing.T) {
	for _, s := range []messaging.Subscriber{newQueue(), newStream()} {
		f := inner(s)
		f.arrive(records(nil, "", 0, 6, "k")...)
		ctx, stop := context.WithCancel(t.Context())
		var started log
		err := messaging.Consume(ctx, s, func(_ context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			stop()
			return nil
		}, nil)
		if err != nil {
			t.Errorf("Consume: %v", err)
		}
		equal(t, "started", started.all(), []string{"/0"})
	}
}
