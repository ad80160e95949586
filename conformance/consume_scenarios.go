package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// consumeScenarios are the runs for consumeRules.
func consumeScenarios() []*scenario {
	crashes := func(t *Target) string { return missing(t.Crash == nil, "it cannot crash a subscriber") }
	freezes := func(t *Target) string { return missing(t.Freeze == nil, "it cannot freeze a subscriber") }
	loses := func(t *Target) string { return missing(t.Faults["F3"] == nil, "it cannot lose replies") }
	return []*scenario{
		{name: "handlers", flavour: ForQueue, fault: "none", rules: []string{"P01", "Q13", "Q14", "S14", "L01"}, drive: driveHandlersOfQueues},
		{name: "handlers", flavour: ForStream, fault: "none", rules: []string{"P01", "S06", "S09", "S14", "S15", "L01"}, drive: driveHandlersOfStreams},
		{name: "once", flavour: ForBoth, fault: "none", rules: []string{"Q02"}, drive: func(r *run) { driveOnce(r, 2200, "") }},
		{name: "once-uncertain", flavour: ForBoth, fault: "F3", rules: []string{"Q02"}, needs: loses, drive: func(r *run) { driveOnce(r, 1500, "F3") }},
		{name: "once-crash", flavour: ForBoth, fault: "F8", rules: []string{"Q02"}, needs: crashes, drive: driveOnceCrash},
		{name: "handover", flavour: ForStream, fault: "F10", rules: []string{"S06", "S08", "S14", "S17"}, drive: driveHandOver},
		{name: "drain", flavour: ForBoth, fault: "none", rules: []string{"P01", "L03"}, drive: driveDrain},
		{name: "grace", flavour: ForBoth, fault: "F11", rules: []string{"L04"}, drive: driveGrace},
		{name: "letters-fail", flavour: ForQueue, fault: "F14", rules: []string{"Q14"}, drive: driveLettersFail},
		{name: "lost-handlers", flavour: ForBoth, fault: "F9", rules: []string{"Q07"}, needs: freezes, drive: driveLostHandlers},
	}
}

func missing(yes bool, why string) string {
	if yes {
		return why
	}
	return ""
}

// plan is what the handlers of one message do.
type plan struct {
	fails  int // so many attempts, then it succeeds
	reject bool
	panics bool // when it fails
}

// often is more attempts than anybody makes.
const often = 1 << 30

// plans are errors now and then, poison, and what is rejected.
func plans(n int) plan {
	switch {
	case n%10 == 1:
		return plan{fails: often, panics: n%20 == 1}
	case n%16 == 2:
		return plan{reject: true}
	case n%9 == 3:
		return plan{fails: 1, panics: n%18 == 3}
	}
	return plan{}
}

// work is what the handlers of one group do, and have done.
type work struct {
	r     *run
	plan  func(n int) plan // nil: everything succeeds
	takes time.Duration    // of a handler, at most

	mu    sync.Mutex
	rng   *rand.Rand
	tries map[int]int
	done  map[int]bool
	begun int
	moved chan struct{} // closed and made anew when one more is done or begun
}

func (r *run) work(seed int, takes time.Duration, plan func(int) plan) *work {
	return &work{r: r, plan: plan, takes: takes, rng: r.random(seed), tries: map[int]int{}, done: map[int]bool{}, moved: make(chan struct{})}
}

func (w *work) handle(ctx context.Context, d *messaging.Delivery) error {
	w.r.recorder.mu.Lock()
	n, _ := w.r.identify(d.Message)
	w.r.recorder.mu.Unlock()
	w.mu.Lock()
	w.tries[n]++
	try, takes := w.tries[n], time.Duration(w.rng.Int64N(int64(w.takes)+1))
	w.begun++
	w.tell()
	w.mu.Unlock()
	if takes > 0 {
		t := time.NewTimer(takes)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var p plan
	if w.plan != nil {
		p = w.plan(n)
	}
	switch {
	case p.reject:
		return fmt.Errorf("message %d: %w", n, messaging.Reject(errRejected))
	case try <= p.fails && p.panics:
		panic("the scenario's handler panics")
	case try <= p.fails:
		return errors.New("the scenario's handler fails")
	}
	w.finish(n)
	return nil
}

// finish counts a message as done: handled, or in the dead letters.
func (w *work) finish(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[n] = true
	w.tell()
}

func (w *work) tell() {
	close(w.moved)
	w.moved = make(chan struct{})
}

// wait waits until holds, which is called with mu held, for at most limit
// without anything moving, and says whether it came to hold.
func (w *work) wait(limit time.Duration, holds func() bool) bool {
	for {
		w.mu.Lock()
		ok, moved := holds(), w.moved
		w.mu.Unlock()
		if ok {
			return true
		}
		t := time.NewTimer(limit)
		select {
		case <-moved:
			t.Stop()
		case <-t.C:
			return false
		case <-w.r.ctx.Done():
			t.Stop()
			return false
		}
	}
}

// all waits until so many messages are done. What is missing then is for the
// rules to tell.
func (w *work) all(n int) {
	if !w.wait(w.r.limit(), func() bool { return len(w.done) >= n }) {
		w.r.note("only %d of %d messages were done", len(w.done), n)
	}
}

// limit is how long nothing may move before a scenario gives up waiting.
func (r *run) limit() time.Duration { return 2*time.Minute + r.patience() + r.timing.Reconnect }

// subscriber opens a subscriber of the run's flavour.
func (r *run) subscriber(o open) messaging.Subscriber {
	if r.flavour == ForQueue {
		return must[*queue](r)(r.queue(o))
	}
	if o.params.Get("group") == "" {
		o.params = params("group", "g")
	}
	return must[*stream](r)(r.stream(o))
}

// inner returns what s records.
func inner(s messaging.Subscriber) *subscriber {
	if q, ok := s.(*queue); ok {
		return &q.subscriber
	}
	return &s.(*stream).subscriber
}

// publishAll publishes n messages in calls of up to 20.
func (r *run) publishAll(channel string, ordered bool, seed, n int, s shape) {
	p := must[*publisher](r)(r.publisher(open{channel: channel, ordered: ordered}))
	for rng := r.random(seed); n > 0; {
		batch := min(1+rng.IntN(20), n)
		n -= batch
		if err := r.publish(p, rng, batch, s); err != nil {
			r.note("publish: %v", err)
		}
	}
}

// letters returns a DeadLetter of its own for a consumer.
func (r *run) letters(s messaging.Subscriber, p *publisher, w *work, fails func() error) *letters {
	return &letters{r: r, n: sessionOf(s), inner: p.Publisher, fails: fails, taken: w.finish}
}

func soon(int, error) time.Duration { return 10 * time.Millisecond }

// driveHandlersOfQueues has two consumers work on an unordered queue, and two
// on one that keeps the order of keys.
func driveHandlersOfQueues(r *run) {
	dead := must[*publisher](r)(r.publisher(open{channel: r.channel + "-dead"}))
	queues := []struct {
		ordered  bool
		messages int
	}{{false, 3500}, {true, 2400}}
	for i, q := range queues {
		if q.ordered && r.target.Ordered == nil {
			continue
		}
		channel := r.channel + "-" + strconv.Itoa(i)
		w := r.work(i, 5*time.Millisecond, plans)
		var consumers []*consuming
		for range 2 {
			s := r.subscriber(open{channel: channel, ordered: q.ordered})
			if s.Capabilities().Order == messaging.Unordered {
				r.tryStricter(s, messaging.OrderedByKey)
			}
			consumers = append(consumers, r.consumes(s, w.handle, &messaging.ConsumeOptions{Concurrency: 4, MaxAttempts: 3, DeadLetter: r.letters(s, dead, w, nil), Backoff: soon}))
		}
		r.publishAll(channel, q.ordered, 100+i, q.messages, shape{keys: 30, size: 50})
		w.all(q.messages)
		for _, c := range consumers {
			_ = c.end(r.limit())
		}
	}
}

// tryStricter asks Consume for an order that s does not claim.
func (r *run) tryStricter(s messaging.Subscriber, order messaging.Order) {
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation)
	defer cancel()
	err := guarded(func() error {
		return r.consume(ctx, s, func(context.Context, *messaging.Delivery) error { return nil }, &messaging.ConsumeOptions{Order: order})
	})
	refused := int64(0)
	if errors.Is(err, errors.ErrUnsupported) {
		refused = 1
	}
	r.fact("stricter order", refused)
}

// driveHandlersOfStreams has three groups read one stream, each in another
// order.
func driveHandlersOfStreams(r *run) {
	const messages = 3500
	dead := must[*publisher](r)(r.publisher(open{channel: r.channel + "-dead"}))
	var consumers []*consuming
	var works []*work
	for i, order := range []messaging.Order{0, messaging.OrderedByKey, messaging.Unordered} {
		w := r.work(i, 5*time.Millisecond, plans)
		s := r.subscriber(open{params: params("group", "g"+strconv.Itoa(i))})
		consumers = append(consumers, r.consumes(s, w.handle, &messaging.ConsumeOptions{Concurrency: 4, Order: order, MaxAttempts: 3, DeadLetter: r.letters(s, dead, w, nil), Backoff: soon}))
		works = append(works, w)
	}
	r.publishAll("", false, 100, messages, shape{keys: 30, size: 50})
	for i, w := range works {
		w.all(messages)
		_ = consumers[i].end(r.limit())
	}
}

// driveOnce has two consumers work at most once, under a fault or none.
func driveOnce(r *run, messages int, fault string) {
	w := r.work(0, 2*time.Millisecond, func(n int) plan { return plan{fails: n % 2} })
	if r.flavour == ForQueue {
		r.redeliver(100)
	}
	var consumers []*consuming
	for range 2 {
		consumers = append(consumers, r.consumes(r.subscriber(open{}), w.handle, &messaging.ConsumeOptions{Concurrency: 1 + len(consumers)*3, Semantics: messaging.AtMostOnce}))
	}
	heal := func() {}
	if fault != "" {
		heal = r.inject(fault)
	}
	r.publishAll("", false, 100, messages, shape{keys: 30})
	w.wait(time.Minute, func() bool { return w.begun >= messages })
	heal()
	w.wait(r.limit(), func() bool { return w.begun >= messages })
	for _, c := range consumers {
		_ = c.end(r.limit())
	}
}

// redeliver leaves n messages in the run's queue that have been delivered
// before.
func (r *run) redeliver(n int) {
	q := must[*queue](r)(r.queue(open{}))
	// A broker may have sent ahead as much as its window allows.
	defer func() { _ = q.Close() }()
	r.publishAll("", false, 99, n, shape{})
	ctx, cancel := context.WithTimeout(r.ctx, r.limit())
	defer cancel()
	for n > 0 {
		ds, err := q.Receive(ctx, n)
		if err != nil {
			r.fail("receive what is to come again: %w", err)
		}
		n -= len(ds)
		defer func() { _ = q.Nack(ctx, 0, ds...) }()
	}
}

// driveOnceCrash crashes consumers that work at most once.
func driveOnceCrash(r *run) {
	const messages, crashes = 1800, 25
	w := r.work(0, 2*time.Millisecond, nil)
	// What a broker sent ahead to one that crashed has been delivered, too.
	o := open{params: params("inflight", "3")}
	if r.flavour == ForStream {
		o = open{}
	}
	first := r.subscriber(o)
	r.publishAll("", false, 100, messages, shape{keys: 30})
	for i := range crashes + 1 {
		s := first
		if i > 0 {
			s = r.subscriber(o)
		}
		c := r.consumes(s, w.handle, &messaging.ConsumeOptions{Concurrency: 3, Semantics: messaging.AtMostOnce})
		goal, limit := messages, r.patience()+r.timing.Operation // not all of them: crashes lose some
		if i < crashes {
			goal, limit = (i+1)*messages/(crashes+2), r.limit()
		}
		w.wait(limit, func() bool { return w.begun >= goal })
		if i < crashes {
			r.crash(inner(s))
		}
		_ = c.end(r.limit())
	}
}

// driveHandOver has members of a group come and go in order.
func driveHandOver(r *run) {
	const messages = 2500
	w := r.work(0, 40*time.Millisecond, nil)
	var stay []*consuming
	join := func(seed int) (*consuming, messaging.Subscriber) {
		s := r.subscriber(open{})
		order := []messaging.Order{messaging.Ordered, messaging.OrderedByKey}[seed%2]
		return r.consumes(s, w.handle, &messaging.ConsumeOptions{Concurrency: 4, Order: order}), s
	}
	// One stays, so that it has to give away half of its partitions to each
	// that comes.
	c, _ := join(0)
	stay = append(stay, c)
	var wg crew
	wg.Go(func() { r.publishAll("", false, 100, messages, shape{keys: 30}) })
	rng := r.random(5)
	for i := 0; ; i++ {
		c, s := join(i + 1)
		goal := 0
		stays := w.wait(r.limit(), func() bool {
			if goal == 0 {
				goal = min(messages, w.begun+20+rng.IntN(100))
			}
			return w.begun >= goal
		})
		_ = c.end(r.limit())
		_ = s.Close()
		if !stays || goal >= messages {
			break
		}
		// The one that stays begins on what it got back, so that it has
		// something in hand when the next one comes.
		goal = 0
		w.wait(r.limit(), func() bool {
			if goal == 0 {
				goal = min(messages, w.begun+20)
			}
			return w.begun >= goal
		})
	}
	wg.Wait()
	w.all(messages)
	for _, c := range stay {
		_ = c.end(r.limit())
	}
}

// driveDrain ends Consumes in the middle of a burst, again and again.
func driveDrain(r *run) {
	const rounds, burst = 45, 25
	w := r.work(0, 50*time.Millisecond, func(n int) plan { return plan{fails: n % 2} })
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	for i := range rounds + 1 {
		s := r.subscriber(open{})
		if i < rounds {
			_ = r.publish(p, rng, burst, shape{keys: 10})
		}
		c := r.consumes(s, w.handle, &messaging.ConsumeOptions{Concurrency: 3, Order: messaging.Order(rng.IntN(2)), Backoff: soon})
		if i < rounds {
			goal := 0
			w.wait(r.limit(), func() bool {
				if goal == 0 {
					goal = w.begun + 3 + rng.IntN(8)
				}
				return w.begun >= goal
			})
		} else {
			w.all(rounds * burst)
		}
		_ = c.end(r.limit())
		_ = s.Close()
	}
}

// driveGrace ends Consumes whose handlers take longer than Grace.
func driveGrace(r *run) {
	const rounds, grace = 20, 2 * time.Second
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	w := r.work(0, 0, nil)
	release := make(chan struct{})
	for i := range rounds {
		_ = r.publish(p, rng, 12, shape{})
		s := r.subscriber(open{})
		stubborn := i%5 == 4
		c := r.consumes(s, func(ctx context.Context, d *messaging.Delivery) error {
			w.mu.Lock()
			w.begun++
			first := w.begun%3 == 0
			w.tell()
			w.mu.Unlock()
			if stubborn && first {
				<-release
				return nil
			}
			select {
			case <-ctx.Done():
			case <-r.ctx.Done(): // a Consume that never ends it
			}
			return ctx.Err()
		}, &messaging.ConsumeOptions{Concurrency: 3, Grace: grace, Order: messaging.Unordered})
		goal := 0
		w.wait(r.limit(), func() bool {
			if goal == 0 {
				goal = w.begun/3*3 + 3
			}
			return w.begun >= goal
		})
		_ = c.end(r.limit())
		_ = s.Close()
	}
	close(release)
	// What was given back is delivered once more, to compare its attempts.
	s := r.subscriber(open{})
	last := r.work(0, 0, nil)
	c := r.consumes(s, last.handle, &messaging.ConsumeOptions{Concurrency: 4})
	last.wait(r.limit(), func() bool { return len(last.done) >= rounds*12 })
	_ = c.end(r.limit())
}

// driveLettersFail has the dead letters fail, and Consumes end meanwhile.
func driveLettersFail(r *run) {
	const messages = 200
	dead := must[*publisher](r)(r.publisher(open{channel: r.channel + "-dead"}))
	w := r.work(0, time.Millisecond, func(int) plan { return plan{reject: true} })
	refused := 0 // guarded by w.mu
	broken := errors.New("the dead letters fail")
	first := r.subscriber(open{})
	r.publishAll("", false, 100, messages, shape{keys: 10})
	for i := range 4 {
		s := first
		if i > 0 {
			s = r.subscriber(open{})
		}
		fails := func() error {
			if i == 3 {
				return nil
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			refused++
			w.tell()
			return broken
		}
		c := r.consumes(s, w.handle, &messaging.ConsumeOptions{Concurrency: 4, MaxAttempts: 3, DeadLetter: r.letters(s, dead, w, fails), Grace: time.Second})
		if i < 3 {
			w.wait(r.limit(), func() bool { return refused >= (i+1)*150 })
		} else {
			w.all(messages)
		}
		_ = c.end(r.limit())
		_ = s.Close()
	}
}

// driveLostHandlers freezes members until their leases are lost, with
// handlers that wait for their contexts.
func driveLostHandlers(r *run) {
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	w := r.work(0, 0, nil)
	for range 8 {
		s := r.subscriber(open{})
		_ = r.publish(p, rng, 24, shape{})
		c := r.consumes(s, func(ctx context.Context, d *messaging.Delivery) error {
			w.mu.Lock()
			w.begun++
			w.tell()
			w.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-r.ctx.Done(): // a Consume that never ends it
			}
			return ctx.Err()
		}, &messaging.ConsumeOptions{Concurrency: 4, Order: messaging.Unordered, Grace: time.Second})
		goal := 0
		w.wait(r.limit(), func() bool {
			if goal == 0 {
				goal = w.begun + 4
			}
			return w.begun >= goal
		})
		thaw := r.freeze(inner(s))
		r.pause(r.lease(s.Capabilities()) + r.timing.Session)
		thaw()
		r.pause(r.timing.Operation)
		_ = c.end(r.limit())
		_ = s.Close()
	}
}
