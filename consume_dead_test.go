package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// letters is a publisher that keeps what it takes, and fails as often as it
// is told.
type letters struct {
	log
	fails atomic.Int32
	last  atomic.Pointer[messaging.Message]
}

func (l *letters) Publish(ctx context.Context, ms ...messaging.Message) error {
	if l.fails.Add(-1) >= 0 {
		return errBroken
	}
	for _, m := range ms {
		l.add("%s", m.ID)
		l.last.Store(&m)
	}
	return nil
}
func (l *letters) Close() error { return nil }

func never(int, error) time.Duration { return 0 }

func TestConsumeDeadLettersFromAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		third := message("third")
		third.Attempt, third.Key, third.Subject, third.Body = 3, "key", "a.b", []byte("body")
		third.Headers = messaging.Headers{{"h", "1"}, {"h", "2"}, {"messaging-reason", "earlier"}}
		second := message("second")
		second.Attempt = 2
		crashed := message("crashed")
		crashed.Attempt = 4
		q.arrive(third, second, message("rejected"), crashed, message("fine"))
		dead := &letters{}
		var started log
		h := func(_ context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			switch d.ID {
			case "third", "second":
				d.Message = messaging.Message{ID: d.ID}
				return errBroken
			case "rejected":
				return fmt.Errorf("wrapped: %w", messaging.Reject(errBroken))
			}
			return nil
		}
		c := consume(t, q, h, &messaging.ConsumeOptions{MaxAttempts: 3, DeadLetter: dead, Backoff: never})
		synctest.Wait()
		ids := dead.all()
		slices.Sort(ids)
		equal(t, "dead letters", ids, []string{"crashed", "rejected", "third"})
		equal(t, "started: what was not handled in three attempts does not start a fourth", started.all(), []string{"third", "second", "rejected", "fine"})
		equal(t, "nacked", q.done("nack"), []string{"second"})
		if n := len(q.done("ack")); n != 4 {
			t.Errorf("acknowledged %v, want the dead and the fine", q.done("ack"))
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeDeadLetterKeepsTheMessageAndSaysWhatBecameOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []messaging.Subscriber{newQueue(), newStream()} {
			d := &messaging.Delivery{Message: messaging.Message{ID: "1", Key: "k", Subject: "a.b", Body: []byte("body"), Headers: messaging.Headers{{"h", "1"}, {"messaging-reason", "earlier"}, {"h", "2"}}}}
			origin := "messaging_test.fakeQueue"
			switch s := s.(type) {
			case fakeQueue:
				d.Attempt = 1
				s.arrive(d)
			case fakeStream:
				d.Partition, d.Offset, origin = "p", "7", "messaging_test.fakeStream partition p offset 7"
				s.arrive(d)
			}
			dead := &letters{}
			c := consume(t, s, func(_ context.Context, d *messaging.Delivery) error {
				d.Headers.Set("h", "changed")
				d.Message.Key = "changed"
				return messaging.Reject(errBroken)
			}, &messaging.ConsumeOptions{DeadLetter: dead})
			time.Sleep(time.Second)
			m := dead.last.Load()
			if m == nil || m.ID != "1" || m.Key != "k" || m.Subject != "a.b" || string(m.Body) != "body" {
				t.Fatalf("dead letter %+v, want the message as it was", m)
			}
			want := messaging.Headers{{"h", "1"}, {"messaging-reason", "broken"}, {"h", "2"}, {"messaging-attempts", "1"}, {"messaging-origin", origin}, {"messaging-time", m.Headers.Get("messaging-time")}}
			equal(t, "headers", m.Headers, want)
			if at, err := time.Parse(time.RFC3339Nano, m.Headers.Get("messaging-time")); err != nil || time.Since(at) > time.Minute {
				t.Errorf("messaging-time: %v, %v", at, err)
			}
			if err := c.end(); err != nil {
				t.Errorf("Consume: %v", err)
			}
		}
	})
}

func TestConsumeRepeatsOnlyThePublishWhileTheDeadLettersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(3)...)
		dead := &letters{}
		dead.fails.Store(50)
		var started, heard log
		h := func(_ context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			if d.ID == "1" {
				return messaging.Reject(errBroken)
			}
			return nil
		}
		c := consume(t, q, h, &messaging.ConsumeOptions{DeadLetter: dead, OnError: heard.onError})
		time.Sleep(10 * time.Second)
		equal(t, "acknowledged: the others do not wait", q.done("ack"), []string{"2", "3"})
		time.Sleep(2 * time.Hour)
		equal(t, "started", started.all(), []string{"1", "2", "3"})
		equal(t, "dead letters", dead.all(), []string{"1"})
		equal(t, "acknowledged", q.done("ack"), []string{"2", "3", "1"})
		if n := len(heard.all()); n != 51 {
			t.Errorf("OnError heard %d times, want 51", n)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeWhatWaitsForTheDeadLettersHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(100)...)
		dead := &letters{}
		dead.fails.Store(1 << 30)
		h := func(_ context.Context, d *messaging.Delivery) error {
			if len(d.ID) < 3 {
				return messaging.Reject(errBroken)
			}
			return nil
		}
		c := consume(t, q, h, &messaging.ConsumeOptions{Concurrency: 2, DeadLetter: dead})
		time.Sleep(time.Minute)
		equal(t, "acknowledged behind 99 that wait", q.done("ack"), []string{"100"})
		if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
			t.Errorf("Consume: %v, want ErrGrace", err)
		}
	})
}

func TestConsumeGivesBackWhatCouldNotBeDeadLetteredInGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []messaging.Subscriber{newQueue(), newStream()} {
			var f *fake
			switch s := s.(type) {
			case fakeQueue:
				f = s.fake
				f.arrive(message("a/0"))
			case fakeStream:
				f = s.fake
				f.arrive(records(nil, "a", 0, 1)...)
			}
			dead := &letters{}
			dead.fails.Store(1 << 30)
			c := consume(t, s, func(context.Context, *messaging.Delivery) error { return messaging.Reject(errBroken) }, &messaging.ConsumeOptions{DeadLetter: dead})
			time.Sleep(time.Minute)
			if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
				t.Errorf("Consume: %v, want ErrGrace", err)
			}
			equal(t, "released", f.done("release"), []string{"a/0"})
			equal(t, "settled otherwise", append(f.done("ack"), f.done("commit")...), nil)
		}
	})
}

func TestConsumePoisonOnAStreamGoesToTheDeadLettersAfterMaxAttempts(t *testing.T) {
	for _, order := range []messaging.Order{messaging.Ordered, messaging.OrderedByKey, messaging.Unordered} {
		synctest.Test(t, func(t *testing.T) {
			s := newStream()
			s.arrive(records(nil, "a", 0, 4, "x", "y")...)
			p := &pace{fails: map[string]int{"a/1": 1000}}
			dead := &letters{}
			c := consume(t, s, p.handle, &messaging.ConsumeOptions{Order: order, MaxAttempts: 3, DeadLetter: dead})
			time.Sleep(time.Minute)
			starts := map[string]int{}
			for _, id := range p.all() {
				starts[id]++
			}
			if starts["a/1"] != 3 || starts["a/3"] != 1 {
				t.Errorf("%v: starts %v, want 3 of a/1 and one of the others", order, starts)
			}
			equal(t, "dead letters", dead.all(), []string{"a/1"})
			if got := s.done("commit"); got[len(got)-1] != "a/3" {
				t.Errorf("%v: committed %v, want a/3 in the end", order, got)
			}
			if err := c.end(); err != nil {
				t.Errorf("Consume: %v", err)
			}
		})
	}
}

func TestConsumeCountsAttemptsWhereTheBrokerDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.caps.Attempts, q.caps.ExactAttempts = false, false
		dead := &letters{}
		var started log
		var c *consuming
		h := func(_ context.Context, d *messaging.Delivery) error {
			started.add("%s", d.ID)
			return errBroken
		}
		q.answer = func(_ context.Context, s settled) error {
			if s.verb == "nack" {
				again := message(s.ids[0])
				again.Attempt, again.Redelivered = 0, true
				q.arrive(again)
			}
			return nil
		}
		d := message("1")
		d.Attempt = 0
		q.arrive(d)
		c = consume(t, q, h, &messaging.ConsumeOptions{MaxAttempts: 4, DeadLetter: dead})
		synctest.Wait()
		equal(t, "started", started.all(), []string{"1", "1", "1", "1"})
		equal(t, "dead letters", dead.all(), []string{"1"})
		if got := dead.last.Load().Headers.Get("messaging-attempts"); got != "4" {
			t.Errorf("messaging-attempts is %s, want 4", got)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeAtMostOnceSettlesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var events log
		tries := 0
		q.answer = func(_ context.Context, s settled) error {
			events.add("%v", s)
			switch s.ids[0] {
			case "lost":
				return messaging.ErrLost
			case "uncertain":
				if tries++; tries < 3 {
					return messaging.ErrUncertain
				}
			}
			return nil
		}
		again := message("again")
		again.Redelivered = true
		q.arrive(message("1"), again, message("lost"), message("uncertain"), message("fails"))
		var heard log
		h := func(_ context.Context, d *messaging.Delivery) error {
			events.add("start %s", d.ID)
			if d.ID == "fails" {
				return errBroken
			}
			return nil
		}
		c := consume(t, q, h, &messaging.ConsumeOptions{Semantics: messaging.AtMostOnce, OnError: heard.onError})
		time.Sleep(time.Minute)
		equal(t, "events", events.all(), []string{
			"ack[1]", "start 1", "ack[again]", "ack[lost]",
			"ack[uncertain]", "ack[uncertain]", "ack[uncertain]", "start uncertain", "ack[fails]", "start fails",
		})
		equal(t, "OnError", heard.all(), []string{"lost: messaging: delivery lost", "uncertain: messaging: outcome uncertain", "uncertain: messaging: outcome uncertain", "fails: broken"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeAtMostOnceOnAStreamCommitsEachBeforeItStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		var events log
		s.answer = func(_ context.Context, call settled) error {
			events.add("%v", call)
			if call.ids[0] == "b/0" {
				return messaging.ErrLost
			}
			return nil
		}
		s.arrive(records(new(messaging.Lease), "a", 0, 2)...)
		s.arrive(records(new(messaging.Lease), "b", 0, 2)...)
		h := func(_ context.Context, d *messaging.Delivery) error { events.add("start %s", d.ID); return errBroken }
		c := consume(t, s, h, &messaging.ConsumeOptions{Semantics: messaging.AtMostOnce})
		time.Sleep(time.Minute)
		equal(t, "events", events.all(), []string{"commit[a/0]", "start a/0", "commit[b/0]", "commit[a/1]", "start a/1"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeAtMostOnceDoesNotStartAfterAnUncertainSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []messaging.Subscriber{newQueue(), newStream()} {
			var f *fake
			switch s := s.(type) {
			case fakeQueue:
				f = s.fake
				f.arrive(message("a/0"))
			case fakeStream:
				f = s.fake
				f.arrive(records(nil, "a", 0, 1)...)
			}
			f.answer = func(_ context.Context, s settled) error {
				if s.verb == "release" {
					return nil
				}
				return messaging.ErrUncertain
			}
			var started log
			c := consume(t, s, func(_ context.Context, d *messaging.Delivery) error { started.add("%s", d.ID); return nil }, &messaging.ConsumeOptions{Semantics: messaging.AtMostOnce})
			time.Sleep(time.Hour)
			if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
				t.Errorf("Consume: %v, want ErrGrace", err)
			}
			equal(t, "started", started.all(), nil)
		}
	})
}

// stuckLetters is a publisher that takes nothing until it is told.
type stuckLetters struct {
	letters
	now, most atomic.Int32
	free      chan struct{}
}

func (l *stuckLetters) Publish(ctx context.Context, ms ...messaging.Message) error {
	n := l.now.Add(1)
	defer l.now.Add(-1)
	for most := l.most.Load(); n > most && !l.most.CompareAndSwap(most, n); most = l.most.Load() {
	}
	select {
	case <-l.free:
		return l.letters.Publish(ctx, ms...)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestConsumePublishesNoMoreDeadLettersAtOnceThanConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.arrive(messages(50)...)
		dead := &stuckLetters{free: make(chan struct{})}
		h := func(context.Context, *messaging.Delivery) error { return messaging.Reject(errBroken) }
		c := consume(t, q, h, &messaging.ConsumeOptions{Concurrency: 3, DeadLetter: dead})
		synctest.Wait()
		if n := dead.now.Load(); n != 3 {
			t.Errorf("%d publishes are under way, want 3", n)
		}
		close(dead.free)
		synctest.Wait()
		if n, most := len(dead.all()), dead.most.Load(); n != 50 || most != 3 {
			t.Errorf("%d dead letters, at most %d at once; want 50 and 3", n, most)
		}
		if n := len(q.done("ack")); n != 50 {
			t.Errorf("acknowledged %d", n)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

// What waits for its turn at the dead letters is forgotten when its partition
// is lost, and does not hold up the partition's next assignment.
func TestConsumeForgetsWhatWaitsForTheDeadLettersWhenItIsLost(t *testing.T) {
	for _, cut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStream()
			lease, again := new(messaging.Lease), new(messaging.Lease)
			s.arrive(records(new(messaging.Lease), "stuck", 0, 1)...)
			dead := &stuckLetters{free: make(chan struct{})}
			var started, told log
			h := func(_ context.Context, d *messaging.Delivery) error {
				started.add("%s", d.ID)
				if d.Lease == again {
					return nil
				}
				return messaging.Reject(errBroken)
			}
			c := consume(t, s, h, &messaging.ConsumeOptions{DeadLetter: dead, OnError: told.onError})
			synctest.Wait()
			s.arrive(records(lease, "p", 0, 1)...)
			synctest.Wait()
			lease.Lose()
			s.arrive(records(again, "p", 0, 2)...)
			synctest.Wait()
			equal(t, "started", started.all(), []string{"stuck/0", "p/0", "p/0", "p/1"})
			equal(t, "told", told.all(), []string{"stuck/0: broken", "p/0: broken", "p/0: " + messaging.ErrLost.Error()})
			if cut {
				if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
					t.Errorf("Consume: %v", err)
				}
				return
			}
			close(dead.free)
			synctest.Wait()
			equal(t, "dead letters", dead.all(), []string{"stuck/0"})
			if err := c.end(); err != nil {
				t.Errorf("Consume: %v", err)
			}
		})
	}
}
