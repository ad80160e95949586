package memory

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// group is a consumer group: cursors that live as long as the channel, and
// the members that share its partitions out.
type group struct {
	l    *log
	name string

	// claims are by partition. They are added with the channel's mutex held
	// as well as mu, and read with either.
	claims []*claim

	mu      sync.Mutex
	members []*stream // in the order in which they joined
	removed bool      // with its channel
	news    []news    // for the logger, once nothing is locked
}

// cursor is how far somebody has come in a partition.
type cursor struct {
	committed atomic.Int64 // all before it is done
	reached   int64        // all before it may have been delivered; guarded by the owner's mutex
}

// claim is a group's side of a partition.
type claim struct {
	g *group
	p *partition
	cursor

	parent   *claim // nothing is delivered before it is finished; nil for none
	finished bool   // split, and all of it is committed
	epoch    uint64 // of the latest owner
	owner    *assignment
	target   *stream     // who should own it; nil: nobody
	ending   bool        // the owner is to finish what it has in hand
	bound    *time.Timer // for how long
}

// news is a change of hands.
type news struct {
	level slog.Level
	what  string
	attrs []slog.Attr
}

// add adds the claim of a partition. The channel's mutex is held.
func (g *group) add(p *partition, committed int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &claim{g: g, p: p}
	c.committed.Store(committed)
	if p.parent != nil {
		c.parent = g.claims[p.parent.index]
	}
	c.finished = c.drained()
	g.claims = append(g.claims, c)
}

// drained reports whether the partition has ended and all of it, and of what
// it was split from, is committed.
func (c *claim) drained() bool {
	return c.p.closed.Load() && c.committed.Load() >= c.p.end.Load() && !c.blocked()
}

// blocked reports whether the partition has to wait for the one that it was
// split from.
func (c *claim) blocked() bool { return c.parent != nil && !c.parent.finished }

// join makes s a member.
func (g *group) join(s *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.admit(s)
}

// rejoin makes s a member again that was expelled.
func (g *group) rejoin(s *stream) {
	g.mu.Lock()
	if s.alive() && !slices.Contains(g.members, s) && !g.removed {
		g.admit(s)
	}
	g.mu.Unlock()
	g.report()
}

// leave makes the partitions of s free at once.
func (g *group) leave(s *stream, why string) {
	g.mu.Lock()
	g.dismiss(s, why)
	g.mu.Unlock()
	g.report()
}

// expel is leave for a subscriber that is still frozen.
func (g *group) expel(s *stream) {
	g.mu.Lock()
	if s.frozen.isShut() { // it has not thawed: when it does, it rejoins
		g.dismiss(s, "timed out")
	}
	g.mu.Unlock()
	g.report()
}

func (g *group) admit(s *stream) {
	g.members = append(g.members, s)
	g.note(slog.LevelInfo, "memory: subscriber joined", slog.Uint64("subscriber", s.id), slog.Int("members", len(g.members)))
	g.rebalance()
}

func (g *group) dismiss(s *stream, why string) {
	i := slices.Index(g.members, s)
	if i < 0 {
		return
	}
	g.members = slices.Delete(g.members, i, i+1)
	g.note(slog.LevelInfo, "memory: subscriber "+why, slog.Uint64("subscriber", s.id), slog.Int("members", len(g.members)))
	for _, c := range g.claims {
		if c.target == s {
			c.target = nil
		}
		if c.owner != nil && c.owner.s == s {
			c.take()
		}
	}
	g.rebalance()
}

// refresh lets the group notice partitions that were added or split.
func (g *group) refresh() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rebalance()
}

// remove ends the group with its channel.
func (g *group) remove() {
	g.mu.Lock()
	members := g.members
	g.members, g.removed = nil, true
	for _, c := range g.claims {
		c.target = nil
		if c.owner != nil {
			c.take()
		}
	}
	g.mu.Unlock()
	for _, s := range members {
		s.end(errDeleted)
	}
	g.report()
}

// rebalance shares the partitions out again and begins what that takes.
func (g *group) rebalance() {
	for _, c := range g.claims { // each behind the one that it was split from
		if !c.finished && c.drained() {
			c.finish()
		}
	}
	g.retarget()
	for _, c := range g.claims {
		switch {
		case c.owner == nil && c.target != nil:
			c.assign()
		case c.owner != nil && c.owner.s != c.target:
			c.handOver()
		}
	}
}

// retarget decides who should own what: as many each, or one more, with as
// few partitions as possible changing hands.
func (g *group) retarget() {
	if len(g.members) == 0 {
		return // all have left, and with them their targets
	}
	held, free, n := g.targets()
	members := slices.Clone(g.members)
	slices.SortStableFunc(members, func(a, b *stream) int { return cmp.Compare(len(held[b]), len(held[a])) })
	quota := func(i int) int { // those who have most keep what does not divide evenly
		if i < n%len(members) {
			return n/len(members) + 1
		}
		return n / len(members)
	}
	for i, s := range members {
		if surplus := len(held[s]) - quota(i); surplus > 0 {
			// What it was promised and has not got yet moves at no cost.
			slices.SortStableFunc(held[s], func(a, b *claim) int { return cmp.Compare(a.cost(), b.cost()) })
			free = append(free, held[s][:surplus]...)
			held[s] = held[s][surplus:]
		}
	}
	for i, s := range members {
		for want := quota(i) - len(held[s]); want > 0; want-- {
			free[0].target = s
			free = free[1:]
		}
	}
}

// targets returns the partitions that can be owned, by who should own them, or
// free, and how many they are.
func (g *group) targets() (held map[*stream][]*claim, free []*claim, n int) {
	held = make(map[*stream][]*claim, len(g.members))
	for _, c := range g.claims {
		if c.finished || c.blocked() {
			continue
		}
		n++
		if c.target == nil {
			free = append(free, c)
		} else {
			held[c.target] = append(held[c.target], c)
		}
	}
	return held, free, n
}

// cost is what it takes to move c away from its target.
func (c *claim) cost() int {
	if c.owner == nil || c.owner.s != c.target {
		return 0
	}
	return 1
}

// idlest returns the member other than s with the fewest partitions, or s.
func (g *group) idlest(s *stream) *stream {
	best, fewest := s, len(g.claims)+1
	for _, m := range g.members {
		n := 0
		for _, c := range g.claims {
			if c.target == m {
				n++
			}
		}
		if m != s && n < fewest {
			best, fewest = m, n
		}
	}
	return best
}

// note keeps something for the logger.
func (g *group) note(level slog.Level, what string, attrs ...slog.Attr) {
	if g.l.c.b.Logger != nil {
		g.news = append(g.news, news{level, what, attrs})
	}
}

// report tells the logger. Nothing is locked: what it calls is not ours, and
// may publish here.
func (g *group) report() {
	log := g.l.c.b.Logger
	if log == nil {
		return
	}
	g.mu.Lock()
	all := g.news
	g.news = nil
	g.mu.Unlock()
	for _, n := range all {
		attrs := append([]slog.Attr{slog.String("channel", g.l.c.name), slog.String("group", g.name)}, n.attrs...)
		log.LogAttrs(context.Background(), n.level, n.what, attrs...)
	}
}

// tell notes what happened to c.
func (c *claim) tell(level slog.Level, what string, s *stream, attrs ...slog.Attr) {
	c.g.note(level, what, append([]slog.Attr{
		slog.String("partition", c.p.name), slog.String("epoch", strconv.FormatUint(c.epoch, 10)), slog.Uint64("subscriber", s.id),
	}, attrs...)...)
}
