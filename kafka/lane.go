package kafka

import (
	"sync"
)

// What stands for an id that is to be had from the broker.
const (
	noID   = -1
	usedUp = -2 // not the one that the lanes share: it has no more epochs here
)

// lane is the way of messages to one partition: batches that go one after the
// other, so that a retry neither reorders nor duplicates. While one is under
// way, the next fills: that is all the lingering there is.
type lane struct {
	p         *publisher
	partition int32

	mu       sync.Mutex
	waiting  []*batch // to be sent, the last one may take more
	inFlight *batch   // sent or to be sent again; no other goes before its outcome is known
	onWire   bool     // a request with it is under way
	queued   bool     // in a sender's list, or with the mender
	who      identity // of the next batch; id below 0 for none yet
	last     error    // why the latest attempt failed; nil when it did not
}

// room returns a batch that takes a message of that size: the last one, or a
// new one. mu is held.
func (l *lane) room(size int) *batch {
	if n := len(l.waiting); n > 0 {
		if b := l.waiting[n-1]; !b.stamped && b.wire == nil && len(b.buf)+size <= l.p.batchBytes() {
			return b
		}
	}
	b := newBatch()
	l.waiting = append(l.waiting, b)
	return b
}

// kick has the lane's next batch sent, unless that is arranged already.
func (l *lane) kick() {
	l.mu.Lock()
	idle := !l.queued && (l.inFlight != nil || len(l.waiting) > 0)
	l.queued = l.queued || idle
	l.mu.Unlock()
	if idle {
		l.p.schedule(l)
	}
}

// next returns the batch to be sent now, stamped, or nil when there is none.
// A lane without an identity has need of one first.
func (l *lane) next() (b *batch, needsIdentity bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		b := l.head()
		switch {
		case b == nil:
			l.queued = false
			return nil, false
		case b.unknown && b.waiters == 0:
			l.abandon(errGaveUp)
			continue
		case !b.unknown && !b.prune():
			l.refused(nil) // nobody waits for it
			continue
		case l.who.id < 0:
			return nil, true
		}
		if !b.stamped {
			if err := b.stamp(l.who, &l.p.packer); err != nil {
				l.refused(err)
				continue
			}
		}
		b.tries++
		l.onWire = true
		return b, false
	}
}

// head returns the batch under way, if need be by taking the next one. mu is
// held.
func (l *lane) head() *batch {
	if l.inFlight == nil && len(l.waiting) > 0 {
		l.inFlight = l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		l.p.rotate(l.partition)
	}
	return l.inFlight
}

// abandon gives up the batch under way, of which nobody knows whether it is
// stored. The partition goes on with the next epoch, so that the broker refuses
// the batch if it should still arrive. mu is held.
func (l *lane) abandon(why error) {
	b := l.inFlight
	l.inFlight = nil
	l.renew()
	b.finish(uncertain(why))
}

// renew makes the lane begin anew at sequence 0, under the next epoch, or when
// there are no more, under another id. The broker keeps epochs and sequences by
// partition, so the other lanes are not concerned. mu is held.
func (l *lane) renew() {
	const lastEpoch = 1<<15 - 1
	if l.who.epoch == lastEpoch {
		l.who = identity{id: usedUp}
		return
	}
	l.who = identity{id: l.who.id, epoch: l.who.epoch + 1}
}

// stored is the end of the batch under way: the broker has it. mu is held.
func (l *lane) stored() {
	b := l.inFlight
	l.inFlight, l.last = nil, nil
	l.who.sequence = nextSequence(l.who.sequence, b.n)
	b.finish(nil)
}

// refused is the end of the batch under way: the broker does not have it, and
// its sequence is the next batch's. mu is held.
func (l *lane) refused(err error) {
	b := l.inFlight
	l.inFlight = nil
	b.finish(err)
}

// halve puts two halves in the place of the batch under way, which is too large
// for the topic and not stored. mu is held.
func (l *lane) halve() {
	b := l.inFlight
	l.inFlight = nil
	left, right := b.split()
	l.waiting = append([]*batch{left, right}, l.waiting...)
	left.wire, right.wire = nil, nil
	b.finish(nil)
}

// nextSequence wraps around behind 2147483647.
func nextSequence(sequence int32, n int) int32 {
	return int32((int64(sequence) + int64(n)) & (1<<31 - 1))
}
