package kafka

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/fa5182d2/messaging"
)

// What a subscriber may hold unsettled of a partition and in all.
const (
	mostPartitionBytes = 8 << 20
	mostStreamBytes    = 64 << 20
)

// assignment is a subscriber's hold on a partition, from when it was given to
// it to when it was taken away. The stream's mutex guards it, but for what says
// otherwise.
type assignment struct {
	lease     messaging.Lease
	s         *stream
	partition int32
	name      string

	committed int64 // all before it is done
	next      int64 // offset of the next delivery, at least
	reached   int64 // what lies below may have been delivered before
	end       int64 // nothing is delivered from here on; below 0 without end
	until     int64 // nor from the first record on that has this time, in milliseconds, or a later one
	sent      tally // all that was delivered and not set back
	settled   tally // of it, what is settled
	ending    bool  // nothing more is delivered
	over      bool  // lost
	failed    error // what Receive returns instead of its records
	bound     *time.Timer
	round     *round // the commit under way that has part of it

	passes []*pass // those of which something uncommitted counts, the current one last
	back   *Record // to where the Release under way sets it back

	ahead reading
	digits
}

// reading is what was fetched of a partition and not delivered.
type reading struct {
	chunks   []*chunk
	bytes    int
	at       int64 // where the next fetch begins
	turn     int   // set-backs: what was fetched before one is of no use
	busy     bool  // a fetch is under way
	touched  bool  // something was taken since the last fetch
	lookup   bool  // its offset is out of range, and why is being asked for
	unknown  bool  // what lies below the end may have been delivered to others
	failures int   // in a row
	retryAt  time.Time
}

// tally counts deliveries of an assignment: it is what windows are measured
// with, at no cost for what is outstanding.
type tally struct{ n, bytes int }

// pass is what an assignment delivered from one set-back to the next. The next
// ones made void what it delivered from until on.
type pass struct {
	a           *assignment
	from, until int64
}

// newAssignment makes the assignment of a partition that is read from an offset
// on.
func newAssignment(s *stream, partition int32, from int64) *assignment {
	a := &assignment{
		s: s, partition: partition, name: strconv.Itoa(int(partition)),
		committed: from, next: from, end: -1, until: math.MaxInt64, ahead: reading{at: from},
	}
	a.begin()
	return a
}

// begin begins a new pass.
func (a *assignment) begin() {
	a.passes = append(a.passes, &pass{a, a.next, math.MaxInt64})
}

// pass is the current one.
func (a *assignment) pass() *pass { return a.passes[len(a.passes)-1] }

// inHand is how many deliveries are unsettled.
func (a *assignment) inHand() int { return a.sent.n - a.settled.n }

// exhausted reports whether all was delivered that ever will be.
func (a *assignment) exhausted() bool { return a.end >= 0 && a.next >= a.end }

// collect adds up to most records to what the Receive under way returns.
func (a *assignment) collect(most int) error {
	if a.failed != nil {
		return a.failed
	}
	for n := 0; n < most && !a.ending && !a.exhausted(); {
		sec := a.section()
		if sec == nil || !a.fits(sec.peek()) {
			break
		}
		r, err := sec.next()
		switch {
		case err != nil:
			a.failed = fmt.Errorf("partition %s: %w", a.name, err)
			return a.failed
		case r.offset < a.next:
			continue
		case a.end >= 0 && r.offset >= a.end, r.time >= a.until:
			a.end = a.next
			return nil
		}
		if err := a.take(&r); err != nil {
			a.failed = fmt.Errorf("partition %s: %w", a.name, err)
			return a.failed
		}
		n++
	}
	return nil
}

// section returns the next one that has records, or nil. What it reads over
// was never to be delivered.
func (a *assignment) section() *section {
	for len(a.ahead.chunks) > 0 {
		c := a.ahead.chunks[0]
		for len(c.sections) > 0 && c.sections[0].n == 0 {
			c.sections = c.sections[1:]
		}
		if len(c.sections) > 0 {
			return &c.sections[0]
		}
		a.next = max(a.next, c.end)
		a.s.discard(a, c)
		a.ahead.chunks[0] = nil
		a.ahead.chunks = a.ahead.chunks[1:]
	}
	return nil
}

// take adds a record.
func (a *assignment) take(r *record) error {
	a.sent.n++
	a.sent.bytes += r.size
	a.s.bytes += r.size
	d, err := a.s.cut.deliver(a, r)
	if err != nil {
		a.sent.n--
		a.sent.bytes -= r.size
		a.s.bytes -= r.size
		return err
	}
	a.s.collected = append(a.s.collected, d)
	a.next = r.offset + 1
	a.reached = max(a.reached, a.next)
	return nil
}

// fits reports whether the windows allow one more delivery. They always allow
// one.
func (a *assignment) fits(size int) bool {
	n := a.inHand()
	return n == 0 || n < a.s.o.inflight &&
		a.sent.bytes-a.settled.bytes+size <= mostPartitionBytes &&
		a.s.bytes+size <= mostStreamBytes
}

// judge says what settling r comes to before the broker is asked: an error, or
// nil, which is final where done says so.
func (a *assignment) judge(r *Record) (done bool, err error) {
	switch {
	case a.over:
		return true, errMoved
	case r.Offset < a.committed:
		return true, nil
	case r.void():
		return true, errSetBack
	}
	return false, nil
}

// upTo is the offset to commit for r: the next one after it or, where nothing
// that was delivered lies behind it, after what was read over, too.
func (a *assignment) upTo(r *Record) int64 {
	if r.upTo == a.sent {
		return max(r.Offset+1, a.next)
	}
	return r.Offset + 1
}

// settle settles r and all before it: what lies below to is done.
func (a *assignment) settle(r *Record, to int64) {
	if a.over || r.Offset < a.committed {
		return
	}
	a.s.bytes -= r.upTo.bytes - a.settled.bytes
	a.settled = r.upTo
	a.advance(to)
}

// advance moves the committed offset.
func (a *assignment) advance(to int64) {
	a.committed = to
	for a.passes[0].until <= to {
		a.passes[0] = nil
		a.passes = a.passes[1:]
	}
}

// offer notes r as a place to set back to.
func (a *assignment) offer(r *Record) error {
	switch {
	case a.over:
		return errMoved
	case r.void():
		return errSetBack
	}
	if a.back == nil {
		a.s.backs = append(a.s.backs, a)
	}
	if a.back == nil || r.Offset < a.back.Offset {
		a.back = r
	}
	return nil
}

// setBack sets the assignment back to the earliest that was offered.
func (a *assignment) setBack() {
	r := a.back
	a.back = nil
	to, sent := a.committed, a.settled
	if r.Offset >= to {
		to, sent = r.Offset, tally{r.upTo.n - 1, r.upTo.bytes - r.size}
	}
	a.s.bytes -= a.sent.bytes - sent.bytes
	a.sent = sent
	a.seek(to)
	// Every pass ends where a later one begins, or before: those that begin
	// behind the place are void, and of the others only the last reaches it.
	for len(a.passes) > 0 {
		last := a.pass()
		last.until = min(last.until, to)
		if last.from < to {
			break
		}
		a.passes = a.passes[:len(a.passes)-1]
	}
	a.begin()
}

// seek makes an offset the next one to be delivered. What was fetched is
// fetched again.
func (a *assignment) seek(to int64) {
	a.next = to
	for _, c := range a.ahead.chunks {
		a.s.discard(a, c)
	}
	unknown := a.ahead.unknown
	a.ahead = reading{at: to, turn: a.ahead.turn + 1, busy: a.ahead.busy, touched: true, unknown: unknown}
}
