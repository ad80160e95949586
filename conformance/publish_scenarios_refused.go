package conformance

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/fa5182d2/messaging"
)

// factNoLimit says that the target knows no largest message.
const factNoLimit = "no limit"

// oversize returns a body that is too large for s, or nil where there is no
// such thing. What carries it is known by its id.
func (r *run) oversize(s messaging.Subscriber) []byte {
	limit := s.Capabilities().MaxMessage
	if limit == 0 {
		r.fact(factNoLimit, 1)
		return nil
	}
	body := make([]byte, max(limit+1, huge))
	body[0] = '\n'
	return body
}

// tooLarge makes a message for p that it has to refuse.
func (r *run) tooLarge(p *publisher, body []byte, key string) int {
	counter := int(p.counter.Add(1))
	m := messaging.Message{ID: r.tag + "/" + value(p.n, counter), Key: key, Body: body}
	return r.register(Message{Producer: p.n, Counter: counter, Channel: p.channel}, m)
}

// key returns the key of a message.
func (r *run) key(n int) string {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	return r.published[n-1].Key
}

// amid puts messages that are too large somewhere into a batch, each with the
// key of its neighbour, and returns why each place has to be refused.
func (r *run) amid(p *publisher, rng *rand.Rand, numbers []int, body []byte, large int) ([]int, func(int) Code) {
	refused := map[int]bool{}
	numbers = slices.Clone(numbers)
	for range large {
		at := rng.IntN(len(numbers))
		one := r.tooLarge(p, body, r.key(numbers[at]))
		refused[one] = true
		numbers = slices.Insert(numbers, at, one)
	}
	return numbers, func(place int) Code {
		if refused[numbers[place]] {
			return TooLarge
		}
		return NoError
	}
}

func always(c Code) func(int) Code { return func(int) Code { return c } }

func withTimeout(r *run, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.ctx, d)
}

// driveRefusedBeside publishes what has to be refused, for every reason that there
// is, each time beside something that has not.
func driveRefusedBeside(r *run) {
	const rounds = 120
	g := r.readings()
	s, stop := g.reader(10, 0, open{})
	body := r.oversize(s)
	p := must[*publisher](r)(r.publisher(open{}))
	rng, beside := r.random(1), r.random(2)
	plain := shape{keys: 10, size: 30}
	for range rounds {
		var neighbours crew
		neighbours.failed = r.stop
		neighbours.Go(func() { r.produce(p, beside, 10, 5, plain, g) })
		if body != nil {
			numbers, refuse := r.amid(p, rng, r.messages(p, rng, 15+rng.IntN(15), plain), body, 1+rng.IntN(2))
			ctx, cancel := r.bounded()
			r.expected(numbers, p.attempt(ctx, numbers, refuse), g)
			cancel()
		}
		r.endedContext(p, rng, 1+rng.IntN(5), g)
		r.closedPublisher(rng, g)
		r.join(neighbours.idle())
	}
	g.drain()
	stop()
}

// endedContext publishes n messages with a context that has ended.
func (r *run) endedContext(p *publisher, rng *rand.Rand, n int, g *readings) {
	ctx, cancel := context.WithCancel(r.ctx)
	code := Canceled
	if rng.IntN(2) == 0 {
		cancel()
		ctx, cancel = context.WithDeadline(r.ctx, time.Now().Add(-time.Second))
		code = Deadline
	}
	cancel()
	numbers := r.messages(p, rng, n, shape{keys: 10})
	r.expected(numbers, p.attempt(ctx, numbers, always(code)), g)
}

// closedPublisher publishes with a publisher before and after its Close.
func (r *run) closedPublisher(rng *rand.Rand, g *readings) {
	p := must[*publisher](r)(r.publisher(open{}))
	r.produce(p, rng, 1, 1, shape{keys: 10}, g)
	_ = p.Close()
	numbers := r.messages(p, rng, 1+rng.IntN(2), shape{keys: 10})
	_ = p.attempt(r.ctx, numbers, always(Closed))
}

// driveMissing opens what is not there and, on a queue, publishes what no
// subscription matches.
func driveMissing(r *run) {
	for i := range 10 {
		o := open{channel: r.channel + "-missing-" + strconv.Itoa(i), params: params("create", "false"), refuse: NotFound}
		for _, try := range []func(){
			func() { _, _ = r.publisher(o) },
			func() { r.openFlavour(o) },
			func() { _, _ = r.publisher(o) }, // the one before must not have created it
		} {
			try()
		}
	}
	if r.flavour == ForQueue {
		r.unmatched()
	}
}

// openFlavour tries to open a subscriber of the run's flavour.
func (r *run) openFlavour(o open) {
	if r.flavour == ForQueue {
		_, _ = r.queue(o)
		return
	}
	_, _ = r.stream(o)
}

// unmatched publishes to a channel whose only subscription wants something
// else.
func (r *run) unmatched() {
	if r.target.Unroutable {
		r.fact(factUnroutable, 1)
	}
	g := r.readings()
	_, stop := g.reader(1, 0, open{params: params("subject", "wanted.#")})
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(2)
	for range 50 {
		ctx, cancel := r.bounded()
		_ = p.attempt(ctx, r.messages(p, rng, 1+rng.IntN(3), shape{subjects: []string{"other", "wantedness.too"}}), always(Unmatched))
		cancel()
		r.produce(p, rng, 2, 2, shape{subjects: []string{"wanted.this"}}, g)
	}
	g.drain()
	stop()
}

// driveDeleted deletes channels behind the backs of those who publish to them.
func driveDeleted(r *run) {
	rng := r.random(1)
	for i := range 20 {
		channel := r.channel + "-" + strconv.Itoa(i)
		g := r.readings()
		_, stop := g.reader(10, 0, open{channel: channel})
		p := must[*publisher](r)(r.publisher(open{channel: channel}))
		q := must[*publisher](r)(r.publisher(open{channel: channel, params: params("create", "false")}))
		r.produce(p, rng, 10, 5, shape{keys: 5}, g)
		end := r.fault("delete " + channel)
		if err := r.target.Delete(r.ctx, channel); err != nil {
			r.fail("delete: %w", err)
		}
		end(1)
		for range 3 {
			for _, one := range []*publisher{p, q} {
				ctx, cancel := r.bounded()
				_ = one.attempt(ctx, r.messages(one, rng, 1+rng.IntN(3), shape{keys: 5}), always(NotFound))
				cancel()
			}
		}
		r.openFlavour(open{channel: channel, params: params("create", "false"), refuse: NotFound})
		stop()
	}
}

// drivePublishersClose closes publishers while others publish with them.
func drivePublishersClose(r *run) {
	const rounds, callers, calls = 90, 3, 6
	g := r.readings()
	_, stop := g.reader(10, 0, open{})
	plain := shape{keys: 10}
	for i := range rounds {
		p := must[*publisher](r)(r.publisher(open{}))
		under := make(chan struct{}, callers*calls)
		var busy crew
		busy.failed = r.stop
		for c := range callers {
			rng := r.random(100 + i*callers + c)
			busy.Go(func() {
				for range calls {
					under <- struct{}{}
					r.produce(p, rng, 1+rng.IntN(3), 3, plain, g)
				}
			})
		}
		for range 1 + r.rng.IntN(callers*calls-1) {
			r.join(under)
		}
		_ = p.Close()
		_ = p.attempt(r.ctx, r.messages(p, r.rng, 4, plain), nil)
		r.join(busy.idle())
	}
	g.drain()
	stop()
}
