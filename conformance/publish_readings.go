package conformance

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// readings are what one group of a channel is to get, and has settled, by the
// numbers of messages.
type readings struct {
	r    *run
	keep time.Duration // how long what was received is held before it is settled

	mu         sync.Mutex
	want, done map[int]int // copies
	missing    int
	visits     map[int]int
	changed    chan struct{} // holds one: something was delivered or settled
}

func (r *run) readings() *readings {
	return &readings{r: r, keep: time.Millisecond, want: map[int]int{}, done: map[int]int{}, visits: map[int]int{}, changed: make(chan struct{}, 1)}
}

// expect says that the group is to get one more copy of a message.
func (g *readings) expect(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.want[n]++; g.done[n] < g.want[n] {
		g.missing++
	}
}

func (g *readings) finish(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done[n]++; g.done[n] <= g.want[n] {
		g.missing--
	}
}

func (g *readings) tell() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// drain waits until the group has settled what it is to get, or nothing has
// come for longer than that may be, and then for what should not come.
func (g *readings) drain() {
	g.await(0)
	for g.moved(time.Second) {
	}
}

// await waits until no more than left copies are missing, or nothing has come
// for longer than that may be.
func (g *readings) await(left int) {
	for g.left() > left && g.moved(g.r.patience()) {
	}
}

func (g *readings) left() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.missing
}

// moved waits until something moves, for at most limit, and says whether it
// did.
func (g *readings) moved(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-g.changed:
		return true
	case <-t.C:
	case <-g.r.ctx.Done():
	}
	return false
}

// reader opens a subscriber of the run's flavour that reads for g, until the
// function that it returns is called, which closes it.
func (g *readings) reader(seed, again int, o open) (s messaging.Subscriber, stop func()) {
	s = g.r.subscriber(o)
	ctx, cancel := context.WithCancel(g.r.ctx)
	ended := make(chan struct{})
	g.r.wg.Go(func() {
		defer close(ended)
		g.read(ctx, s, g.r.random(seed), again)
	})
	return s, func() {
		cancel()
		g.r.join(ended)
		_ = s.Close()
	}
}

// read receives and settles until ctx ends. So many of a hundred deliveries
// fail, or are given back, and come again.
func (g *readings) read(ctx context.Context, s messaging.Subscriber, rng *rand.Rand, again int) {
	for {
		ds, err := s.Receive(ctx, []int{1, 2, 10, max(1, s.Capabilities().Window)}[rng.IntN(4)])
		if err != nil {
			return
		}
		numbers := g.look(s, ds)
		if g.keep > 0 {
			g.r.pause(g.keep) // so that others hold something meanwhile
		}
		if q, ok := s.(*queue); ok {
			g.settleQueue(q, rng, ds, numbers, again)
		} else {
			g.settleStream(s.(*stream), rng, ds, numbers, again)
		}
		g.tell()
	}
}

// look writes to each delivery as its consumer may, after another look at what
// writing to the ones before has done to it. It returns what messages they are.
func (g *readings) look(s messaging.Subscriber, ds []*messaging.Delivery) []int {
	numbers := make([]int, len(ds))
	for i, d := range ds {
		g.r.recorder.mu.Lock()
		n, diff := g.r.identify(d.Message)
		if diff != "" && n > 0 {
			g.r.addLocked(Event{Kind: Note, Session: sessionOf(s), Message: n, Delivery: g.r.deliveries[d], Diff: diff})
		}
		g.r.recorder.mu.Unlock()
		numbers[i] = n
		scribble(&d.Message)
	}
	g.tell()
	return numbers
}

// settleQueue acknowledges some of ds, and lets others come again.
func (g *readings) settleQueue(q *queue, rng *rand.Rand, ds []*messaging.Delivery, numbers []int, again int) {
	var acks, nacks, releases []*messaging.Delivery
	done := map[*messaging.Delivery]int{}
	g.mu.Lock()
	for i, d := range ds {
		n := numbers[i]
		g.visits[n]++
		switch fails := rng.IntN(100) < again && g.visits[n] < 5; {
		case !fails:
			acks = append(acks, d)
			done[d] = n
		case rng.IntN(2) == 0:
			nacks = append(nacks, d)
		default:
			releases = append(releases, d)
		}
	}
	g.mu.Unlock()
	ctx := g.r.ctx
	for _, d := range g.insist(acks, func(ds []*messaging.Delivery) error { return q.Ack(ctx, ds...) }) {
		g.finish(done[d])
	}
	g.insist(nacks, func(ds []*messaging.Delivery) error { return q.Nack(ctx, 0, ds...) })
	g.insist(releases, func(ds []*messaging.Delivery) error { return q.Release(ctx, ds...) })
}

// settleStream commits each partition, up to somewhere, and sets it back to
// what is left.
func (g *readings) settleStream(s *stream, rng *rand.Rand, ds []*messaging.Delivery, numbers []int, again int) {
	ctx := g.r.ctx
	var names []string
	places := map[string][]int{} // in ds, by partition
	for i, d := range ds {
		if places[d.Partition] == nil {
			names = append(names, d.Partition)
		}
		places[d.Partition] = append(places[d.Partition], i)
	}
	for _, name := range names {
		of := places[name]
		keep := len(of)
		if rng.IntN(100) < again {
			keep = g.fresh(rng, of, numbers)
		}
		if keep > 0 {
			last := ds[of[keep-1]]
			for range g.insist([]*messaging.Delivery{last}, func(ds []*messaging.Delivery) error { return s.Commit(ctx, ds...) }) {
				for _, i := range of[:keep] {
					g.finish(numbers[i])
				}
			}
		}
		if keep < len(of) {
			g.insist([]*messaging.Delivery{ds[of[keep]]}, func(ds []*messaging.Delivery) error { return s.Release(ctx, ds...) })
		}
	}
}

// fresh returns a place in of from which on messages are to come again: mostly
// the first that has not yet.
func (g *readings) fresh(rng *rand.Rand, of, numbers []int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := len(of)
	for k, i := range of {
		if g.visits[numbers[i]]++; g.visits[numbers[i]] == 1 && first == len(of) {
			first = k
		}
	}
	if rng.IntN(4) == 0 && first < len(of) {
		first += rng.IntN(len(of) - first)
	}
	return first
}

// insist settles ds, repeats what was uncertain, and returns what was settled.
func (g *readings) insist(ds []*messaging.Delivery, settle func([]*messaging.Delivery) error) (settled []*messaging.Delivery) {
	for tries := 0; len(ds) > 0 && tries < 50 && g.r.ctx.Err() == nil; tries++ {
		err := settle(ds)
		var unsure []*messaging.Delivery
		for i, d := range ds {
			switch phaseOf(messaging.ErrorAt(err, i)) {
			case OK:
				settled = append(settled, d)
			case Info:
				unsure = append(unsure, d)
			}
		}
		ds = unsure
	}
	return settled
}

// produce publishes n messages in calls of up to batch, and lets the groups
// expect what was taken.
func (r *run) produce(p *publisher, rng *rand.Rand, n, batch int, s shape, groups ...*readings) {
	for n > 0 && r.ctx.Err() == nil {
		size := min(n, 1+rng.IntN(batch))
		n -= size
		r.one(p, rng, size, s, groups...)
	}
}

// one is produce in one call.
func (r *run) one(p *publisher, rng *rand.Rand, n int, s shape, groups ...*readings) {
	numbers := r.messages(p, rng, n, s)
	ctx, cancel := r.bounded()
	defer cancel()
	r.expected(numbers, p.publish(ctx, numbers), groups...)
}

// messages makes n messages for p.
func (r *run) messages(p *publisher, rng *rand.Rand, n int, s shape) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = r.message(p, rng, s)
	}
	return numbers
}

// join waits for done, or until the run ends.
func (r *run) join(done <-chan struct{}) {
	select {
	case <-done:
	case <-r.ctx.Done():
	}
}

// bounded returns a context for one call under a fault.
func (r *run) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
}

// expected lets the groups expect what a Publish with the outcome err took.
func (r *run) expected(numbers []int, err error, groups ...*readings) {
	for i, n := range numbers {
		if messaging.ErrorAt(err, i) == nil {
			for _, g := range groups {
				g.expect(n)
			}
		}
	}
}
