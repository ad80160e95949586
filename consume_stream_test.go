package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// pace is a handler that takes a second, or as long as its map says, fails as
// often as fails says, and logs.
type pace struct {
	log
	takes map[string]time.Duration
	fails map[string]int

	failed  map[string]int
	running map[string]int // by partition
	most    map[string]int
	mu      sync.Mutex
}

func (p *pace) handle(ctx context.Context, d *messaging.Delivery) error {
	p.add("%s", d.ID)
	p.mu.Lock()
	if p.running == nil {
		p.running, p.most, p.failed = map[string]int{}, map[string]int{}, map[string]int{}
	}
	p.running[d.Partition]++
	p.most[d.Partition] = max(p.most[d.Partition], p.running[d.Partition])
	p.mu.Unlock()
	takes, ok := p.takes[d.ID]
	if !ok {
		takes = time.Second
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[d.Partition]--
	if p.failed[d.ID]++; p.failed[d.ID] <= p.fails[d.ID] {
		return errBroken
	}
	return ctx.Err()
}

// mostOf returns the most handlers of a partition that ran at once.
func (p *pace) mostOf(partition string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most[partition]
}

func TestConsumeOrderedRunsPartitionsSideBySideAndEachSerially(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		a, b := new(messaging.Lease), new(messaging.Lease)
		s.arrive(records(a, "a", 0, 3)...)
		s.arrive(records(b, "b", 0, 3)...)
		p := &pace{takes: map[string]time.Duration{"b/0": 1500 * time.Millisecond}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 8})
		time.Sleep(3700 * time.Millisecond)
		equal(t, "started", p.all(), []string{"a/0", "b/0", "a/1", "b/1", "a/2", "b/2"})
		if p.mostOf("a") != 1 || p.mostOf("b") != 1 {
			t.Errorf("%d of a and %d of b ran at once, want 1", p.mostOf("a"), p.mostOf("b"))
		}
		equal(t, "committed", s.done("commit"), []string{"a/0", "b/0", "a/1", "b/1", "a/2", "b/2"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeOrderedRetriesInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 2)...)
		s.arrive(records(nil, "b", 0, 1)...)
		p := &pace{fails: map[string]int{"a/0": 2}, takes: map[string]time.Duration{"a/0": 0, "a/1": 0, "b/0": 0}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{Backoff: func(attempt int, _ error) time.Duration { return time.Duration(attempt) * time.Minute }})
		time.Sleep(2 * time.Minute)
		equal(t, "started: a back-off holds no slot", p.all(), []string{"a/0", "b/0", "a/0"})
		equal(t, "committed", s.done("commit"), []string{"b/0"})
		time.Sleep(2 * time.Minute)
		equal(t, "started", p.all(), []string{"a/0", "b/0", "a/0", "a/0", "a/1"})
		synctest.Wait()
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
		if got := s.done("commit"); got[len(got)-1] != "a/1" {
			t.Errorf("committed %v, want a/1 in the end", got)
		}
	})
}

func TestConsumeByKeyCommitsOnlyTheUnbrokenPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 7, "x", "y", "")...) // x y - x y - x
		p := &pace{takes: map[string]time.Duration{"a/0": 10 * time.Second, "a/2": 4 * time.Second}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 9, Order: messaging.OrderedByKey})
		synctest.Wait()
		if got := len(p.all()); got != 4 {
			t.Errorf("started %v, want the first of x and y, and both without a key", p.all())
		}
		time.Sleep(9 * time.Second)
		equal(t, "committed while the first runs", s.done("commit"), nil)
		time.Sleep(3500 * time.Millisecond)
		if got := s.done("commit"); got[0] != "a/2" || got[len(got)-1] != "a/6" {
			t.Errorf("committed %v, want up to a/2 first and a/6 in the end", got)
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeUnorderedRunsAPartitionInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 8, "x")...)
		p := &pace{takes: map[string]time.Duration{"a/0": 3 * time.Second}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 4, Order: messaging.Unordered})
		time.Sleep(2500 * time.Millisecond)
		if got := p.mostOf("a"); got != 4 {
			t.Errorf("%d ran at once, want 4", got)
		}
		equal(t, "committed before the first is done", s.done("commit"), nil)
		time.Sleep(2 * time.Second)
		equal(t, "committed", s.done("commit")[len(s.done("commit"))-1:], []string{"a/7"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeStuckPartitionHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.answer = func(ctx context.Context, call settled) error {
			if call.ids[0][0] == 'c' { // whose commits hang
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		for _, partition := range []string{"a", "b", "c"} {
			s.arrive(records(new(messaging.Lease), partition, 0, 5)...)
		}
		p := &pace{takes: map[string]time.Duration{"a/0": 1000 * time.Hour}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 2})
		time.Sleep(time.Minute)
		equal(t, "committed", s.done("commit"), []string{"b/0", "b/1", "b/2", "b/3", "b/4"})
		if got := len(p.all()); got != 11 {
			t.Errorf("%d started, want one of a, five of b and of c: %v", got, p.all())
		}
		c.stop()
		if err := <-c.result; !errors.Is(err, messaging.ErrGrace) {
			t.Errorf("Consume: %v, want ErrGrace", err)
		}
	})
}

func TestConsumeHandsOverInOrder(t *testing.T) {
	for _, test := range []struct {
		order              messaging.Order
		started            []string // before the lease is Ending
		handled            []string
		committed          string
		released           []string
		startedAfterEnding []string
	}{
		{order: messaging.Ordered, committed: "a/0", released: []string{"a/1", "a/2", "a/3", "a/4", "a/5"}},
		// x y x x z z with two slots: x/0 and y/1 run, then z/4 starts as y/1
		// is quick; a/2 and a/3 lie below it.
		{order: messaging.OrderedByKey, committed: "a/4", released: []string{"a/5"}, startedAfterEnding: []string{"a/2", "a/3"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStream()
			l := new(messaging.Lease)
			ds := records(l, "a", 0, 6, "x", "y", "x", "x", "z", "z")
			s.arrive(ds...)
			p := &pace{takes: map[string]time.Duration{"a/0": 3 * time.Second, "a/1": 500 * time.Millisecond, "a/4": 2 * time.Second}}
			c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 2, Order: test.order})
			time.Sleep(time.Second)
			before := len(p.all())
			l.End()
			synctest.Wait()
			equal(t, "released at once", s.done("release"), test.released)
			time.Sleep(time.Minute)
			equal(t, "started after Ending", p.all()[before:], test.startedAfterEnding)
			commits := s.done("commit")
			equal(t, "committed in the end", commits[len(commits)-1:], []string{test.committed})
			l.Lose()
			synctest.Wait()

			// It comes back, and what was released is delivered again.
			again := new(messaging.Lease)
			s.arrive(records(again, "a", 6-len(test.released), len(test.released))...)
			time.Sleep(time.Minute)
			starts := map[string]int{}
			for _, id := range p.all() {
				if starts[id]++; starts[id] > 1 {
					t.Errorf("%s started twice", id)
				}
			}
			if len(starts) != 6 {
				t.Errorf("started %v, want all six", p.all())
			}
			if err := c.end(); err != nil {
				t.Errorf("Consume: %v", err)
			}
		})
	}
}

func TestConsumePartitionThatComesBackWaitsForItsFormerHandlers(t *testing.T) {
	for _, order := range []messaging.Order{messaging.Ordered, messaging.OrderedByKey, messaging.Unordered} {
		synctest.Test(t, func(t *testing.T) {
			s := newStream()
			first, second, third := new(messaging.Lease), new(messaging.Lease), new(messaging.Lease)
			s.arrive(records(first, "a", 0, 2)...)
			var events log
			h := func(ctx context.Context, d *messaging.Delivery) error {
				events.add("start %s", d.ID)
				<-ctx.Done() // it hears at once that it was lost, but takes its time
				time.Sleep(10 * time.Second)
				events.add("end %s: %v", d.ID, context.Cause(ctx))
				return nil
			}
			var heard log
			c := consume(t, s, h, &messaging.ConsumeOptions{Concurrency: 1, Order: order, OnError: heard.onError, Grace: time.Second, Backoff: func(int, error) time.Duration { return 0 }})
			synctest.Wait()
			first.Lose()
			s.arrive(records(second, "a", 0, 2)...)
			time.Sleep(5 * time.Second)
			second.Lose() // and moves once more meanwhile
			s.arrive(records(third, "a", 0, 1)...)
			time.Sleep(4 * time.Second)
			equal(t, "events", events.all(), []string{"start a/0"})
			time.Sleep(2 * time.Second)
			equal(t, "events", events.all(), []string{"start a/0", "end a/0: messaging: delivery lost", "start a/0"})
			equal(t, "settled", s.all(), nil)
			equal(t, "OnError", heard.all(), []string{"a/0: messaging: delivery lost"})
			third.Lose()
			if err := c.end(); !errors.Is(err, messaging.ErrGrace) { // its handler takes longer
				t.Errorf("Consume: %v", err)
			}
			time.Sleep(time.Minute)
		})
	}
}

func TestConsumeCommitThatIsLostLosesThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.answer = func(_ context.Context, call settled) error {
			if call.ids[0][0] == 'a' {
				return &messaging.BatchError{Errs: []error{fmt.Errorf("superseded: %w", messaging.ErrLost)}}
			}
			return nil
		}
		s.arrive(records(new(messaging.Lease), "a", 0, 3)...)
		s.arrive(records(new(messaging.Lease), "b", 0, 1)...)
		var heard log
		p := &pace{takes: map[string]time.Duration{"a/1": 100 * time.Millisecond}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{OnError: heard.onError})
		time.Sleep(time.Minute)
		equal(t, "OnError", heard.all(), []string{"a/0: superseded: messaging: delivery lost"})
		equal(t, "committed", s.done("commit"), []string{"b/0"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeUncertainCommitIsRepeatedAndMergedWithLaterOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		tries := 0
		s.answer = func(context.Context, settled) error {
			if tries++; tries <= 2 {
				return messaging.ErrUncertain
			}
			return nil
		}
		s.arrive(records(nil, "a", 0, 3)...)
		p := &pace{takes: map[string]time.Duration{"a/0": 0, "a/1": 0, "a/2": 0}}
		c := consume(t, s, p.handle, nil)
		time.Sleep(time.Minute)
		commits := s.done("commit")
		equal(t, "committed in the end", commits[len(commits)-1:], []string{"a/2"})
		if n := len(s.all()); n != 3 {
			t.Errorf("%d commits, want 3: %v", n, s.all())
		}
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}

func TestConsumeDrainsAStream(t *testing.T) {
	for _, test := range []struct {
		name      string
		order     messaging.Order
		fails     string
		started   int
		committed string
		released  []string
	}{
		{"ordered", messaging.Ordered, "", 1, "a/0", []string{"a/1", "a/2", "a/3", "a/4", "a/5"}},
		// a/0, a/1 (y) run; a/1 is quick, then a/4 (z); a/2 and a/3 wait for a/0.
		{"by key", messaging.OrderedByKey, "", 5, "a/4", []string{"a/5"}},
		{"by key, one below fails then", messaging.OrderedByKey, "a/2", 4, "a/1", []string{"a/5", "a/2", "a/3", "a/4"}},
		{"the one that is tried again lies below", messaging.OrderedByKey, "a/1", 5, "a/4", []string{"a/5"}},
		{"unordered", messaging.Unordered, "", 3, "a/2", []string{"a/3", "a/4", "a/5"}},
		{"ordered, the first fails then", messaging.Ordered, "a/0", 1, "", []string{"a/1", "a/2", "a/3", "a/4", "a/5", "a/0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStream()
				s.arrive(records(nil, "a", 0, 6, "x", "y", "x", "x", "z", "z")...)
				p := &pace{takes: map[string]time.Duration{"a/0": 3 * time.Second, "a/1": 500 * time.Millisecond, "a/4": 2 * time.Second}, fails: map[string]int{test.fails: 1}}
				c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 2, Order: test.order, Backoff: func(int, error) time.Duration { return time.Hour }})
				time.Sleep(time.Second)
				if err := c.end(); err != nil {
					t.Errorf("Consume: %v", err)
				}
				started := map[string]bool{}
				for _, id := range p.all() {
					started[id] = true
				}
				if len(started) != test.started {
					t.Errorf("started %v, want %d", p.all(), test.started)
				}
				commits := s.done("commit")
				if test.committed == "" {
					equal(t, "committed", commits, nil)
				} else {
					equal(t, "committed in the end", commits[len(commits)-1:], []string{test.committed})
				}
				equal(t, "released", s.done("release"), test.released)
			})
		})
	}
}

func TestConsumeHandlesEverythingBeforeEOFCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 3)...)
		s.end(io.EOF)
		p := &pace{fails: map[string]int{"a/1": 1}}
		c := consume(t, s, p.handle, nil)
		time.Sleep(1500 * time.Millisecond)
		s.arrive(records(nil, "b", 0, 1)...) // what came back meanwhile
		if err := <-c.result; err != nil {
			t.Errorf("Consume: %v", err)
		}
		equal(t, "started", p.all(), []string{"a/0", "a/1", "a/1", "a/2", "b/0"})
		equal(t, "committed", s.done("commit"), []string{"a/0", "a/1", "a/2", "b/0"})
	})
}

func TestConsumeTakesABrokenConnectionForAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 3)...)
		s.end(fmt.Errorf("read tcp: %w", io.EOF))
		c := consume(t, s, new(pace).handle, nil)
		if err := <-c.result; !errors.Is(err, io.EOF) {
			t.Errorf("Consume: %v, want Receive's error", err)
		}
	})
}

func TestConsumeCutsAStreamAtTheEndOfGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 6, "x", "y", "x", "x", "z", "z")...)
		p := &pace{takes: map[string]time.Duration{"a/0": time.Hour, "a/1": 500 * time.Millisecond, "a/4": 100 * time.Millisecond}}
		c := consume(t, s, p.handle, &messaging.ConsumeOptions{Concurrency: 2, Order: messaging.OrderedByKey, Grace: 5 * time.Second})
		time.Sleep(550 * time.Millisecond)
		before := time.Now()
		if err := c.end(); !errors.Is(err, messaging.ErrGrace) {
			t.Errorf("Consume: %v, want ErrGrace", err)
		}
		if took := time.Since(before); took != 5*time.Second {
			t.Errorf("took %v, want Grace", took)
		}
		equal(t, "committed", s.done("commit"), nil)
		equal(t, "released", s.done("release"), []string{"a/5", "a/0", "a/1", "a/2", "a/3", "a/4"})
	})
}

func TestConsumeRetryInPlaceSeesTheMessageAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		s.arrive(records(nil, "a", 0, 1, "k")...)
		var seen log
		c := consume(t, s, func(_ context.Context, d *messaging.Delivery) error {
			seen.add("%s %s", d.ID, d.Key)
			d.ID, d.Key, d.Body = "changed", "changed", nil
			if len(seen.all()) < 2 {
				return errBroken
			}
			return nil
		}, nil)
		time.Sleep(time.Minute)
		equal(t, "seen", seen.all(), []string{"a/0 k", "a/0 k"})
		if err := c.end(); err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
}
