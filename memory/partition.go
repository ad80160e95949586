package memory

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// partition is an ordered part of a log. The channel's mutex guards what has
// none of its own; readers look at the atomics.
type partition struct {
	index  int
	name   string
	first  atomic.Int64 // what lies below was removed
	end    atomic.Int64 // offset of the next record
	closed atomic.Bool  // split: end is final

	depth    int           // how many splits led to it
	parent   *partition    // it was split from; nil for none
	children [2]*partition // it was split into; nil before

	counted int64        // the segments before it are spent, see retention
	due     atomic.Int64 // a group that commits it may make the next one spent
	touched bool         // by the append under way

	mu       sync.Mutex // after all others
	segments []*segment // the oldest first
	watchers atomic.Pointer[[]*stream]
}

// append adds a record. It reports whether that began a new segment.
func (p *partition) append(r *record) (sealed bool) {
	end := p.end.Load()
	g := p.tail()
	if size := r.size(); g == nil || len(g.data)-g.used < size {
		sealed = g != nil
		g = p.grow(end, size)
	}
	g.used = len(appendRecord(g.data[:g.used], r))
	g.latest = max(g.latest, nano(r.published))
	p.end.Store(end + 1)
	return sealed
}

// tail is the segment that is written to, nil before the first record. Only
// the writer adds segments, and nobody removes the last one.
func (p *partition) tail() *segment {
	if len(p.segments) == 0 {
		return nil
	}
	return p.segments[len(p.segments)-1]
}

// grow begins a new segment, for a record of that size.
func (p *partition) grow(base int64, size int) *segment {
	last := p.tail()
	g := newSegment(base, size, last)
	if last != nil {
		last.next.Store(g)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments = append(p.segments, g)
	return g
}

// find returns the segment that has an offset, or nil where that was removed
// or nothing is there yet. An offset at the end is in the last segment.
func (p *partition) find(offset int64) *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].base > offset })
	if i == 0 {
		return nil
	}
	return p.segments[i-1]
}

// since returns the offset of the first retained record that was published at
// t or later, or the end. Published goes back where the clock did: no record
// from t on lies before the result, and older ones may lie behind it.
func (p *partition) since(t time.Time) int64 {
	from, end := nano(t), p.end.Load()
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].latest >= from })
	if i == len(p.segments) {
		return end
	}
	// What made this segment the first may have been removed since, and then
	// none of it is that late: it is returned as a whole.
	g := p.segments[i]
	first := max(p.first.Load(), g.base)
	pos := g.skip(first)
	for offset := first; offset < end; offset++ {
		w := g.at(pos)
		if w.size == 0 {
			break
		}
		if w.published() >= from {
			return offset
		}
		pos += w.size
	}
	return first
}

// trim removes what lies before an offset: at once for readers, and from
// memory by whole segments.
func (p *partition) trim(before int64) {
	p.first.Store(max(p.first.Load(), before))
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.segments) > 1 && p.segments[1].base <= before {
		p.segments[0].next.Store(nil) // whoever still reads it must not hold all that follows
		p.segments[0] = nil
		p.segments = p.segments[1:]
	}
}

// watch adds s to those who are woken when something is appended.
func (p *partition) watch(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	watchers := append(slices.Clone(*p.watchers.Load()), s)
	p.watchers.Store(&watchers)
}

// unwatch takes s back.
func (p *partition) unwatch(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	watchers := slices.Clone(*p.watchers.Load())
	if i := slices.Index(watchers, s); i >= 0 {
		watchers = slices.Delete(watchers, i, i+1)
	}
	p.watchers.Store(&watchers)
}

// wake wakes the Receives that wait for the partition.
func (p *partition) wake() {
	for _, s := range *p.watchers.Load() {
		s.rouse()
	}
}
