package memory

import (
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// segmentRecords makes a segment 2 KiB.
	segmentRecords = 252

	// segmentBytes is when a segment is full although it has room for more:
	// memory is given back by the segment.
	segmentBytes = 256 << 10
)

// segment is a run of a partition's records, and what retention removes at
// once. Records are written once, before the partition's end moves past them,
// so that readers need no lock.
type segment struct {
	base   int64
	next   atomic.Pointer[segment] // nil for the last one, and when removed
	bytes  int
	latest int64 // the highest nano of Published from the partition's begin to the end of the segment
	recs   [segmentRecords]*record
}

// at returns the record at an offset below the partition's end, or nil where
// it is not in g.
func (g *segment) at(offset int64) *record {
	if i := offset - g.base; i >= 0 && i < segmentRecords {
		return g.recs[i]
	}
	return nil
}

// partition is an ordered part of a log. The channel's mutex guards writing;
// readers look at first and end.
type partition struct {
	index int
	name  string
	depth int // how many splits led to it

	first  atomic.Int64 // below it everything was removed
	end    atomic.Int64 // the next record's offset
	closed atomic.Bool  // split: end is final

	parent   *partition    // it was split from
	children [2]*partition // it was split into
	tail     *segment
	n        int // records in tail

	counted int64        // the segments before it are spent
	due     atomic.Int64 // a group that commits it may make the next one spent
	touched bool         // by the append under way

	mu       sync.Mutex // after all others
	segments []*segment // oldest first
	watchers atomic.Pointer[[]*stream]
}

// append adds a record.
func (p *partition) append(r *record) (sealed bool) {
	end := p.end.Load()
	if p.tail == nil || p.n == segmentRecords || p.tail.bytes >= segmentBytes {
		sealed = p.tail != nil
		p.grow(end)
	}
	g := p.tail
	g.recs[p.n] = r
	p.n++
	g.bytes += r.size()
	g.latest = max(g.latest, nano(r.published))
	p.end.Store(end + 1)
	return sealed
}

// grow begins a new segment.
func (p *partition) grow(base int64) {
	g := &segment{base: base}
	if p.tail != nil {
		g.latest = p.tail.latest
		p.tail.next.Store(g)
	} else {
		g.latest = math.MinInt64
	}
	p.tail, p.n = g, 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments = append(p.segments, g)
}

// find returns the segment of an offset, or nil where it was removed or is
// not there yet.
func (p *partition) find(offset int64) *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].base > offset })
	if i == 0 {
		return nil
	}
	return p.segments[i-1]
}

// since returns the offset of the first retained record that was published
// at t or later, or the end. The channel's mutex is held. Published may go
// back where the clock did: nothing from t on lies before the result.
func (p *partition) since(t time.Time) int64 {
	from := nano(t)
	p.mu.Lock()
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].latest >= from })
	segments := p.segments[i:]
	p.mu.Unlock()
	first, end := p.first.Load(), p.end.Load()
	if len(segments) == 0 {
		return end
	}
	// Where a removed record was later than all of the first segment, nothing
	// in it may be: the records from there on are older extras.
	g := segments[0]
	for i, r := range g.recs {
		if r == nil {
			break
		}
		if offset := g.base + int64(i); offset >= first && nano(r.published) >= from {
			return offset
		}
	}
	return max(first, g.base)
}

// remove drops the oldest segment, which is not the last.
func (p *partition) removeOldest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.segments[0]
	p.first.Store(max(p.first.Load(), p.segments[1].base))
	// A reader that still has it must not hold all that follows.
	g.next.Store(nil)
	p.segments[0] = nil
	p.segments = p.segments[1:]
}

// trim removes what lies before an offset.
func (p *partition) trim(before int64) {
	p.first.Store(max(p.first.Load(), before))
	for len(p.segments) > 1 && p.segments[1].base <= before {
		p.removeOldest()
	}
}

// watch adds s to those that append wakes.
func (p *partition) watch(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	watchers := append(slices.Clone(*p.watchers.Load()), s)
	p.watchers.Store(&watchers)
}

// unwatch removes s once.
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

// nano is t in nanoseconds since 1970, or the nearest that can be said.
func nano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// size is what a record counts against windows and retention: its id, key,
// subject, headers and body.
func (r *record) size() int {
	n := len(r.id) + len(r.key) + len(r.subject) + len(r.body)
	for i := range r.headers {
		n += len(r.headers[i].Key) + len(r.headers[i].Value)
	}
	return n
}
