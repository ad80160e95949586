package conformance

import (
	"context"
	"math/rand/v2"
	"time"
)

// drivePublishReplies loses replies while two publishers, of which one tries
// once, and a consumer work.
func drivePublishReplies(r *run) {
	const messages = 1500
	g := r.readings()
	_, stop := g.reader(10, 0, open{})
	var publishers crew
	publishers.failed = r.stop
	heal := r.inject("F3")
	for i, retry := range []string{"", "none"} {
		o := open{}
		if retry != "" {
			o.params = params("retry", retry)
		}
		p := must[*publisher](r)(r.publisher(o))
		rng := r.random(i)
		publishers.Go(func() {
			for range messages / 10 {
				r.produce(p, rng, 10, 4, shape{keys: 20, size: 20}, g)
				r.endedContext(p, rng, 1+rng.IntN(2), g)
				ctx, cancel := withTimeout(r, time.Duration(1+rng.IntN(30))*time.Millisecond)
				numbers := r.messages(p, rng, 2, shape{keys: 20})
				r.expected(numbers, p.publish(ctx, numbers), g)
				cancel()
			}
		})
	}
	r.join(publishers.idle())
	heal()
	g.drain()
	stop()
}

// driveInOrder publishes with few keys, in calls of every size, some with a
// message in the middle that has to be refused.
func driveInOrder(r *run) { r.inOrder(1400, func() func() { return func() {} }) }

// driveInOrderReplies does so while replies are lost.
func driveInOrderReplies(r *run) { r.inOrder(1200, func() func() { return r.inject("F3") }) }

// inOrder has two publishers publish so many messages each, the first ones in
// one call and with one key. On a queue one consumer takes one message at a
// time.
func (r *run) inOrder(messages int, begin func() (heal func())) {
	o := open{}
	if r.flavour == ForQueue {
		o = open{ordered: true, params: params("inflight", "1")}
	}
	g := r.readings()
	s, stop := g.reader(10, 0, o)
	body := r.oversize(s)
	var publishers crew
	publishers.failed = r.stop
	heal := begin()
	for i := range 2 {
		p := must[*publisher](r)(r.publisher(open{ordered: r.flavour == ForQueue}))
		rng := r.random(i)
		publishers.Go(func() {
			for n := 0; n < messages; {
				size, keys := []int{1, 1 + rng.IntN(8), 30, 150}[rng.IntN(4)], 5
				if n == 0 {
					size, keys = 510, 1
				}
				numbers := r.messages(p, rng, size, shape{keys: keys})
				n += size
				var refuse func(int) Code
				if body != nil && len(numbers) > 4 && rng.IntN(2) == 0 {
					numbers, refuse = r.amid(p, rng, numbers, body, 1)
				}
				ctx, cancel := r.bounded()
				r.expected(numbers, p.attempt(ctx, numbers, refuse), g)
				cancel()
			}
		})
	}
	r.join(publishers.idle())
	heal()
	g.drain()
	stop()
}

// driveSameID publishes each message again with its id, with another publisher
// or the same, while replies are lost, and some of them once more after the
// broker's window.
func driveSameID(r *run) {
	const calls, each, late = 650, 4, 320
	g := r.readings()
	_, stop := g.reader(10, 0, open{dedup: true})
	one := must[*publisher](r)(r.publisher(open{dedup: true, params: params("retry", "none")}))
	other := must[*publisher](r)(r.publisher(open{dedup: true}))
	rng := r.random(1)
	var taken []int
	heal := r.inject("F3")
	for range calls {
		numbers := r.messages(one, rng, each, shape{keys: 20, ids: true})
		first, second := one, other
		if rng.IntN(4) == 0 {
			first, second = other, one
		}
		ok := map[int]bool{}
		for _, p := range []*publisher{first, second} {
			ctx, cancel := r.bounded()
			if p.publish(ctx, numbers) == nil {
				for _, n := range numbers {
					ok[n] = true
				}
			}
			cancel()
		}
		for _, n := range numbers {
			if ok[n] {
				g.expect(n)
				taken = append(taken, n)
			}
		}
	}
	heal()
	g.drain()
	r.pause(r.timing.Dedup + r.timing.ClockSkew + time.Second)
	for i := 0; i+each <= min(late, len(taken)); i += each {
		ctx, cancel := r.bounded()
		r.expected(taken[i:i+each], other.publish(ctx, taken[i:i+each]), g)
		cancel()
	}
	g.drain()
	stop()
}

// drivePublishPaused publishes to a broker that stands still: calls wait for
// it, or give up, or their publisher is closed.
func drivePublishPaused(r *run) {
	const each = 40
	rounds := 30
	if !r.target.Virtual {
		rounds = 8
	}
	g := r.readings()
	_, stop := g.reader(10, 0, open{})
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	for i := range rounds {
		r.produce(p, rng, 10, 10, shape{keys: 10}, g)
		closed := must[*publisher](r)(r.publisher(open{}))
		resume, err := r.target.Pause(r.ctx)
		if err != nil {
			r.fail("pause: %w", err)
		}
		// The window begins when the broker stands still, and ends before it
		// goes on.
		end := r.fault("F6")
		var busy crew
		busy.failed = r.stop
		r.behind(&busy, p, r.random(100+i), each, time.Minute, g)
		r.behind(&busy, p, r.random(200+i), each, time.Duration(1+rng.IntN(100))*time.Millisecond, g)
		r.behind(&busy, closed, r.random(300+i), each, time.Minute, g)
		r.pause(500 * time.Millisecond)
		_ = closed.Close()
		_ = closed.attempt(r.ctx, r.messages(closed, rng, 2, shape{keys: 10}), nil)
		r.pause(r.timing.Operation / 5) // what Close did not wait for is late
		end(1)
		resume()
		r.join(busy.idle())
	}
	g.drain()
	stop()
}

// behind publishes n messages in calls that are under way at once.
func (r *run) behind(busy *crew, p *publisher, rng *rand.Rand, n int, limit time.Duration, g *readings) {
	for n > 0 {
		numbers := r.messages(p, rng, min(n, []int{1, 5, 20}[rng.IntN(3)]), shape{keys: 10})
		n -= len(numbers)
		busy.Go(func() {
			ctx, cancel := context.WithTimeout(r.ctx, limit)
			defer cancel()
			r.expected(numbers, p.publish(ctx, numbers), g)
		})
	}
}
