package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/fa5182d2/messaging"
)

// fill has q receive until its window is full, or nothing comes any more, and
// returns what it holds.
func (r *run) fill(q *queue, rng *rand.Rand) []*messaging.Delivery {
	ctx, cancel := context.WithTimeout(r.ctx, time.Second)
	defer cancel()
	var held []*messaging.Delivery
	for window := q.Capabilities().Window; len(held) < window; {
		ds, err := q.Receive(ctx, 1+rng.IntN(window-len(held)))
		if err != nil {
			break
		}
		held = append(held, ds...)
	}
	return held
}

// driveLeaving has consumers die, or close, with messages in hand, in waves
// of many at once, while others wait for what they had.
func driveLeaving(r *run, o open, crash bool) {
	const waves, leavers, window = 6, 15, 30
	w := r.workers(func(int, int) step { return step{kind: Ack} })
	p := must[*publisher](r)(r.publisher(o))
	wave := leavers * window
	if r.options.Most > 0 {
		wave = min(wave, leavers*10) // each acknowledges, nacks and releases one first
	}
	for range waves {
		var goers []*leaver
		numbers := r.send(p, r.rng, wave, shape{keys: wave})
		narrow := o
		narrow.params = params("inflight", strconv.Itoa(wave/leavers))
		for range leavers {
			l := &leaver{q: must[*queue](r)(r.queue(narrow)), w: w}
			l.held = r.fill(l.q, r.rng)
			goers = append(goers, l)
		}
		for _, l := range goers {
			l.settleSome(r)
		}
		qs, stop := r.team(w, 2, o)
		for i, l := range goers {
			l.leave(r, crash, i%3 == 0)
		}
		w.expect(true, numbers...)
		w.await(qs[0].Capabilities().Lease)
		stop()
		for _, q := range qs {
			_ = q.Close()
		}
		w.again()
	}
	r.probe(o)
}

// leaver is a consumer that goes with something in hand.
type leaver struct {
	q    *queue
	w    *workers
	held []*messaging.Delivery
}

// settleSome acknowledges the last that it has, or none, and gives up two.
func (l *leaver) settleSome(r *run) {
	last := len(l.held) - 1
	if last < 4 {
		return
	}
	if r.rng.IntN(4) > 0 {
		if l.q.Ack(r.ctx, l.held[last]) == nil {
			l.w.finished(l.held[last])
		}
	}
	r.rng.Shuffle(last, func(i, j int) { l.held[i], l.held[j] = l.held[j], l.held[i] })
	_ = l.q.Nack(r.ctx, 0, l.held[0])
	_ = l.q.Release(r.ctx, l.held[1])
	l.held = l.held[2:last]
}

// leave crashes or closes it, in the middle of an Ack if busy.
func (l *leaver) leave(r *run, crash, busy bool) {
	if busy && len(l.held) > 3 {
		r.wg.Go(func() {
			if l.q.Ack(r.ctx, l.held[0]) == nil {
				l.w.finished(l.held[0])
			}
		})
	}
	if crash {
		r.crash(&l.q.subscriber)
		return
	}
	_ = l.q.Close()
}

// driveSlow has consumers hold each message for four leases, or, where the
// target has hold=, the first time for longer than that allows, or both.
func driveSlow(r *run, overdue, slow bool) {
	const holders, window = 10, 256
	o := open{params: params("inflight", strconv.Itoa(window))}
	first := must[*queue](r)(r.queue(o))
	lease := first.Capabilities().Lease
	_ = first.Close()
	if lease == 0 {
		lease = r.timing.Redelivery
	}
	w := r.workers(func(n, visit int) step {
		s := step{kind: Ack}
		if slow {
			s.keep = 4*lease + time.Second
		}
		if overdue && visit == 1 {
			s = step{kind: []Kind{Ack, Nack}[n%2], keep: 6 * lease}
		}
		return s
	})
	if overdue {
		o.hold = 5 * lease
		defer r.alone(lease)()
	}
	p := must[*publisher](r)(r.publisher(open{}))
	w.expect(true, r.send(p, r.rng, r.size(holders*window), shape{})...)
	qs, stop := r.team(w, holders, o)
	w.await(2 * lease)
	stop()
	for _, q := range qs {
		_ = q.Close()
	}
}

// driveClock is driveSlow while the wall clock steps.
func driveClock(r *run) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	r.wg.Go(func() { r.steps(ctx, 10*time.Second) })
	driveSlow(r, true, true)
}

// steps moves the wall clock an hour forward or back now and then, until ctx
// ends.
func (r *run) steps(ctx context.Context, every time.Duration) {
	end := r.fault("F16")
	t := time.NewTicker(every)
	defer t.Stop()
	for n, d := 0, time.Hour; ; n, d = n+1, -d {
		select {
		case <-t.C:
			r.note("the clock steps by %v", d)
			r.target.StepClock(d)
		case <-ctx.Done():
			end(n)
			return
		}
	}
}

// alone has one consumer with a small window lose what it holds: there is
// nobody but itself to get it.
// The function that it returns waits for the end.
func (r *run) alone(lease time.Duration) (wait func()) {
	const window = 16
	o := open{channel: r.channel + "-alone", params: params("inflight", strconv.Itoa(window)), hold: 5 * lease}
	w := r.workers(func(_, visit int) step {
		if visit == 1 {
			return step{kind: Ack, keep: 8 * lease}
		}
		return step{kind: Ack}
	})
	p := must[*publisher](r)(r.publisher(open{channel: o.channel}))
	w.expect(true, r.send(p, r.rng, 2*window, shape{})...)
	qs, stop := r.team(w, 1, o)
	return func() {
		w.await(2 * lease)
		stop()
		_ = qs[0].Close()
	}
}

// driveZombies freezes consumers with full windows for longer than a lease.
// Others hold what they had when they wake and settle it.
func driveZombies(r *run) {
	const zombies = 10
	window := r.size(2400) / zombies
	rng := r.random(1)
	var lease time.Duration
	all := make(chan struct{})
	var w *workers
	w = r.workers(func(n, visit int) step {
		if visit > 1 || n > zombies*window {
			return step{kind: Ack}
		}
		if len(w.visits) == zombies*window {
			close(all)
		}
		return step{kind: []Kind{Ack, Ack, Nack}[rng.IntN(3)], keep: lease/2 + time.Second}
	})
	p := must[*publisher](r)(r.publisher(open{}))
	w.expect(false, r.send(p, r.rng, zombies*window, shape{})...)
	var zs []*zombie
	for range zombies {
		z := &zombie{q: must[*queue](r)(r.queue(open{params: params("inflight", strconv.Itoa(window))})), w: w}
		z.held = r.fill(z.q, r.rng)
		zs = append(zs, z)
	}
	lease = zs[0].q.Capabilities().Lease
	for _, z := range zs {
		z.thaw = r.freeze(&z.q.subscriber)
	}
	// Together they have room for what the zombies had, and no more.
	qs, stop := r.team(w, 2, open{params: params("inflight", strconv.Itoa(zombies*window/2))})
	r.wait(all, 4*lease+4*r.timing.Redelivery)
	for _, z := range zs {
		z.thaw()
	}
	w.expect(true, r.send(p, r.rng, 100*zombies, shape{})...)
	for i, z := range zs {
		rng := r.random(100 + i)
		r.wg.Go(func() { z.wake(r, rng) })
	}
	r.finishQueue(w, qs, stop, open{})
}

// wait waits for c, but no longer than a bound.
func (r *run) wait(c <-chan struct{}, bound time.Duration) {
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-c:
	case <-t.C:
		r.note("%s", fmt.Sprintf("waited %v in vain", bound))
	case <-r.ctx.Done():
	}
}

// zombie is a consumer that sleeps past its leases.
type zombie struct {
	q    *queue
	w    *workers
	held []*messaging.Delivery
	thaw func()
}

// wake settles what it believes to hold, in calls together with what it really
// holds.
func (z *zombie) wake(r *run, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(r.ctx, time.Second)
	defer cancel()
	rng.Shuffle(len(z.held), func(i, j int) { z.held[i], z.held[j] = z.held[j], z.held[i] })
	for len(z.held) > 0 {
		n := min(len(z.held), 1+rng.IntN(20))
		batch := z.held[:n:n]
		z.held = z.held[n:]
		if rng.IntN(3) == 0 {
			_ = z.q.Nack(r.ctx, 0, batch...)
			continue
		}
		if fresh, err := z.q.Receive(ctx, 3); err == nil {
			batch = append(batch, fresh...)
			rng.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		}
		err := z.q.Ack(r.ctx, batch...)
		for i, d := range batch {
			if messaging.ErrorAt(err, i) == nil {
				z.w.finished(d)
			}
		}
	}
	_ = z.q.Close()
}
