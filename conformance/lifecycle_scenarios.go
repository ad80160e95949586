package conformance

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// lifecycleScenarios are the runs for lifecycleRules.
func lifecycleScenarios() []*scenario {
	pauses := func(t *Target) string { return missing(t.Pause == nil, "it cannot be paused") }
	loses := func(t *Target) string { return missing(!t.suffers("F3"), "it cannot lose replies") }
	return []*scenario{
		{name: "window", flavour: ForBoth, fault: "none", rules: []string{"L01", "L08"}, drive: driveWindow},
		{name: "pause", flavour: ForBoth, fault: "F11", rules: []string{"L02"}, drive: drivePauseResume},
		{name: "close", flavour: ForBoth, fault: "none", rules: []string{"L05", "L08"}, drive: driveClose},
		{name: "heal", flavour: ForBoth, fault: "F3", rules: []string{"L06"}, needs: loses, drive: func(r *run) { driveHeal(r, r.inject3) }},
		{name: "resume", flavour: ForBoth, fault: "F6", rules: []string{"L06", "L08"}, needs: pauses, drive: func(r *run) { driveHeal(r, r.paused) }},
		{name: "idle", flavour: ForBoth, fault: "none", rules: []string{"L06"}, drive: driveIdle},
		{name: "receives", flavour: ForBoth, fault: "none", rules: []string{"L08"}, drive: driveReceives},
		{name: "leak", flavour: ForBoth, fault: "none", rules: []string{"L07"}, drive: driveLeak},
		{name: "cancel", flavour: ForBoth, fault: "none", rules: []string{"L09", "L08", "P01"}, drive: driveCancel},
		{name: "cancel-paused", flavour: ForBoth, fault: "F6", rules: []string{"L09"}, needs: pauses, drive: driveCancelPaused},
		{name: "refuse", flavour: ForBoth, fault: "none", rules: []string{"L10"}, drive: driveRefusals},
	}
}

// counters are facts that a scenario counts.
type counters map[string]*atomic.Int64

func (r *run) counters(names ...string) counters {
	c := counters{}
	for _, n := range names {
		c[n] = new(atomic.Int64)
	}
	return c
}

func (r *run) facts(c counters) {
	for name, n := range c {
		r.fact(name, n.Load())
	}
}

// done settles deliveries as done.
func done(ctx context.Context, s messaging.Subscriber, ds ...*messaging.Delivery) error {
	if q, ok := s.(*queue); ok {
		return q.Ack(ctx, ds...)
	}
	return s.(*stream).Commit(ctx, ds...)
}

// receiveSome receives up to n deliveries, and fewer when nothing more comes
// for a while.
func (r *run) receiveSome(s messaging.Subscriber, n, max int, quiet time.Duration) []*messaging.Delivery {
	var all []*messaging.Delivery
	for len(all) < n {
		ctx, cancel := context.WithTimeout(r.ctx, quiet)
		ds, err := s.Receive(ctx, min(max, n-len(all)))
		cancel()
		all = append(all, ds...)
		if err != nil {
			break
		}
	}
	return all
}

// driveWindow fills windows beside one another, and again after settles of
// every kind.
func driveWindow(r *run) {
	const window, rounds = 10, 10
	c := r.counters("windows filled", "windows not filled")
	defer r.facts(c)
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	small := params("inflight", "10")
	subs := []messaging.Subscriber{r.subscriber(open{params: params("inflight", "10", "group", groupFor(r))})}
	if r.flavour == ForQueue {
		subs = append(subs, must[*queue](r)(r.queue(open{params: small})), must[*queue](r)(r.queue(open{params: small})))
	}
	// On a stream one key fills one partition, which others must not wait for.
	for range 8 {
		_ = r.publish(p, rng, 50, shape{keys: 40})
	}
	for round := range rounds {
		held := map[messaging.Subscriber][]*messaging.Delivery{}
		for _, s := range subs {
			want := window + 5 // more than may come
			if r.flavour == ForStream {
				want = 1 << 20 // each partition to its window
			}
			ds := r.receiveSome(s, want, []int{1, 2, window, 1000}[round%4], r.timing.Operation)
			held[s] = ds
			r.filled(c, s, ds, window)
		}
		for s, ds := range held {
			r.settleSomehow(s, ds, round)
		}
	}
	if r.flavour == ForQueue {
		r.fillExactly(c, window)
	}
}

// fillExactly has a queue hold just what fills the windows of its consumers,
// so that one that hides something takes it from the others.
func (r *run) fillExactly(c counters, window int) {
	channel := r.channel + "-exactly"
	var subs []*queue
	for range 3 {
		subs = append(subs, must[*queue](r)(r.queue(open{channel: channel, params: params("inflight", strconv.Itoa(window))})))
	}
	r.publishAll(channel, false, 7, len(subs)*window, shape{})
	for _, s := range subs {
		r.filled(c, s, r.receiveSome(s, window, 1, r.timing.Operation), window)
	}
}

func groupFor(r *run) string {
	if r.flavour == ForStream {
		return "g"
	}
	return ""
}

// filled counts the windows of s that ds fill.
func (r *run) filled(c counters, s messaging.Subscriber, ds []*messaging.Delivery, window int) {
	if r.flavour == ForQueue {
		name := "windows filled"
		if len(ds) < window {
			name = "windows not filled"
			r.note("%s: %d of %d came to subscriber %d", name, len(ds), window, sessionOf(s))
		}
		c[name].Add(1)
		return
	}
	of := map[string]int{}
	for _, d := range ds {
		of[d.Partition]++
	}
	for _, n := range of {
		if n == window {
			c["windows filled"].Add(1)
		}
	}
	if len(of) == 0 {
		c["windows not filled"].Add(1)
	}
}

// settleSomehow frees a window in another way each round.
func (r *run) settleSomehow(s messaging.Subscriber, ds []*messaging.Delivery, round int) {
	if len(ds) == 0 {
		return
	}
	q, isQueue := s.(*queue)
	switch {
	case round%3 == 1 && isQueue:
		_ = q.Nack(r.ctx, 0, ds...)
	case round%3 == 2:
		_ = s.Release(r.ctx, ds...)
	default:
		_ = done(r.ctx, s, ds...)
	}
}

// drivePauseResume holds deliveries for three leases without a Receive.
func drivePauseResume(r *run) {
	p := must[*publisher](r)(r.publisher(open{}))
	var subs []messaging.Subscriber
	for range 2 {
		subs = append(subs, r.subscriber(open{}))
	}
	rng := r.random(1)
	for range 10 {
		_ = r.publish(p, rng, 20, shape{keys: 20})
	}
	held := map[messaging.Subscriber][]*messaging.Delivery{}
	for _, s := range subs {
		held[s] = r.receiveSome(s, 60, 10, r.timing.Operation)
	}
	lease := max(subs[0].Capabilities().Lease, r.timing.Session)
	if r.target.Hold > 0 {
		lease = min(lease, r.target.Hold/4)
	}
	r.pause(3 * lease)
	for s, ds := range held {
		for _, d := range ds {
			_ = done(r.ctx, s, d)
		}
	}
	for _, s := range subs {
		for ds := r.receiveSome(s, 20, 20, r.timing.Operation); len(ds) > 0; ds = r.receiveSome(s, 20, 20, r.timing.Operation) {
			_ = done(r.ctx, s, ds...)
		}
	}
}

// driveClose closes sessions from several goroutines while others use them,
// and calls everything afterwards.
func driveClose(r *run) {
	p0 := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	for i := range 15 {
		_ = r.publish(p0, rng, 5, shape{})
		s := r.subscriber(open{})
		p := must[*publisher](r)(r.publisher(open{}))
		ds := r.receiveSome(s, 3, 3, r.timing.Operation)
		var wg crew
		wg.failed = r.stop
		wg.Go(func() { _, _ = s.Receive(r.ctx, 10) })
		wg.Go(func() { _ = r.publish(p, r.random(100+i), 3, shape{}) })
		for range 3 {
			wg.Go(func() { _ = s.Close() })
			wg.Go(func() { _ = p.Close() })
		}
		r.await(wg.idle(), "Close beside other calls")
		_ = s.Close()
		_ = p.Close()
		r.afterClose(s, p, ds, 200+i)
	}
}

func (r *run) afterClose(s messaging.Subscriber, p *publisher, ds []*messaging.Delivery, seed int) {
	for range 2 {
		_, _ = s.Receive(r.ctx, 1)
		_ = r.publish(p, r.random(seed), 2, shape{})
		if len(ds) == 0 {
			continue
		}
		_ = done(r.ctx, s, ds...)
		_ = s.Release(r.ctx, ds...)
		if q, ok := s.(*queue); ok {
			_ = q.Nack(r.ctx, 0, ds...)
		}
	}
}

// await waits for done, for as long as an operation may take under a fault,
// and ends the run as hung otherwise.
func (r *run) await(done <-chan struct{}, what string) {
	t := time.NewTimer(r.timing.Operation + r.timing.Reconnect)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		panic(failure{err: fmt.Errorf("%w: %s", errHung, what), hung: true})
	}
}

// inject3 switches lost replies on, and off again with what it returns.
func (r *run) inject3() func() { return r.inject("F3") }

// paused stops the broker until what it returns is called.
func (r *run) paused() func() {
	end := r.fault("pause")
	resume, err := r.target.Pause(r.ctx)
	if err != nil {
		r.fail("pause: %w", err)
	}
	return func() {
		resume()
		end(1)
	}
}

// driveHeal has publisher and subscriber live through faults, and looks
// whether they go on by themselves.
func driveHeal(r *run, begin func() func()) {
	c := r.counters("resumed", "not resumed", "permanent error hidden")
	defer r.facts(c)
	p := must[*publisher](r)(r.publisher(open{}))
	s := r.subscriber(open{})
	rng := r.random(1)
	for range 6 {
		heal := begin()
		short, cancel := context.WithTimeout(r.ctx, r.timing.Operation/5)
		numbers := []int{r.message(p, rng, shape{}), r.message(p, rng, shape{})}
		_ = p.publish(short, numbers)
		if ds, err := s.Receive(short, 10); err == nil {
			_ = done(short, s, ds...)
		}
		cancel()
		heal()
		r.goesOn(c, p, s, rng.IntN(1<<30))
	}
	r.surfaces(c, p, s)
}

// driveIdle lets everything stand still for longer and longer, with a Receive
// that waits, and looks whether it goes on.
func driveIdle(r *run) {
	c := r.counters("resumed", "not resumed")
	defer r.facts(c)
	p, s := must[*publisher](r)(r.publisher(open{})), r.subscriber(open{})
	waits := []time.Duration{time.Second, time.Minute, 15 * time.Minute, time.Hour}
	if !r.target.Virtual {
		waits = []time.Duration{time.Second, 5 * time.Second, 20 * time.Second}
	}
	for _, wait := range waits {
		got := make(chan []*messaging.Delivery, 1)
		r.wg.Go(func() {
			ds, _ := s.Receive(r.ctx, 1)
			got <- ds
		})
		r.pause(wait)
		_ = r.publish(p, r.rng, 1, shape{})
		t := time.NewTimer(r.timing.Operation)
		select {
		case ds := <-got:
			_ = done(r.ctx, s, ds...)
			c["resumed"].Add(1)
		case <-t.C:
			c["not resumed"].Add(1)
			r.note("not resumed: nothing came %v after a Publish, when all had been idle for %v", r.timing.Operation, wait)
			return
		}
		t.Stop()
	}
}

// driveReceives receives one message at a time.
func driveReceives(r *run) {
	p, s := must[*publisher](r)(r.publisher(open{})), r.subscriber(open{})
	for n := r.size(2400); n > 0; n -= 100 {
		_ = r.publish(p, r.rng, 100, shape{keys: 50})
		for range 100 {
			ds := r.receiveSome(s, 1, 1, r.timing.Operation)
			if len(ds) == 0 {
				break
			}
			_ = done(r.ctx, s, ds...)
		}
	}
}

// goesOn publishes after a fault and waits for the message.
func (r *run) goesOn(c counters, p *publisher, s messaging.Subscriber, seed int) {
	began := time.Now()
	n := r.message(p, r.random(seed), shape{ids: true})
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Reconnect+r.timing.Operation)
	defer cancel()
	err := p.publish(ctx, []int{n})
	for err == nil {
		var ds []*messaging.Delivery
		if ds, err = s.Receive(ctx, 10); err != nil {
			break
		}
		if err = done(ctx, s, ds...); codeOf(err) == Uncertain {
			err = nil // a late effect of the fault
		}
		for _, d := range ds {
			if found, _ := r.known(d); found == n {
				c["resumed"].Add(1)
				return
			}
		}
	}
	c["not resumed"].Add(1)
	r.note("not resumed %v after the fault: %v", time.Since(began), err)
}

// known returns the number of the message that d is.
func (r *run) known(d *messaging.Delivery) (int, string) {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	return r.identify(d.Message)
}

// surfaces deletes the channel and looks for the error.
func (r *run) surfaces(c counters, p *publisher, s messaging.Subscriber) {
	if r.target.Delete == nil {
		return
	}
	if err := r.target.Delete(r.ctx, r.channel); err != nil {
		r.fail("delete: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Reconnect+r.timing.Operation)
	defer cancel()
	if _, err := s.Receive(ctx, 1); codeOf(err) != NotFound {
		c["permanent error hidden"].Add(1)
		r.note("permanent: Receive of a deleted channel returned %v", err)
	}
	if err := p.publish(ctx, []int{r.message(p, r.random(9), shape{})}); codeOf(messaging.ErrorAt(err, 0)) != NotFound {
		c["permanent error hidden"].Add(1)
		r.note("permanent: Publish to a deleted channel returned %v", err)
	}
}

// driveCancel cancels blocked Receives and closes blocked subscribers while
// messages arrive.
func driveCancel(r *run) {
	c := r.counters("calls ended", "calls late", "cancelled receives", "lost by cancelled receives")
	defer r.facts(c)
	p := must[*publisher](r)(r.publisher(open{}))
	s := r.subscriber(open{})
	got := map[int]bool{}
	take := func(ds []*messaging.Delivery) {
		for _, d := range ds {
			n, _ := r.known(d)
			got[n] = true
		}
		if len(ds) > 0 {
			_ = done(r.ctx, s, ds...)
		}
	}
	rng := r.random(1)
	var sent []int
	for range 150 {
		ctx, cancel := context.WithCancel(r.ctx)
		ended := make(chan []*messaging.Delivery, 1)
		r.wg.Go(func() {
			ds, _ := s.Receive(ctx, 10)
			ended <- ds
		})
		n := r.message(p, rng, shape{keys: 5})
		sent = append(sent, n)
		r.wg.Go(func() { _ = p.publish(r.ctx, []int{n}) })
		if rng.IntN(2) == 0 {
			r.pause(time.Duration(rng.IntN(1000)) * time.Microsecond)
		}
		cancel()
		ds, ok := r.endsIn(c, "a cancelled Receive", ended)
		if !ok {
			return
		}
		if len(ds) == 0 {
			c["cancelled receives"].Add(1)
		}
		take(ds)
	}
	for ds := r.receiveSome(s, 10, 10, r.timing.Redelivery); len(ds) > 0; ds = r.receiveSome(s, 10, 10, r.timing.Redelivery) {
		take(ds)
	}
	for _, n := range sent {
		if !got[n] {
			c["lost by cancelled receives"].Add(1)
			r.note("missing: message %d", n)
		}
	}
	for range 20 {
		r.closeBlocked(c)
	}
}

// endsIn waits for a call's result, for as long as an operation may take.
func (r *run) endsIn(c counters, what string, ended <-chan []*messaging.Delivery) ([]*messaging.Delivery, bool) {
	t := time.NewTimer(r.timing.Operation)
	defer t.Stop()
	select {
	case ds := <-ended:
		c["calls ended"].Add(1)
		return ds, true
	case <-t.C:
		c["calls late"].Add(1)
		r.note("late: %s", what)
		return nil, false
	}
}

// closeBlocked closes a subscriber whose Receive waits.
func (r *run) closeBlocked(c counters) {
	s := r.subscriber(open{channel: r.channel + "-empty"})
	ended := make(chan []*messaging.Delivery, 1)
	r.wg.Go(func() {
		ds, _ := s.Receive(r.ctx, 1)
		ended <- ds
	})
	r.pause(time.Millisecond)
	closed := make(chan []*messaging.Delivery, 1)
	r.wg.Go(func() {
		_ = s.Close()
		closed <- nil
	})
	r.endsIn(c, "a Close beside a Receive", closed)
	r.endsIn(c, "a Receive whose subscriber was closed", ended)
}

// driveCancelPaused makes every call while the broker is paused.
func driveCancelPaused(r *run) {
	c := r.counters("calls ended", "calls late")
	defer r.facts(c)
	p := must[*publisher](r)(r.publisher(open{}))
	s := r.subscriber(open{})
	rng := r.random(1)
	_ = r.publish(p, rng, 10, shape{})
	ds := r.receiveSome(s, 3, 3, r.timing.Operation)
	if len(ds) < 3 {
		r.fail("only %d of 3 messages came", len(ds))
	}
	resume := r.paused()
	defer resume()
	calls := map[string]func(context.Context) error{
		"publish": func(ctx context.Context) error { return p.publish(ctx, []int{r.message(p, r.random(2), shape{})}) },
		"receive": func(ctx context.Context) error { _, err := s.Receive(ctx, 10); return err },
		"done":    func(ctx context.Context) error { return done(ctx, s, ds[0]) },
		"release": func(ctx context.Context) error { return s.Release(ctx, ds[2]) },
		"open": func(ctx context.Context) error {
			u, err := r.target.address(r.channel, false, params("group", groupFor(r)))
			if err != nil {
				return err
			}
			opened, err := r.target.Backend.OpenPublisher(ctx, u)
			if err == nil {
				_ = opened.Close()
			}
			return err
		},
	}
	if q, ok := s.(*queue); ok {
		calls["nack"] = func(ctx context.Context) error { return q.Nack(ctx, 0, ds[1]) }
	}
	for name, call := range calls {
		// One of its kind that has more time is under way before it.
		long, stop := context.WithCancel(r.ctx)
		defer stop()
		if name != "open" {
			r.wg.Go(func() { _ = guarded(func() error { return call(long) }) })
			r.pause(time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
		ended := make(chan []*messaging.Delivery, 1)
		r.wg.Go(func() {
			_ = guarded(func() error { return call(ctx) })
			ended <- nil
		})
		r.endsIn(c, name+" while the broker is paused", ended)
		cancel()
	}
	closed := make(chan []*messaging.Delivery, 1)
	r.wg.Go(func() {
		_ = s.Close()
		closed <- nil
	})
	r.endsIn(c, "a Close while the broker is paused", closed)
}

// driveRefusals gives bad input to every call.
func driveRefusals(r *run) {
	c := r.counters("refused", "not refused")
	defer r.facts(c)
	p := must[*publisher](r)(r.publisher(open{}))
	s, other := r.subscriber(open{}), r.subscriber(open{channel: r.channel + "-other"})
	rng := r.random(1)
	_ = r.publish(p, rng, 10, shape{})
	ds := r.receiveSome(s, 3, 3, r.timing.Operation)
	if len(ds) < 3 {
		r.fail("only %d of 3 messages came", len(ds))
	}
	r.refuseSettles(c, s, other, ds)
	for _, n := range []int{0, -1} {
		_, err := s.Receive(r.ctx, n)
		r.refuses(c, fmt.Sprintf("a Receive of %d", n), err, Other)
	}
	r.refuseURLs(c)
	r.refuseSecondReceiver(c)
	// Nothing was changed by all that.
	if err := done(r.ctx, s, ds[1:]...); err != nil {
		c["not refused"].Add(1)
		r.note("not refused: something was changed: settling what is in hand returned %v", err)
	}
}

// refuses counts whether a call was refused with an error, and which.
func (r *run) refuses(c counters, what string, err error, want ...Code) {
	code := codeOf(messaging.ErrorAt(err, 0))
	for _, w := range want {
		if code == w {
			c["refused"].Add(1)
			return
		}
	}
	c["not refused"].Add(1)
	r.note("not refused: %s returned %v", what, err)
}

func (r *run) refuseSettles(c counters, s, other messaging.Subscriber, ds []*messaging.Delivery) {
	ctx := r.ctx
	zero, copied := &messaging.Delivery{}, *ds[0]
	copied.Raw = "not yours"
	for name, d := range map[string]*messaging.Delivery{"a nil delivery": nil, "a delivery of nobody": zero, "a delivery with another Raw": &copied} {
		r.refuses(c, "done with "+name, guarded(func() error { return inner(s).done(ctx, d) }), Other)
		r.refuses(c, "release of "+name, guarded(func() error { return inner(s).inner.Release(ctx, d) }), Other)
	}
	r.refuses(c, "done with another subscriber's delivery", guarded(func() error { return inner(other).done(ctx, ds[0]) }), Other, LostError)
	if q, ok := s.(*queue); ok {
		if err := q.Ack(ctx, ds[0]); err != nil {
			r.note("not refused: Ack returned %v", err)
			c["not refused"].Add(1)
		}
		r.refuses(c, "a second Ack", q.Ack(ctx, ds[0]), LostError)
		r.refuses(c, "a Nack after an Ack", q.Nack(ctx, 0, ds[0]), LostError)
		r.refuses(c, "a Release after an Ack", q.Release(ctx, ds[0]), LostError)
	}
}

// done settles without a record, for deliveries that are none.
func (s *subscriber) done(ctx context.Context, d *messaging.Delivery) error {
	if q, ok := s.inner.(messaging.QueueSubscriber); ok && (d == nil || d.Partition == "") {
		return q.Ack(ctx, d)
	}
	return s.inner.(messaging.StreamSubscriber).Commit(ctx, d)
}

// secret is a password that no error may contain.
const secret = "s3cret-Passw0rd"

func (r *run) refuseURLs(c counters) {
	for name, value := range map[string]string{"no-such-parameter": secret, "inflight": "many", "create": "perhaps", "timeout": "-1s"} {
		u, err := r.target.address(r.channel, false, params("group", groupFor(r), name, value))
		if err != nil {
			r.fail("the target's URL: %w", err)
		}
		err = guarded(func() error {
			if r.flavour == ForQueue {
				q, err := r.target.Backend.(messaging.QueueBackend).OpenQueue(r.ctx, u)
				if err == nil {
					_ = q.Close()
				}
				return err
			}
			s, err := r.target.Backend.(messaging.StreamBackend).OpenStream(r.ctx, u)
			if err == nil {
				_ = s.Close()
			}
			return err
		})
		r.refuses(c, "opening with "+name+"="+value, err, Other)
		if err != nil && strings.Contains(err.Error(), secret) {
			c["not refused"].Add(1)
			r.note("not refused: the error of opening with %s quotes its value", name)
		}
	}
}

// refuseSecondReceiver calls Receive beside a Receive of a stream.
func (r *run) refuseSecondReceiver(c counters) {
	if r.flavour != ForStream {
		return
	}
	s := r.subscriber(open{channel: r.channel + "-empty"})
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation)
	defer cancel()
	ended := make(chan error, 2)
	for range 2 {
		r.wg.Go(func() {
			_, err := s.Receive(ctx, 1)
			ended <- err
		})
	}
	err := <-ended // one of them has to wait, and the other not
	r.refuses(c, "a second Receive of a stream", err, Other)
	cancel()
	<-ended
}
