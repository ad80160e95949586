package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/fa5182d2/messaging"
)

// publishScenarios are those that P rules are judged by.
func publishScenarios() []*scenario {
	return []*scenario{
		{
			name: "load", flavour: ForBoth, fault: "none", drive: driveLoad,
			rules: []string{"P01", "P03", "P06", "P08a", "P11", "P12"},
		},
		{
			name: "bulks", flavour: ForQueue, fault: "none", drive: driveBulks,
			rules: []string{"P01", "P03", "P06"},
		},
		{
			name: "refused-beside", flavour: ForBoth, fault: "none", drive: driveRefusedBeside,
			rules: []string{"P01", "P03", "P04", "P07", "P12"},
		},
		{
			name: "publish-in-order", flavour: ForQueue, fault: "none", drive: driveInOrder, needs: needsOrderOfKeys,
			rules: []string{"P09"},
		},
		{
			name: "publish-in-order", flavour: ForStream, fault: "none", drive: driveInOrder,
			rules: []string{"P09"},
		},
		{
			name: "missing", flavour: ForBoth, fault: "none", drive: driveMissing,
			rules: []string{"P02"},
		},
		{
			name: "deleted", flavour: ForBoth, fault: "none", drive: driveDeleted, needs: func(t *Target) string { return hook(t.Delete != nil, "delete a channel") },
			rules: []string{"P02", "P04"},
		},
		{
			name: "publishers-close", flavour: ForBoth, fault: "none", drive: drivePublishersClose,
			rules: []string{"P03", "P04", "P10"},
		},
		{
			name: "publish-replies", flavour: ForBoth, fault: "F3", drive: drivePublishReplies, needs: needsFault("F3"),
			rules: []string{"P01", "P03", "P04", "P08a", "P09", "P11"},
		},
		{
			name: "publish-in-order", flavour: ForQueue, fault: "F3", drive: driveInOrderReplies, needs: needsOrderedReplies,
			rules: []string{"P09"},
		},
		{
			name: "same-id", flavour: ForBoth, fault: "F3", drive: driveSameID, needs: needsDedup,
			rules: []string{"P08b"},
		},
		{
			name: "publish-paused", flavour: ForBoth, fault: "F6", drive: drivePublishPaused, needs: func(t *Target) string { return hook(t.Pause != nil, "pause the broker") },
			rules: []string{"P01", "P04", "P05", "P10"},
		},
		{
			name: "holders-crash", flavour: ForBoth, fault: "F8", drive: driveHoldersCrash, needs: needsCrash,
			rules: []string{"P03", "P06", "P11"},
		},
	}
}

func needsOrderOfKeys(t *Target) string {
	return missing(t.Ordered == nil, "it has no queue that promises OrderedByKey")
}

func needsOrderedReplies(t *Target) string {
	if why := needsFault("F3")(t); why != "" {
		return why
	}
	return needsOrderOfKeys(t)
}

func needsDedup(t *Target) string {
	if why := needsFault("F3")(t); why != "" {
		return why
	}
	return missing(t.Dedup == nil, "it has no channel that remembers ids")
}

// bulks are calls of as many messages as brokers know for a limit, and a call
// that every such limit cuts.
var bulks = []int{10, 500, 100, 1001}

// driveLoad has two publishers and two consumers work on one channel until it
// is empty, while another group gets the same and is quick about it, and a
// channel whose name begins in the same way has messages of its own. Some calls
// are large, by the number of messages or by their size.
func driveLoad(r *run) {
	const messages, beside = 4000, 200
	again := 50
	if r.flavour == ForStream {
		again = 85 // of batches, of which a part comes again
	}
	one, other, sibling := r.readings(), r.readings(), r.readings()
	one.keep, other.keep = 100*time.Millisecond, 0
	s, stopA := one.reader(10, again, open{})
	_, stopB := one.reader(11, again, open{})
	_, stopC := other.reader(12, 0, open{params: params("group", "other")})
	_, stopD := sibling.reader(13, 0, open{channel: r.channel + "-b"})
	var publishers crew
	publishers.failed = r.stop
	for i := range 2 {
		p := must[*publisher](r)(r.publisher(open{}))
		q := must[*publisher](r)(r.publisher(open{channel: r.channel + "-b"}))
		rng := r.random(i)
		publishers.Go(func() {
			for n := range messages / 2 / 100 {
				r.produce(p, rng, 100, 20, shape{keys: 60, size: 200, odd: true}, one, other)
				if n == 1 || n == 6 {
					r.large(p, rng, s, bulks[i*2+n/5], one, other)
				}
				one.await(400) // both are to work at the same time
			}
			r.produce(q, rng, beside/2, 20, shape{keys: 60, size: 20}, sibling)
		})
	}
	r.join(publishers.idle())
	for _, g := range []*readings{one, other, sibling} {
		g.drain()
	}
	for _, stop := range []func(){stopA, stopB, stopC, stopD} {
		stop()
	}
}

// large publishes so many messages in one call, as many bytes as the pages and
// the limits of brokers are long in another, and a few messages that are long
// themselves.
func (r *run) large(p *publisher, rng *rand.Rand, s messaging.Subscriber, n int, groups ...*readings) {
	long := 200_000
	if limit := s.Capabilities().MaxMessage; limit > 0 {
		long = min(long, limit/2)
	}
	for _, call := range []struct {
		messages int
		shape
	}{{n, shape{keys: 60, odd: true}}, {60, shape{keys: 60, size: 8000}}, {2, shape{size: long}}} {
		r.one(p, rng, call.messages, call.shape, groups...)
	}
}

// driveBulks publishes calls of half a megabyte to groups of which one is as
// quick as it can be, and the others begin to read when all is published: what
// the quick one is done with, others have still to get.
func driveBulks(r *run) {
	const calls, each = 8, 500
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	quick := r.unrecorded("quick")
	var reading crew
	reading.failed = r.stop
	reading.Go(func() { discard(ctx, quick) })
	var late []messaging.Subscriber
	var groups []*readings
	for i := range 3 {
		late = append(late, r.subscriber(open{params: params("group", "late-"+strconv.Itoa(i))}))
		groups = append(groups, r.readings())
	}
	p := must[*publisher](r)(r.publisher(open{}))
	for range calls {
		r.one(p, r.rng, r.size(each), shape{keys: 60, size: 2000}, groups...)
		r.pause(time.Millisecond) // the quick one waits again
	}
	for i, s := range late {
		reading.Go(func() { groups[i].read(ctx, s, r.random(20+i), 0) })
	}
	for _, g := range groups {
		g.drain()
	}
	cancel()
	r.join(reading.idle())
	for _, s := range late {
		_ = s.Close()
	}
}

// unrecorded opens a consumer of a group of which nothing is recorded:
// recording takes its time.
func (r *run) unrecorded(group string) messaging.QueueSubscriber {
	u, err := r.target.address(r.channel, false, params("group", group))
	if err != nil {
		r.fail("the target's URL: %w", err)
	}
	var q messaging.QueueSubscriber
	err = guarded(func() (err error) {
		q, err = r.target.Backend.(messaging.QueueBackend).OpenQueue(r.ctx, u)
		return err
	})
	if err == nil && isNil(q) {
		err = fmt.Errorf("%w: open returned nil and no error", errNonsense)
	}
	if err != nil {
		panic(failure{err: err})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opens = append(r.opens, q)
	return q
}

// discard receives and acknowledges until ctx ends, or something fails.
func discard(ctx context.Context, q messaging.QueueSubscriber) {
	for {
		var ds []*messaging.Delivery
		err := guarded(func() (err error) { ds, err = q.Receive(ctx, 10); return err })
		if err != nil || len(ds) == 0 {
			return
		}
		if err := guarded(func() error { return q.Ack(ctx, ds...) }); err != nil {
			return
		}
	}
}

// driveHoldersCrash crashes one consumer after the other, each with much in
// its hand that it has written to.
func driveHoldersCrash(r *run) {
	const crashes, each = 12, 200
	g := r.readings()
	s := r.subscriber(open{})
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	for range crashes {
		r.produce(p, rng, each, 20, shape{keys: 60, size: 100, odd: true}, g)
		g.hold(s, each)
		r.crash(inner(s))
		s = r.subscriber(open{})
	}
	_ = s.Close()
	_, stop := g.reader(2, 0, open{})
	g.drain()
	stop()
}

// hold receives until n messages are in hand, or nothing comes.
func (g *readings) hold(s messaging.Subscriber, n int) {
	for n > 0 {
		ctx, cancel := withTimeout(g.r, g.r.patience())
		ds, err := s.Receive(ctx, n)
		cancel()
		if err != nil {
			g.r.note("holding: %v", err)
			return
		}
		g.look(s, ds)
		n -= len(ds)
	}
}
