package memory

import (
	"log/slog"
	"strconv"
	"time"
)

// How a partition changes hands. The group's mutex is held throughout.

// assign gives c, which nobody owns, to its target.
func (c *claim) assign() {
	c.epoch++
	a := newAssignment(c.target, c.p, &c.cursor)
	a.claim = c
	a.lease.Epoch = strconv.FormatUint(c.epoch, 10)
	c.owner = a
	c.tell(slog.LevelInfo, "memory: partition assigned", c.target)
	a.s.install(a)
}

// handOver begins to move c from its owner in order: nothing more is
// delivered to it, and the move is made when it has settled what it has in
// hand, or the bound is over.
func (c *claim) handOver() {
	if c.ending {
		return
	}
	a := c.owner
	c.ending = true
	c.tell(slog.LevelInfo, "memory: partition ending", a.s)
	if idle := a.s.finish(a); idle || a.s.handover <= 0 {
		c.move()
		return
	}
	c.bound = time.AfterFunc(a.s.handover, func() {
		c.g.mu.Lock()
		if c.owner == a {
			c.move()
		}
		c.g.mu.Unlock()
		c.g.report()
	})
}

// move takes c from its owner and gives it to its target.
func (c *claim) move() {
	c.take()
	if c.target != nil {
		c.assign()
	}
}

// take makes c free: the lease of its owner is lost.
func (c *claim) take() {
	a := c.owner
	c.stop()
	if inHand := a.s.lose(a); inHand > 0 {
		c.tell(slog.LevelWarn, "memory: lease lost", a.s, slog.Int("unsettled", inHand))
	} else {
		c.tell(slog.LevelInfo, "memory: lease ended", a.s)
	}
}

// finish ends c: it was split, and all of it is committed.
func (c *claim) finish() {
	c.finished, c.target = true, nil
	if a := c.owner; a != nil {
		c.stop()
		a.s.retire(a)
		c.tell(slog.LevelInfo, "memory: partition finished", a.s)
	}
}

// stop leaves c without an owner.
func (c *claim) stop() {
	c.owner, c.ending = nil, false
	if c.bound != nil {
		c.bound.Stop()
		c.bound = nil
	}
}

// settled looks at what a commit or a release may have completed: a move, or
// a partition that was split. Nothing is locked.
func (g *group) settled(a *assignment) {
	c := a.claim
	if a.committed.Load() >= a.p.due.Load() {
		g.l.c.mu.Lock()
		g.l.reclaim(a.p)
		g.l.c.mu.Unlock()
	}
	g.mu.Lock()
	switch {
	case c.owner != a:
	case c.drained():
		g.rebalance()
	case c.ending && a.s.idle(a):
		c.move()
	}
	g.mu.Unlock()
	g.report()
}

// disturb moves a partition for no reason but chaos: to another member, or
// away and back to the only one.
func (g *group) disturb(a *assignment, inOrder bool) {
	g.mu.Lock()
	if c := a.claim; c.owner == a && !c.ending {
		c.target = g.idlest(a.s)
		if inOrder {
			c.handOver()
		} else {
			c.move()
		}
	}
	g.mu.Unlock()
	g.report()
}
