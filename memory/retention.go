package memory

import "math"

// retention is what a log keeps although every group has committed it. It
// lets go of it by segments, in the order in which they were committed.
type retention struct {
	limit int // bytes; below 0 without limit
	bytes int // of spent
	spent deque[spent]
}

// spent is a segment that every group has committed.
type spent struct {
	p     *partition
	end   int64
	bytes int
}

// reclaim notes the segments of p that every group has committed by now, and
// removes what is above the limit. The channel's mutex is held. Every segment
// is looked at once, and the call is made once for a segment and group.
func (l *log) reclaim(p *partition) {
	l.count(p)
	for l.c.subscribed && l.limit >= 0 && l.spent.len() > 0 && l.bytes-l.spent.at(0).bytes >= l.limit {
		s := l.spent.pop()
		l.bytes -= s.bytes
		s.p.trim(s.end)
	}
}

// count notes the segments of p that every group has committed by now.
func (l *log) count(p *partition) {
	low := l.lowest(p)
	g := p.find(p.counted)
	for g != nil {
		next := g.next.Load()
		if next == nil {
			break
		}
		if next.base > low {
			p.due.Store(next.base)
			return
		}
		l.bytes += g.used
		l.spent.push(spent{p, next.base, g.used})
		p.counted = next.base
		g = next
	}
	p.due.Store(math.MaxInt64)
}

// lowest is the lowest committed offset of any group, or the end without one.
func (l *log) lowest(p *partition) int64 {
	low := p.end.Load()
	for _, g := range l.groups {
		low = min(low, g.claims[p.index].committed.Load())
	}
	return low
}

// recount counts anew, after a new group's cursors came to lie below what all
// others had committed, or what was counted was removed.
func (l *log) recount() {
	l.spent, l.bytes = deque[spent]{}, 0
	for _, p := range l.parts {
		if len(p.segments) > 0 {
			p.counted = p.segments[0].base
			l.count(p)
		}
	}
}
