package memory

import (
	"fmt"
	"sort"
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
	parent  *assignment // without a group: nothing is delivered before this one is drained
	*cursor             // the claim's, or its own

	next    int64    // offset of the next delivery
	end     int64    // nothing is delivered from here on; below 0 without end
	until   int64    // nor from the first record on that is published then; 0 without
	seg     *segment // where next was last
	sent    tally    // all that was delivered and not set back
	settled tally    // of it, what is settled
	ending  bool     // nothing more is delivered
	over    bool     // lost

	resets []reset // the places to which it was set back, of rising offset
	resetN uint32
	back   *Entry // to where the Release under way sets it back

	digits     string // texts of the offsets from digitsFrom on; only Receive uses them
	digitsFrom int64
	width      int
}

// tally counts deliveries of an assignment: it is what windows are measured
// with, at no cost for what is outstanding.
type tally struct{ n, bytes int }

// reset is a place to which an assignment was set back, and which time that
// was. Deliveries from there on that are older than that are void.
type reset struct {
	n    uint32
	from int64
}

// newAssignment makes the assignment of a partition that is read on from c.
func newAssignment(s *stream, p *partition, c *cursor) *assignment {
	return &assignment{s: s, p: p, cursor: c, next: c.committed.Load(), end: -1}
}

// inHand is how many deliveries are unsettled.
func (a *assignment) inHand() int { return a.sent.n - a.settled.n }

// drained reports whether the partition has ended and all of it is settled.
func (a *assignment) drained() bool {
	return a.p.closed.Load() && a.committed.Load() >= a.p.end.Load()
}

// exhausted reports whether all was delivered that ever will be.
func (a *assignment) exhausted() bool {
	return a.end >= 0 && a.next >= a.end || a.p.closed.Load() && a.next >= a.p.end.Load()
}

// record returns the record at next, which is below the partition's end, or
// nil when it was removed.
func (a *assignment) record() *record {
	if a.seg != nil {
		if r := a.seg.at(a.next); r != nil {
			return r
		}
		if a.seg = a.seg.next.Load(); a.seg != nil {
			if r := a.seg.at(a.next); r != nil {
				return r
			}
		}
	}
	if a.seg = a.p.find(a.next); a.seg == nil {
		return nil
	}
	return a.seg.at(a.next)
}

// collect adds up to most records to what the Receive under way returns.
func (a *assignment) collect(most int) error {
	if a.ending || a.parent != nil && !a.parent.drained() {
		return nil
	}
	if err := a.overtaken(); err != nil {
		return err
	}
	limit := a.p.end.Load()
	if a.end >= 0 {
		limit = min(limit, a.end)
	}
	s := a.s
	r := run{a: a, from: a.next, before: a.sent, reached: a.reached, resetN: a.resetN}
	for r.n < most && a.next < limit {
		rec := a.record()
		if rec == nil {
			break // removed just now: the next Receive says so
		}
		if a.until != 0 && nano(rec.published) >= a.until {
			a.end = a.next
			break
		}
		size := rec.size()
		if !a.fits(size) {
			break
		}
		s.recs = append(s.recs, rec)
		s.bytes += size
		a.sent.n++
		a.sent.bytes += size
		a.next++
		r.n++
	}
	if r.n > 0 {
		a.reached = max(a.reached, a.next)
		s.runs = append(s.runs, r)
	}
	return nil
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
	// What is void is told by the last place below: that lies below all that
	// is not committed.
	for len(a.resets) > 1 && a.resets[1].from <= to {
		a.resets = a.resets[1:]
	}
}

// commit settles e and all before it.
func (a *assignment) commit(e *Entry) error {
	switch {
	case a.over:
		return errMoved
	case e.offset < a.committed.Load():
		return nil
	case a.void(e):
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

// void reports whether e was set back since it was delivered.
func (a *assignment) void(e *Entry) bool {
	if len(a.resets) == 0 {
		return false
	}
	i := sort.Search(len(a.resets), func(i int) bool { return a.resets[i].n > e.resetN })
	return i < len(a.resets) && e.offset >= a.resets[i].from
}

// offer notes e as a place to set back to.
func (a *assignment) offer(e *Entry) error {
	switch {
	case a.over:
		return errMoved
	case a.void(e):
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
	a.resetN++
	for len(a.resets) > 0 && a.resets[len(a.resets)-1].from >= to {
		a.resets = a.resets[:len(a.resets)-1]
	}
	a.resets = append(a.resets, reset{a.resetN, to})
	if a.claim != nil && a.ending && a.inHand() == 0 {
		a.s.follow = append(a.s.follow, a)
	}
}

// offsetTexts is how many texts of offsets share an allocation.
const offsetTexts = 32

// text returns the text of an offset.
func (a *assignment) text(offset int64) messaging.Offset {
	i := int(offset - a.digitsFrom)
	if i < 0 || (i+1)*a.width > len(a.digits) || a.width == 0 {
		a.write(offset)
		i = 0
	}
	return messaging.Offset(a.digits[i*a.width : (i+1)*a.width])
}

// write writes the texts of the offsets from one on, as far as they have the
// same length.
func (a *assignment) write(from int64) {
	var buf [offsetTexts * 19]byte
	text := strconv.AppendInt(buf[:0], from, 10)
	width := len(text)
	for i := int64(1); i < offsetTexts; i++ {
		n := len(text)
		if text = strconv.AppendInt(text, from+i, 10); len(text)-n != width {
			text = text[:n]
			break
		}
	}
	a.digits, a.digitsFrom, a.width = string(text), from, width
}
