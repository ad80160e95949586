package conformance

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// faultMixed is the fault of a run in which those that the target can be given
// come by turns, several at once.
const faultMixed = "mixed"

// stormName is the scenario of all storms. No rule compares times in it.
const stormName = "storm"

// stormFaults are the faults that storms are driven under. F3 has scenarios of
// its own, F6 too; of a mixed storm they are a part.
func stormFaults() []string { return []string{"F1", "F2", "F4", "F5", "F7", faultMixed} }

// stormScenarios are the runs under faults of the network and of the broker's
// servers.
func stormScenarios() []*scenario {
	var all []*scenario
	for _, fault := range stormFaults() {
		needs := func(t *Target) string { return t.without(fault) }
		drive := func(r *run) { driveStorm(r, r.target.given(fault)) }
		all = append(all,
			&scenario{name: stormName, flavour: ForQueue, fault: fault, needs: needs, drive: drive, rules: stormRuleIDs(ForQueue, fault)},
			&scenario{name: stormName, flavour: ForStream, fault: fault, needs: needs, drive: drive, rules: stormRuleIDs(ForStream, fault)})
	}
	return all
}

// suffers says whether the target can be given a fault by inject.
func (t *Target) suffers(fault string) bool {
	return t.Faults[fault] != nil || t.Network != nil && slices.Contains(networkFaults(), fault)
}

// given returns the faults that a storm has: of a mixed one all that the
// target can be given, but that its leader moves, which is a matter of a
// cluster of its own.
func (t *Target) given(fault string) []string {
	if fault != faultMixed {
		return []string{fault}
	}
	var all []string
	for _, name := range networkFaults() {
		if t.suffers(name) {
			all = append(all, name)
		}
	}
	if t.Restart != nil {
		all = append(all, "F5")
	}
	if t.Pause != nil {
		all = append(all, "F6")
	}
	return all
}

// without says why there is no storm of a fault.
func (t *Target) without(fault string) string {
	switch {
	case t.Virtual:
		return "its broker is in this process, and a storm takes real time"
	case fault == "F5":
		return hook(t.Restart != nil, "kill the broker and start it again")
	case fault == "F7":
		return hook(t.MoveLeader != nil, "move a leader")
	case fault == faultMixed:
		return missing(len(t.given(fault)) < 2, "there are not two faults that it can be given")
	}
	return missing(!t.suffers(fault), "it can't be given a fault between client and broker: it has no Network")
}

// cut records that a fault is about to hit.
func (r *run) cut(fault string, connections int) {
	r.add(Event{Kind: Cut, Text: fault, Max: connections})
}

// tempest is a run of a storm.
type tempest struct {
	*run
	faults []string
	g      *readings
	taken  atomic.Int64 // messages
	hits   int          // of rounds with a fault
	over   context.Context
	counters
}

// How long a storm lasts: until there were so many rounds with a fault, fewer
// where a server is killed, which takes its time, and so many messages were
// taken, but not for longer than a number of rounds, nor when nothing works any
// more.
const (
	stormHits, stormKills      = 14, 7
	stormMessages, stormRounds = 2100, 60
	stormBroken                = 3
)

// stormCalm is how long a storm waits before it begins: a RabbitMQ 3.10.8 that
// is killed within some second of a quorum queue's declaration loses it, which
// is a matter of that broker, and of no backend.
const stormCalm = 3 * time.Second

// driveStorm has publishers and consumers work through a storm. Faults come and
// go: random ones of those that are given, or none, for a quarter of the time
// at least. After each, publishing and delivery have to go on. Then everything
// is healed, fresh clients drain the channel, and it has to be empty.
func driveStorm(r *run, faults []string) {
	t := &tempest{run: r, faults: faults, g: r.readings(), counters: r.counters("resumed", "not resumed")}
	defer r.facts(t.counters)
	t.g.keep = 20 * time.Millisecond
	o := r.grouped()
	var stops []func()
	for i := range 2 {
		stops = append(stops, t.consumer(10+i, o))
	}
	over, end := context.WithCancel(r.ctx)
	defer end()
	t.over = over
	var publishers crew
	publishers.failed = r.stop
	for i, retry := range []string{"", "none", "", "", "none"} {
		t.publisher(&publishers, i, retry)
	}
	t.blow(must[*publisher](r)(r.publisher(open{})))
	end()
	r.join(publishers.idle())
	for _, stop := range stops {
		stop()
	}
	_, stop := t.g.reader(20, 0, o) // fresh
	t.g.drain()
	r.fact(factDrained, 1)
	stop()
	if r.flavour == ForQueue {
		r.probe(o)
	}
}

// grouped is what is opened: of a stream, a group.
func (r *run) grouped() open {
	if r.flavour == ForStream {
		return open{params: params("group", "g")}
	}
	return open{}
}

// consumer has a new subscriber work until the function that it returns is
// called. On a queue it has several batches in hand at once, each for a while,
// so that a connection that is cut leaves it with deliveries of two: what it
// settles late belongs to the first.
func (t *tempest) consumer(seed int, o open) (stop func()) {
	if t.flavour == ForStream {
		_, stop := t.g.reader(seed, 10, o)
		return stop
	}
	q := must[*queue](t.run)(t.queue(o))
	ctx, cancel := context.WithCancel(t.ctx)
	busy := crew{failed: t.stop}
	busy.Go(func() {
		rng := t.random(seed)
		for ctx.Err() == nil {
			ds, err := q.Receive(ctx, 1+rng.IntN(20))
			if err != nil {
				return
			}
			numbers := t.g.look(q, ds)
			own := rand.New(rand.NewPCG(rng.Uint64(), 0))
			busy.Go(func() {
				t.run.pause(time.Duration(own.IntN(200)) * time.Millisecond)
				t.g.settleQueue(q, own, ds, numbers, 20)
				t.g.tell()
			})
		}
	})
	return func() {
		cancel()
		t.join(busy.idle())
		_ = q.Close()
	}
}

// publisher has a new publisher publish until the storm is over.
func (t *tempest) publisher(busy *crew, i int, retry string) {
	o := open{}
	if retry != "" {
		o.params = params("retry", retry)
	}
	p := must[*publisher](t.run)(t.run.publisher(o))
	rng := t.random(i)
	busy.Go(func() {
		for t.over.Err() == nil {
			numbers := t.messages(p, rng, 1+rng.IntN(10), shape{keys: 20, size: 100})
			ctx, cancel := t.bounded()
			if rng.IntN(8) == 0 {
				ctx, cancel = withTimeout(t.run, time.Duration(1+rng.IntN(30))*time.Millisecond)
			}
			err := p.publish(ctx, numbers)
			cancel()
			t.expected(numbers, err, t.g)
			for i := range numbers {
				if messaging.ErrorAt(err, i) == nil {
					t.taken.Add(1)
				}
			}
			// Neither what fails at once nor what is taken at once is to be a
			// busy loop, and the consumers are to come after.
			switch {
			case t.g.left() > 400 || t.taken.Load() > 2*stormMessages:
				t.run.pause(50 * time.Millisecond)
			default:
				t.run.pause(time.Duration(1+rng.IntN(10)) * time.Millisecond)
			}
		}
	})
}

// blow has the faults come and go.
func (t *tempest) blow(p *publisher) {
	rng := t.random(5)
	enough := stormHits
	if slices.Contains([]string{"F5", "F7"}, t.h.Fault) {
		enough = stormKills
	}
	t.run.pause(stormCalm)
	for round := 0; round < stormRounds && t.ctx.Err() == nil; round++ {
		if t.hits >= enough && t.taken.Load() >= stormMessages || t.counters["not resumed"].Load() >= stormBroken {
			return
		}
		some := t.choose(rng)
		if len(some) == 0 {
			t.run.pause(time.Duration(100+rng.IntN(400)) * time.Millisecond)
			continue
		}
		t.hits++
		if !t.weather(some, rng) {
			return
		}
		t.goesOnSoon(p, rng)
	}
}

// choose returns a random set of the faults that is not empty or, for a good
// quarter of the time, none.
func (t *tempest) choose(rng *rand.Rand) []string {
	if rng.IntN(10) < 3 {
		return nil
	}
	keep := rng.IntN(len(t.faults))
	var some []string
	for i, f := range t.faults {
		if i == keep || rng.IntN(2) == 0 {
			some = append(some, f)
		}
	}
	return some
}

// weather has faults for a while, and says whether the storm may go on.
func (t *tempest) weather(some []string, rng *rand.Rand) bool {
	var heals []func()
	for _, f := range some {
		switch f {
		case "F5":
			t.restart(rng)
		case "F6":
			heals = append(heals, t.stand())
		case "F7":
			heals = append(heals, t.moveLeader())
		default:
			heals = append(heals, t.inject(f))
		}
	}
	t.run.pause(time.Duration(200+rng.IntN(800)) * time.Millisecond)
	for _, heal := range slices.Backward(heals) {
		heal()
	}
	return t.ctx.Err() == nil
}

// restart kills the broker and starts it again.
func (t *tempest) restart(rng *rand.Rand) {
	t.run.pause(time.Duration(rng.IntN(300)) * time.Millisecond)
	end := t.fault("F5")
	t.cut("F5", 1)
	if err := t.target.Restart(t.ctx); err != nil {
		t.fail("restart the broker: %w", err)
	}
	end(1)
}

// stand has the broker stand still until resume is called.
func (t *tempest) stand() (resume func()) {
	end := t.fault("F6 among others")
	t.cut("F6", 1)
	stop, err := t.target.Pause(t.ctx)
	if err != nil {
		t.fail("pause the broker: %w", err)
	}
	return func() {
		stop()
		end(1)
	}
}

// moveLeader takes the leader down until back is called.
func (t *tempest) moveLeader() (back func()) {
	end := t.fault("F7")
	t.cut("F7", 1)
	restore, err := t.target.MoveLeader(t.ctx, t.channel)
	if err != nil {
		t.fail("move the leader: %w", err)
	}
	return func() {
		if err := restore(t.ctx); err != nil {
			t.fail("bring back the server that led: %w", err)
		}
		end(1)
	}
}

// goesOnSoon publishes after a fault and waits until a consumer has settled the
// message.
func (t *tempest) goesOnSoon(p *publisher, rng *rand.Rand) {
	began := time.Now()
	limit := t.timing.Reconnect + t.timing.Operation
	n := t.message(p, rng, shape{})
	ctx, cancel := context.WithTimeout(t.ctx, limit)
	defer cancel()
	if err := p.publish(ctx, []int{n}); err != nil {
		t.notResumed("publishing", began, err)
		return
	}
	t.g.expect(n)
	// It may stand behind many others: as long as those move, delivery goes on.
	for !t.g.has(n) && time.Since(began) < 3*limit {
		if !t.g.moved(limit) {
			t.notResumed("delivery", began, nil)
			return
		}
	}
	t.counters["resumed"].Add(1)
}

func (t *tempest) notResumed(what string, began time.Time, err error) {
	if t.ctx.Err() == nil {
		t.counters["not resumed"].Add(1)
		t.note("not resumed: %s, %v after the fault: %v", what, time.Since(began), err)
	}
}

// has says whether the group has settled a message.
func (g *readings) has(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.done[n] > 0
}
