package memory

import (
	"fmt"
	"math"
	"strconv"

	"github.com/fa5182d2/messaging"
)

// What a subscriber may hold unsettled of a partition and in all.
const (
	defaultStreamInflight = 1024
	mostPartitionBytes    = 8 << 20
	mostStreamBytes       = 64 << 20
)

// assignment is a subscriber's hold on a partition, from when it was given to
// it to when it was taken away. The subscriber's mutex guards it, but for
// what says otherwise.
type assignment struct {
	lease   messaging.Lease
	s       *stream
	p       *partition
	claim   *claim      // the group's; nil without a group
	parent  *assignment // without a group: nothing is delivered before this one is finished
	*cursor             // the claim's, or its own

	place   int      // in the subscriber's assigned; below 0 when taken away
	next    int64    // offset of the next delivery
	end     int64    // nothing is delivered from here on; below 0 without end
	until   int64    // nor from the first record on that is published then or later
	seg     *segment // of next, or what was before it; nil: to be found
	pos     int      // of next in seg
	sent    tally    // all that was delivered and not set back
	settled tally    // of it, what is settled
	ending  bool     // nothing more is delivered
	over    bool     // lost

	passes []*pass // those of which something uncommitted counts, the current one last
	back   *Entry  // to where the Release under way sets it back

	// Texts of the offsets from one to before another. Only Receive uses them.
	digits               string
	digitsFrom, digitsTo int64
	width                int
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

// newAssignment makes the assignment of a partition that is read on from c.
func newAssignment(s *stream, p *partition, c *cursor) *assignment {
	a := &assignment{s: s, p: p, cursor: c, next: c.committed.Load(), end: -1, until: math.MaxInt64}
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

// drained reports whether the partition has ended and all of it is settled.
func (a *assignment) drained() bool {
	return a.p.closed.Load() && a.committed.Load() >= a.p.end.Load()
}

// finished reports whether all that will ever be delivered, here and of what
// it was split from, is settled.
func (a *assignment) finished() bool {
	return a.exhausted() && a.inHand() == 0 && (a.parent == nil || a.parent.finished())
}

// exhausted reports whether all was delivered that ever will be.
func (a *assignment) exhausted() bool {
	return a.end >= 0 && a.next >= a.end || a.p.closed.Load() && a.next >= a.p.end.Load()
}

// seek makes seg and pos those of next, which is below the partition's end,
// and returns the record there, or none when it was removed.
func (a *assignment) seek() written {
	if a.seg != nil {
		if w := a.seg.at(a.pos); w.size > 0 {
			return w
		}
		if a.seg = a.seg.next.Load(); a.seg != nil {
			a.pos = 0
			return a.seg.at(0)
		}
	}
	if a.seg = a.p.find(a.next); a.seg == nil {
		return written{}
	}
	a.pos = a.seg.skip(a.next)
	return a.seg.at(a.pos)
}

// collect adds up to most records to what the Receive under way returns.
func (a *assignment) collect(most int) error {
	if a.ending || a.parent != nil && !a.parent.finished() {
		return nil
	}
	if err := a.overtaken(); err != nil {
		return err
	}
	limit := a.p.end.Load()
	if a.end >= 0 {
		limit = min(limit, a.end)
	}
	from := a.next
	for a.next-from < int64(most) && a.next < limit {
		w := a.seek()
		if w.size > 0 && w.published() >= a.until {
			a.end = a.next
			break
		}
		if w.size == 0 || !a.fits(w.size) {
			break // when it was removed just now, the next Receive says so
		}
		a.take(w)
	}
	a.reached = max(a.reached, a.next)
	return nil
}

// take adds the record at next, which is w.
func (a *assignment) take(w written) {
	s := a.s
	if n := len(s.runs); n == 0 || s.runs[n-1].seg != a.seg {
		s.runs = append(s.runs, run{
			pass: a.pass(), seg: a.seg, pos: a.pos, offset: a.next, before: a.sent, reached: a.reached,
		})
	}
	s.runs[len(s.runs)-1].n++
	s.collected++
	s.bytes += w.size
	a.sent.n++
	a.sent.bytes += w.size
	a.next++
	a.pos += w.size
}

// fits reports whether the windows allow one more delivery. They always allow
// one.
func (a *assignment) fits(size int) bool {
	n := a.inHand()
	return n == 0 || n < a.s.window &&
		a.sent.bytes-a.settled.bytes+size <= mostPartitionBytes &&
		a.s.bytes+size <= mostStreamBytes
}

// overtaken looks whether retention removed what would be next.
func (a *assignment) overtaken() error {
	first := a.p.first.Load()
	if a.next >= first {
		return nil
	}
	a.seg = nil
	if !a.s.trimmedSkip {
		return fmt.Errorf("partition %s begins at %d, and %d was to be next; trimmed=skip goes on there: %w", a.p.name, first, a.next, messaging.ErrTrimmed)
	}
	a.next = first
	if a.inHand() == 0 {
		a.advance(first)
	}
	return nil
}

// advance moves the committed offset.
func (a *assignment) advance(to int64) {
	from := a.committed.Load()
	a.committed.Store(to)
	due := a.p.due.Load()
	if a.claim != nil && (a.ending && a.inHand() == 0 || from < due && due <= to || a.drained()) {
		a.s.follow = append(a.s.follow, a)
	}
	for a.passes[0].until <= to {
		a.passes[0] = nil
		a.passes = a.passes[1:]
	}
}

// commit settles e and all before it.
func (a *assignment) commit(e *Entry) error {
	switch {
	case a.over:
		return errMoved
	case e.offset < a.committed.Load():
		return nil
	case e.void():
		return errSetBack
	}
	a.s.bytes -= e.upTo.bytes - a.settled.bytes
	a.settled = e.upTo
	if a.inHand() == 0 {
		a.advance(a.next) // beyond what retention took, too
	} else {
		a.advance(e.offset + 1)
	}
	return nil
}

// offer notes e as a place to set back to.
func (a *assignment) offer(e *Entry) error {
	switch {
	case a.over:
		return errMoved
	case e.void():
		return errSetBack
	}
	if a.back == nil {
		a.s.backs = append(a.s.backs, a)
	}
	if a.back == nil || e.offset < a.back.offset {
		a.back = e
	}
	return nil
}

// setBack sets the assignment back to the earliest that was offered.
func (a *assignment) setBack() {
	e := a.back
	a.back = nil
	to, sent := a.committed.Load(), a.settled
	if e.offset >= to {
		to, sent = e.offset, tally{e.upTo.n - 1, e.upTo.bytes - e.size}
	}
	a.s.bytes -= a.sent.bytes - sent.bytes
	a.next, a.sent, a.seg = to, sent, nil
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
	if a.claim != nil && a.ending && a.inHand() == 0 {
		a.s.follow = append(a.s.follow, a)
	}
}

// offsetTexts is how many texts of offsets share an allocation.
const offsetTexts = 32

// text returns the text of an offset.
func (a *assignment) text(offset int64) messaging.Offset {
	if offset < a.digitsFrom || offset >= a.digitsTo {
		a.write(offset)
	}
	i := int(offset-a.digitsFrom) * a.width
	return messaging.Offset(a.digits[i : i+a.width])
}

// write writes the texts of the offsets from one on, as far as they have the
// same length.
func (a *assignment) write(from int64) {
	var buf [offsetTexts * 19]byte
	texts := strconv.AppendInt(buf[:0], from, 10)
	width := len(texts)
	for range offsetTexts - 1 {
		last := len(texts) - width
		texts = append(texts, texts[last:]...)
		if !increment(texts[last+width:]) {
			texts = texts[:last+width]
			break
		}
	}
	a.digits, a.width = string(texts), width
	a.digitsFrom, a.digitsTo = from, from+int64(len(texts)/width)
}

// increment adds one to a decimal number. It reports whether that has as many
// digits.
func increment(digits []byte) bool {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] != '9' {
			digits[i]++
			return true
		}
		digits[i] = '0'
	}
	return false
}
