package memory

import (
	"sync"
	"sync/atomic"
)

// The sizes of pages in bytes. They grow from small, for channels that hold
// little. A message larger than a quarter of the most has a page of its own.
const (
	leastPage = 1 << 10
	mostPage  = 32 << 10
)

// page is bytes of messages that queue subscriptions hold, all subscriptions
// of the channel the same. The garbage collector does not look into it, and
// mostly has not to collect it either: a page is used again when nobody holds
// anything of it any more.
type page struct {
	data []byte
	used int          // of data; the writer's
	refs atomic.Int32 // the items in it, and one while it is written to
}

// place is where a message lies. The zero value is nowhere.
type place struct {
	page *page
	pos  uint16
}

// pages are where a channel keeps messages for its queue subscriptions.
type pages struct {
	open  *page   // written to; the channel's mutex guards it
	full  []*page // that were, in the publish under way: its records lie there
	size  int
	spare sync.Pool
	// reading is how many Receives may still read messages that they no
	// longer hold: a lease can end before its delivery was filled.
	reading atomic.Int32
}

// write writes r and returns its place. The channel's mutex is held.
func (p *pages) write(r *record) place {
	size := r.size()
	if size > mostPage/4 {
		own := &page{data: appendRecord(make([]byte, 0, size), r)}
		own.refs.Store(1) // never dropped: one of such a size is not used again
		return place{own, 0}
	}
	g := p.open
	if g == nil || len(g.data)-g.used < size {
		g = p.turn(size)
	}
	pos := g.used
	g.used = len(appendRecord(g.data[:pos], r))
	return place{g, uint16(pos)}
}

// turn begins a page with room for size bytes.
func (p *pages) turn(size int) *page {
	if p.open != nil {
		p.full = append(p.full, p.open)
	}
	g, ok := p.spare.Get().(*page)
	if !ok || len(g.data) < size {
		p.size = max(min(2*p.size, mostPage), leastPage, size)
		g = &page{data: make([]byte, p.size)}
	}
	g.refs.Store(1)
	p.open = g
	return g
}

// close ends what wrote: every subscription has the items it wants. Until then
// no page of the call is used again, for one subscription may be done with an
// item before another is given it. The channel's mutex is held.
func (p *pages) close() {
	for _, g := range p.full {
		p.drop(g)
	}
	clear(p.full)
	p.full = p.full[:0]
}

// hold notes that there is one more item in g.
func (p *pages) hold(g *page) { g.refs.Add(1) }

// drop notes that there is one less. The last one out gives the page back, or,
// while somebody may be reading, leaves it to the garbage collector.
func (p *pages) drop(g *page) {
	if g.refs.Add(-1) == 0 && p.reading.Load() == 0 {
		g.used = 0
		p.spare.Put(g)
	}
}
