package memory

import (
	"fmt"
	"maps"
	"slices"

	"github.com/fa5182d2/messaging"
)

// Trim removes what lies before an offset from a partition of the stream of
// the channel called name, as a broker's retention does, whoever has read it
// or not: a subscriber whose next message was removed gets ErrTrimmed, or
// goes on behind it with trimmed=skip. At or below the partition's begin it
// does nothing. An unknown channel or partition is ErrNotFound, a channel
// without a stream errors.ErrUnsupported, and an offset beyond the partition's
// end an error.
func (b *Backend) Trim(name, partition string, before messaging.Offset) error {
	return b.reshape("trim", name, func(l *log) error {
		p, err := l.partition(partition)
		if err != nil {
			return err
		}
		offset, err := parseOffset(before)
		if err != nil {
			return err
		}
		if end := p.end.Load(); offset > end {
			return fmt.Errorf("offset %d lies beyond the end of partition %s, whose next offset is %d", offset, p.name, end)
		}
		p.trim(offset)
		l.recount()
		p.wake()
		return nil
	})
}

// AddPartitions adds n partitions to the stream of the channel called name.
// As in Kafka the keys of new messages are spread anew over all of them, so
// that one key's messages before and after may lie in different partitions.
// Groups notice, and read the new ones from their begin; so does who reads
// alone without partition=, and without end= or up to a time that is still to
// come. Errors are as for Trim.
func (b *Backend) AddPartitions(name string, n int) error {
	return b.reshape("add partitions to", name, func(l *log) error {
		if most := mostPartitions - len(l.parts); n < 1 || n > most {
			return fmt.Errorf("%d partitions: want 1 to %d", n, most)
		}
		for range n {
			p := l.extend(nil)
			l.roots = append(l.roots, p)
			l.announce(p)
		}
		l.refresh()
		return nil
	})
}

// Split splits a partition of the stream of the channel called name, as
// Kinesis splits a shard: nothing more is written to it, and two new ones
// share its keys. Their messages are delivered when all of it is committed, so
// that a key keeps its order; who reads alone as AddPartitions says gets
// them as well, and commits for that, too. Errors are as for Trim, and
// splitting a partition twice is one.
func (b *Backend) Split(name, partition string) error {
	return b.reshape("split a partition of", name, func(l *log) error {
		p, err := l.partition(partition)
		switch {
		case err != nil:
			return err
		case p.closed.Load():
			return fmt.Errorf("partition %s was split into %s and %s", p.name, p.children[0].name, p.children[1].name)
		case p.depth == mostSplits || len(l.parts)+2 > mostPartitions:
			return fmt.Errorf("partition %s cannot be split any further", p.name)
		}
		l.split(p)
		return nil
	})
}

// mostSplits is how often a key's hash can be told apart.
const mostSplits = 32

func (l *log) split(p *partition) {
	p.closed.Store(true)
	l.open = slices.DeleteFunc(l.open, func(other *partition) bool { return other == p })
	for i := range p.children {
		p.children[i] = l.extend(p)
		l.announce(p.children[i])
	}
	l.refresh()
	p.wake() // who reads only this one comes to an end
}

// announce tells everyone who reads the log of a new partition.
func (l *log) announce(p *partition) {
	for _, g := range l.groups {
		g.add(p, 0)
	}
	for _, s := range l.readers {
		if s.grows {
			s.install(s.alone(p, 0))
		}
	}
}

// refresh lets the groups share out what has changed.
func (l *log) refresh() {
	for _, g := range l.groups {
		g.refresh()
	}
}

// reshape changes the log of a channel.
func (b *Backend) reshape(what, name string, change func(*log) error) error {
	l, err := b.logOf(name)
	var groups []*group
	if err == nil {
		l.c.mu.Lock()
		err = change(l)
		groups = slices.Collect(maps.Values(l.groups))
		l.c.mu.Unlock()
	}
	for _, g := range groups {
		g.report()
	}
	if err != nil {
		return fmt.Errorf("memory: %s %s: %w", what, name, err)
	}
	return nil
}
