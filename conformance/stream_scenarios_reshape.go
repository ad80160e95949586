package conformance

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// Scenarios in which the stream itself changes: partitions are added or split,
// and retention removes what was not read.

// change records a change of the run's channel around f.
func (r *run) change(e Event, f func() error) {
	e.Kind, e.Phase, e.Call = Fault, Invoke, r.call()
	r.add(e)
	if err := f(); err != nil {
		r.fail("%s: %w", e.Text, err)
	}
	e.Phase = OK
	r.add(e)
}

func (r *run) addPartitions(n int) {
	r.change(Event{Text: faultAdd, Max: n}, func() error { return r.target.AddPartitions(r.ctx, r.channel, n) })
}

func (r *run) split(partition string) {
	r.change(Event{Text: faultSplit, Partition: partition}, func() error { return r.target.Split(r.ctx, r.channel, partition) })
}

func (r *run) trim(partition string, before messaging.Offset) {
	r.change(Event{Text: faultTrim, Partition: partition, Offset: string(before)}, func() error {
		return r.target.Trim(r.ctx, r.channel, partition, before)
	})
}

// driveStreamAdded adds partitions while two groups read, of which one starts
// at the latest and loses its first member before anybody has committed.
func driveStreamAdded(r *run) {
	const each = 500
	early, late := r.flow(), r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	r.feed(p, r.rng, each, 10, shape{keys: 50, size: 20}, early)
	first := r.member(late, 1, "group", "late", "start", "latest")
	a := r.member(early, 2, "group", "early").work(habits{keep: 5, idle: time.Second})
	for range 2 {
		r.addPartitions(2)
		r.feed(p, r.rng, each, 10, shape{keys: 50, size: 20}, early, late)
	}
	first.gather(20)
	first.leave()
	b := r.member(late, 3, "group", "late", "start", "latest").work(habits{keep: 5, idle: time.Second})
	c := r.member(early, 4, "group", "early").work(habits{keep: 5, idle: time.Second})
	r.addPartitions(1)
	r.feed(p, r.rng, each, 10, shape{size: 20}, early, late)
	late.await(0, r.patience())
	early.drain()
	for _, m := range []*member{a, b, c} {
		m.leave()
	}
	r.replay(5, "end", "now")
}

// driveStreamSplit splits partitions, and some that came of that, while a
// group and a reader alone read. The first ones are split before anybody has
// read them to their end.
func driveStreamSplit(r *run) {
	const each = 500
	fl, other := r.flow(), r.flow()
	p := must[*publisher](r)(r.publisher(open{}))
	split := map[string]bool{}
	feed := func() {
		r.feed(p, r.rng, each, 10, shape{keys: 80, size: 20}, fl, other)
		for range 2 {
			if of := r.unsplit(split); of != "" {
				split[of] = true
				r.split(of)
			}
		}
	}
	r.feed(p, r.rng, each, 10, shape{keys: 80, size: 20}, fl, other)
	r.replay(1, "end", "now")
	feed()
	alone := r.member(other, 2).work(habits{keep: 5, idle: time.Second})
	a := r.member(fl, 3, "group", "g").work(habits{keep: 20, idle: time.Second})
	feed()
	fl.await(each/2, r.patience())
	b := r.member(fl, 4, "group", "g").work(habits{keep: 20, idle: time.Second})
	r.feed(p, r.rng, each, 10, shape{keys: 80, size: 20}, fl, other)
	other.await(0, r.patience())
	fl.drain()
	for _, m := range []*member{a, b, alone} {
		m.leave()
	}
	r.replay(5, "end", "now")
}

// unsplit returns a partition that was delivered from and is not split, or "":
// the one whose delivery is the latest of which that is so.
func (r *run) unsplit(split map[string]bool) string {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	for i := len(r.events) - 1; i >= 0; i-- {
		if e := &r.events[i]; e.Kind == Deliver && e.Partition != "" && !split[e.Partition] {
			return e.Partition
		}
	}
	return ""
}

// driveStreamTrim removes what was not read yet: of readers alone, of a group
// that skips it, and of one that does not.
func driveStreamTrim(r *run) {
	const messages = 800
	p := must[*publisher](r)(r.publisher(open{}))
	r.feed(p, r.rng, messages, 10, shape{size: 20})
	r.replay(1, "end", "now")
	// Windows keep readers from being ahead of what is removed.
	var readers []*member
	for i, pairs := range [][]string{{}, {"trimmed", "skip"}, {"group", "strict"}, {"group", "skips", "trimmed", "skip"}} {
		m := r.member(r.flow(), 10+i, append(pairs, "inflight", "10")...)
		m.gather(15)
		_ = m.commit(m.some(2))
		readers = append(readers, m)
	}
	for i, log := range r.places() {
		m := r.member(r.flow(), 20+i, "partition", log.partition, "inflight", "10")
		m.gather(5)
		_ = m.commit(none)
		readers = append(readers, m)
	}
	for _, log := range r.places() {
		r.trim(log.partition, log.offsets[len(log.offsets)/2])
	}
	for _, m := range readers {
		m.exhaust()
		m.leave()
	}
	// A group that was told reads on where it chooses to.
	m := r.member(r.flow(), 19, "group", "strict", "trimmed", "skip")
	m.exhaust()
	m.leave()
	for i := range 3 { // what begins behind it is not told anything
		r.replay(30+i, "end", "now")
	}
}

// known is a partition and the offsets that were delivered from it.
type known struct {
	partition string
	offsets   []messaging.Offset
}

// places returns the partitions of the run's channel, with the offsets that a
// first full reading was delivered, in order.
func (r *run) places() []*known {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	var all []*known
	byName := map[string]*known{}
	for i := range r.events {
		e := &r.events[i]
		if e.Kind != Deliver || e.Partition == "" {
			continue
		}
		k := byName[e.Partition]
		if k == nil {
			k = &known{partition: e.Partition}
			byName[e.Partition] = k
			all = append(all, k)
		}
		if n, o := len(k.offsets), messaging.Offset(e.Offset); n == 0 || k.offsets[n-1].Compare(o) < 0 {
			k.offsets = append(k.offsets, o)
		}
	}
	return all
}
