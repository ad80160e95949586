package memory

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/fa5182d2/messaging"
)

// mostPartitions is how many partitions a log can have.
const mostPartitions = 1 << 16

// log is a channel's stream: its partitions and its groups. The channel's
// mutex guards it, and comes before a group's, a subscriber's and a
// partition's, in that order.
type log struct {
	c       *channel
	parts   []*partition // by index
	roots   []*partition // those that were not split from others: keys are spread over them
	open    []*partition // those that are written to
	keyless int          // which of open takes the next record without a key

	groups  map[string]*group
	readers []*stream // those without a group
	opened  uint64    // subscribers, ever

	retention
	touched []*partition // by the append under way
}

// newLog makes the log of a new channel.
func newLog(c *channel) *log {
	l := &log{c: c, groups: map[string]*group{}}
	l.retention.limit = c.made.retain
	for range c.made.partitions {
		l.roots = append(l.roots, l.extend(nil))
	}
	return l
}

// extend adds a partition, which was split from parent or is nil.
func (l *log) extend(parent *partition) *partition {
	p := &partition{index: len(l.parts), name: strconv.Itoa(len(l.parts)), parent: parent}
	p.watchers.Store(new([]*stream))
	p.due.Store(math.MaxInt64)
	if parent != nil {
		p.depth = parent.depth + 1
	}
	l.parts = append(l.parts, p)
	l.open = append(l.open, p)
	return p
}

// append stores recs in their partitions. It keeps nothing of them itself. The
// channel calls it with its mutex held, in the order of seq.
func (l *log) append(recs []*record) {
	for _, r := range recs {
		p := l.route(r.key)
		if p.append(r) {
			l.reclaim(p)
		}
		if !p.touched {
			p.touched = true
			l.touched = append(l.touched, p)
		}
	}
	// Receives are woken when all of it can be had.
	for _, p := range l.touched {
		p.touched = false
		p.wake()
	}
	l.touched = l.touched[:0]
}

// route returns the partition of the next record with that key: always the
// same for one key, until partitions are added or split; for those without a
// key each in turn.
func (l *log) route(key string) *partition {
	if key == "" {
		l.keyless++
		return l.open[l.keyless%len(l.open)]
	}
	h := hash(key)
	p := l.roots[h%uint64(len(l.roots))]
	for p.children[0] != nil {
		p = p.children[h>>(63-p.depth)&1]
	}
	return p
}

// hash spreads keys. It is the same in every process, so that what a test saw
// can be seen again.
func hash(key string) uint64 {
	const m = 0x9e3779b97f4a7c15
	h := uint64(len(key)) * m
	for ; len(key) >= 8; key = key[8:] {
		w := uint64(key[0]) | uint64(key[1])<<8 | uint64(key[2])<<16 | uint64(key[3])<<24 |
			uint64(key[4])<<32 | uint64(key[5])<<40 | uint64(key[6])<<48 | uint64(key[7])<<56
		h = (h ^ w) * m
		h ^= h >> 32
	}
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * m
		h ^= h >> 32
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

// remove ends the log: every Receive of it is ErrNotFound.
func (l *log) remove() {
	l.c.mu.Lock()
	groups, readers := l.groups, l.readers
	l.groups, l.readers = nil, nil
	l.c.mu.Unlock()
	for _, g := range groups {
		g.remove()
	}
	for _, s := range readers {
		s.end(errDeleted)
	}
}

var errDeleted = fmt.Errorf("channel was deleted: %w", messaging.ErrNotFound)

// retained returns what the log holds, by seq. The channel's mutex is held.
func (l *log) retained() []*record {
	var recs []*record
	var texts cutter
	for _, p := range l.parts {
		first := p.first.Load()
		for _, g := range p.segments {
			offset := g.base
			for pos := 0; pos < g.used; offset++ {
				w := g.at(pos)
				if offset >= first {
					recs = append(recs, texts.record(w))
				}
				pos += w.size
			}
		}
	}
	slices.SortFunc(recs, func(a, b *record) int { return cmp.Compare(a.seq, b.seq) })
	return recs
}

// partition returns the partition of that name.
func (l *log) partition(name string) (*partition, error) {
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(l.parts) || l.parts[i].name != name {
		return nil, fmt.Errorf("no partition %q; there are 0 to %d: %w", name, len(l.parts)-1, messaging.ErrNotFound)
	}
	return l.parts[i], nil
}

// logOf returns the log of a channel.
func (b *Backend) logOf(name string) (*log, error) {
	b.mu.Lock()
	c := b.channels[name]
	b.mu.Unlock()
	switch {
	case c == nil:
		return nil, fmt.Errorf("no channel %q: %w", name, messaging.ErrNotFound)
	case c.log == nil:
		return nil, fmt.Errorf("channel %q has kind=queue and no stream: %w", name, errors.ErrUnsupported)
	}
	return c.log, nil
}
