package conformance

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// step is what a worker does with a delivery.
type step struct {
	kind  Kind          // Ack, Nack or Release; "" is nothing at all
	delay time.Duration // of Nack
	keep  time.Duration // how long it is held before
}

// workers work on one group of a queue until every message that they expect
// was acknowledged. Each has a Receive under way all the time, and settles
// what it holds in batches and in any order.
type workers struct {
	r    *run
	plan func(n, visit int) step // of the visit-th delivery, from 1, of message n
	mess bool                    // settle what was settled, too

	mu     sync.Mutex
	visits map[int]int
	got    map[*queue]int // deliveries of those that receive
	acked  map[int]bool
	left   map[int]bool
	all    bool // nothing more will be expected
	done   chan struct{}
}

func (r *run) workers(plan func(n, visit int) step) *workers {
	return &workers{r: r, plan: plan, visits: map[int]int{}, got: map[*queue]int{}, acked: map[int]bool{}, left: map[int]bool{}, done: make(chan struct{})}
}

// expect says that messages are to be worked on, and whether they are the
// last.
func (w *workers) expect(last bool, numbers ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range numbers {
		if !w.acked[n] {
			w.left[n] = true
		}
	}
	w.all = last
	w.finishLocked()
}

func (w *workers) finishLocked() {
	if w.all && len(w.left) == 0 {
		select {
		case <-w.done:
		default:
			close(w.done)
		}
	}
}

// again makes workers that are done expect more.
func (w *workers) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all, w.done = false, make(chan struct{})
}

// await waits until everything was acknowledged, or nothing has happened for
// longer than any promise allows.
func (w *workers) await(lease time.Duration) {
	bound := 5*lease + 5*w.r.timing.Redelivery
	t := time.NewTimer(bound)
	defer t.Stop()
	for before := -1; ; {
		select {
		case <-w.done:
			return
		case <-w.r.ctx.Done():
			return
		case <-t.C:
		}
		w.mu.Lock()
		now := len(w.acked)
		w.mu.Unlock()
		if now == before {
			return
		}
		before = now
		t.Reset(bound)
	}
}

// next returns what is to be done with a delivery, and what message it is.
func (w *workers) next(d *messaging.Delivery) (step, int) {
	n := w.r.numberOf(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.visits[n]++
	return w.plan(n, w.visits[n]), n
}

// numberOf returns the number of the message that d is, or 0.
func (r *recorder) numberOf(d *messaging.Delivery) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := r.identify(d.Message)
	return n
}

// work has q work until ctx ends and what it held is settled.
func (w *workers) work(ctx context.Context, q *queue, rng *rand.Rand) (ended <-chan struct{}) {
	in, out := make(chan []*messaging.Delivery), make(chan struct{})
	window := q.Capabilities().Window
	seed := rng.Uint64()
	sizes := rand.New(rand.NewPCG(seed, 1))
	w.mu.Lock()
	w.got[q] = 0
	for other := range w.got {
		w.got[q] = max(w.got[q], w.got[other])
	}
	w.mu.Unlock()
	w.r.wg.Go(func() {
		defer close(in)
		defer w.leave(q)
		for {
			ds, err := q.Receive(ctx, []int{1, 2, 10, max(1, window)}[sizes.IntN(4)])
			if err != nil {
				return
			}
			in <- ds
			if w.ahead(q, len(ds)) {
				<-time.NewTimer(time.Millisecond).C
			}
		}
	})
	w.r.wg.Go(func() {
		defer close(out)
		k := &worker{workers: w, q: q, rng: rng, hand: map[step][]*messaging.Delivery{}, turn: make(chan struct{}, 1)}
		k.loop(in, seed)
	})
	return out
}

// ahead notes that q got n deliveries, and says whether it has got many more
// than another. Then it waits a moment: what two consumers do to each other
// shows only when both have their part.
func (w *workers) ahead(q *queue, n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got[q] += n
	for other := range w.got {
		if w.got[other]+8 < w.got[q] {
			return true
		}
	}
	return false
}

func (w *workers) leave(q *queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.got, q)
}

// worker is what settles the deliveries of one subscriber.
type worker struct {
	*workers
	q       *queue
	rng     *rand.Rand
	hand    map[step][]*messaging.Delivery
	held    int
	settled []*messaging.Delivery // some that were settled
	kept    crew
	turn    chan struct{} // holds one while somebody settles: the goroutines of kept do, too
}

// breath is how long a worker waits for more before it settles what it has.
const breath = 5 * time.Millisecond

func (k *worker) loop(in <-chan []*messaging.Delivery, seed uint64) {
	pace := rand.New(rand.NewPCG(seed, 2))
	enough := func() int {
		if window := k.q.Capabilities().Window; window > 1 && window < 40 {
			return window/2 + pace.IntN(window/2)
		}
		return 1 + pace.IntN(20)
	}
	limit := enough()
	t := time.NewTimer(breath)
	defer t.Stop()
	for open := true; open; {
		var ds []*messaging.Delivery
		idle := false
		select {
		case ds, open = <-in:
		case <-t.C:
			idle = true
		}
		for _, d := range ds {
			k.take(d)
		}
		if k.held >= limit || idle || !open {
			k.flush()
			limit = enough()
		}
		if t.Stop(); k.held > 0 {
			t.Reset(breath)
		}
	}
	k.kept.Wait()
}

// take puts a delivery where it belongs.
func (k *worker) take(d *messaging.Delivery) {
	s, _ := k.next(d)
	switch {
	case s.kind == "":
	case s.keep > 0:
		k.kept.Go(func() {
			t := time.NewTimer(s.keep)
			defer t.Stop()
			select {
			case <-t.C:
			case <-k.r.ctx.Done():
			}
			k.settle(step{kind: s.kind, delay: s.delay}, []*messaging.Delivery{d})
		})
	default:
		k.hand[s] = append(k.hand[s], d)
		k.held++
	}
}

// flush settles what is in hand, the kinds in an order that is the same for
// one seed.
func (k *worker) flush() {
	steps := make([]step, 0, len(k.hand))
	for s := range k.hand {
		steps = append(steps, s)
	}
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.delay, b.delay))
	})
	for _, s := range steps {
		k.settle(s, k.hand[s])
	}
	clear(k.hand)
	k.held = 0
}

// settle settles ds, in calls of any size.
func (k *worker) settle(s step, ds []*messaging.Delivery) {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	k.rng.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
	for len(ds) > 0 {
		n := min(len(ds), []int{1, 5, 20, len(ds)}[k.rng.IntN(4)])
		k.batch(s, ds[:n:n])
		ds = ds[n:]
	}
}

// batch settles ds in one call and, now and then, something that was settled
// before, in the same call or after it.
func (k *worker) batch(s step, ds []*messaging.Delivery) {
	if !k.mess {
		k.call(s, ds)
		return
	}
	first := ds[0]
	if len(k.settled) > 0 && k.rng.IntN(2) == 0 {
		ds = append(ds, k.settled[k.rng.IntN(len(k.settled))])
	}
	if k.rng.IntN(4) == 0 {
		ds = append(ds, first)
	}
	k.rng.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
	k.call(s, ds)
	if k.rng.IntN(8) == 0 {
		k.call(step{kind: []Kind{Ack, Nack, Release}[k.rng.IntN(3)]}, ds[:1])
	}
	if k.settled = append(k.settled, first); len(k.settled) > 8 {
		k.settled = k.settled[1:]
	}
}

// call settles ds, and repeats what was uncertain.
func (k *worker) call(s step, ds []*messaging.Delivery) {
	for range 50 {
		var err error
		switch s.kind {
		case Ack:
			err = k.q.Ack(k.r.ctx, ds...)
		case Nack:
			err = k.q.Nack(k.r.ctx, s.delay, ds...)
		case Release:
			err = k.q.Release(k.r.ctx, ds...)
		}
		var unsure []*messaging.Delivery
		for i, d := range ds {
			switch phase := phaseOf(messaging.ErrorAt(err, i)); {
			case phase == Info:
				unsure = append(unsure, d)
			case s.kind == Ack && phase == OK:
				k.finished(d)
			}
		}
		if len(unsure) == 0 || k.r.ctx.Err() != nil {
			return
		}
		ds = unsure
	}
}

// finished notes that d was acknowledged.
func (w *workers) finished(d *messaging.Delivery) {
	n := w.r.numberOf(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[n] = true
	delete(w.left, n)
	w.finishLocked()
}
