package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// A partition that moves is let go in order: what is in hand can be settled,
// and the new owner goes on behind it.
func TestHandOver(t *testing.T) {
	tt := newTopic(t, 2)
	for i := range 40 {
		tt.publish(numbered(i, 1, fmt.Sprint("k", i))...)
	}
	first := tt.stream("group=g&inflight=5")
	held := tt.receive(first, 10)
	second := tt.stream("group=g")
	var ending *messaging.Delivery
	select {
	case <-held[0].Lease.Ending():
		ending = held[0]
	case <-last(held, held[0].Partition).Lease.Ending():
		ending = last(held, held[0].Partition)
	case <-tt.ctx.Done():
		t.Fatal("no partition moves")
	}
	select {
	case <-ending.Lease.Lost():
		t.Fatal("lost while something is in hand")
	default:
	}
	var mine []*messaging.Delivery
	for _, d := range held {
		if d.Lease == ending.Lease {
			mine = append(mine, d)
		}
	}
	if err := first.Release(tt.ctx, mine[3:]...); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(tt.ctx, mine[2]); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ending.Lease.Lost():
	case <-tt.ctx.Done():
		t.Fatal("not lost when all is settled")
	}
	d := tt.receive(second, 1)[0]
	if d.Partition != ending.Partition || d.Offset != mine[3].Offset {
		t.Errorf("the new owner begins at %s/%s, want %s/%s", d.Partition, d.Offset, ending.Partition, mine[3].Offset)
	}
	if d.Lease.Epoch <= ending.Lease.Epoch {
		t.Errorf("epoch %s after %s", d.Lease.Epoch, ending.Lease.Epoch)
	}
	if err := first.Commit(tt.ctx, mine[4]); !errors.Is(err, messaging.ErrLost) {
		t.Errorf("commit of what has moved: %v", err)
	}
	for _, d := range held {
		if d.Lease != ending.Lease {
			if err := first.Commit(tt.ctx, d); err != nil {
				t.Errorf("what stays: %v", err)
			}
		}
	}
}

// last returns the last of another partition, or of any.
func last(ds []*messaging.Delivery, partition string) *messaging.Delivery {
	for _, d := range ds {
		if d.Partition != partition {
			return d
		}
	}
	return ds[len(ds)-1]
}

func TestHandoverHasABound(t *testing.T) {
	tt := newTopic(t, 2)
	for i := range 20 {
		tt.publish(numbered(i, 1, fmt.Sprint("k", i))...)
	}
	first := tt.stream("group=g&handover=1s&inflight=1")
	held := tt.receive(first, 2) // one of each partition
	tt.stream("group=g")
	var d *messaging.Delivery
	select {
	case <-held[0].Lease.Ending():
		d = held[0]
	case <-held[1].Lease.Ending():
		d = held[1]
	case <-tt.ctx.Done():
		t.Fatal("no partition moves")
	}
	start := time.Now()
	select {
	case <-d.Lease.Lost():
	case <-tt.ctx.Done():
		t.Fatal("never lost")
	}
	if took := time.Since(start); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("lost after %v", took)
	}
	if err := first.Commit(tt.ctx, d); !errors.Is(err, messaging.ErrLost) {
		t.Errorf("commit: %v", err)
	}
}

// Who dies is noticed at the end of its session, who leaves at once.
func TestTakeOver(t *testing.T) {
	tt := newTopic(t, 4)
	tt.publish(numbered(0, 10, "a")...)
	for how, bound := range map[string]time.Duration{"close": time.Second, "crash": 3 * time.Second} {
		group := "group=" + how + "&session=2s"
		first := tt.stream(group)
		d := tt.receive(first, 1)[0]
		if err := first.Commit(tt.ctx, d); err != nil {
			t.Fatal(err)
		}
		second := tt.stream(group)
		for { // until the group is settled: two partitions each
			if n := len(partitionsOf(second)); n == 2 {
				break
			}
			tick(tt.ctx, t)
		}
		start := time.Now()
		end := first.Close
		if how == "crash" {
			end = func() error { return crash(first) }
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		for len(partitionsOf(second)) < 4 {
			tick(tt.ctx, t)
		}
		if took := time.Since(start); took > bound {
			t.Errorf("%s: the other has all after %v", how, took)
		}
		if got := string(tt.receive(second, 1)[0].Body); got != "1" {
			t.Errorf("%s: goes on at %s", how, got)
		}
		second.Close()
	}
}

// tick lets others work between two looks at something, and fails the test when
// its time is over.
func tick(ctx context.Context, t *testing.T) {
	t.Helper()
	pause(ctx, t, 5*time.Millisecond)
}

func pause(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatal("it does not come to that")
	case <-time.After(d):
	}
}

func partitionsOf(s *stream) (ps []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.assigned {
		if !a.ending {
			ps = append(ps, a.partition)
		}
	}
	slices.Sort(ps)
	return ps
}

// A zombie's commit is refused by the broker, not only by itself.
func TestZombieIsFenced(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 10, "a")...)
	f := &faulty{Backend: Backend{Logger: logTo(t)}}
	s := must(f.OpenStream(tt.ctx, tt.url("group=g&session=1s")))
	defer s.Close()
	zombie := s.(*stream)
	ds := tt.receive(zombie, 5)
	thaw := must(f.freeze(zombie))
	heir := tt.stream("group=g&session=1s")
	again := tt.receive(heir, 10)
	if err := heir.Commit(tt.ctx, again[7]); err != nil {
		t.Fatal(err)
	}
	id, generation := zombie.m.id, zombie.m.generation
	thaw()
	if err := zombie.Commit(tt.ctx, ds[4]); !errors.Is(err, messaging.ErrLost) {
		t.Errorf("the zombie's commit: %v", err)
	}
	codes, err := heir.m.coord.commit(tt.ctx, id, generation, map[int32]int64{0: 5})
	if err != nil || codes[0] == 0 {
		t.Errorf("the broker takes the zombie's commit: %v, %v", codes, err)
	}
	cursors, err := heir.m.coord.cursors(tt.ctx)
	if err != nil || cursors[0] != 8 {
		t.Errorf("cursor %v, %v, want 8", cursors, err)
	}
}

func TestPartitionsAreAdded(t *testing.T) {
	tt := newTopic(t, 1)
	group, alone := tt.stream("group=g&start=latest"), tt.stream("start=latest")
	if err := addPartitions(tt.ctx, tt.address(), tt.name, 3); err != nil {
		t.Fatal(err)
	}
	// Before anybody has noticed: they are read from their beginning.
	for i := range 40 {
		tt.publish(numbered(i, 1, fmt.Sprint("k", i))...)
	}
	for _, s := range []*stream{group, alone} {
		seen := map[string]bool{}
		for _, d := range tt.receive(s, 40) {
			seen[d.Partition] = true
		}
		if len(seen) != 4 {
			t.Errorf("partitions %v", seen)
		}
	}
}

func TestRetention(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 20, "")...)
	s := tt.stream("group=g")
	if err := s.Commit(tt.ctx, tt.receive(s, 5)[4]); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := trim(tt.ctx, tt.address(), tt.name, 0, 10); err != nil {
		t.Fatal(err)
	}
	s = tt.stream("group=g")
	if _, err := s.Receive(tt.ctx, 1); !errors.Is(err, messaging.ErrTrimmed) {
		t.Errorf("behind retention: %v", err)
	} else {
		wantError(t, err, messaging.ErrTrimmed, "begins at 10", "5 was to be next", "trimmed=skip")
	}
	s.Close()
	s = tt.stream("group=g&trimmed=skip")
	if got := bodies(tt.receive(s, 10)); got[0] != "10" {
		t.Errorf("with trimmed=skip: %v", got)
	}
	if _, err := tt.b.OpenStream(tt.ctx, tt.url("start=21&partition=0")); err == nil {
		t.Error("a start beyond the end is accepted")
	}
}
