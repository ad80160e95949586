package memory

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/fa5182d2/messaging"
)

// newChannel makes the channel that o opens first.
func newChannel(b *Backend, o *options) *channel {
	seed := cmp.Or(o.seed, rand.Uint64())
	c := &channel{b: b, name: o.name, made: *o, seed: seed, chaos: newChaos(b, seed), recent: newRecent(o.dedup)}
	if o.kind != "queue" {
		c.log = newLog(c)
	}
	if o.kind != "stream" {
		c.subs = map[string]*subscription{}
	}
	return c
}

// publish stores recs in the log and in every subscription whose pattern
// matches, in the order of recs and of calls, but for those whose id is in
// the window of dedup=. It is ErrNotFound when the channel was deleted. It
// keeps nothing of recs itself. The caller wakes the waiter.
func (c *channel) publish(recs []*record) (*waiter, error) {
	c.mu.Lock()
	if c.removed {
		c.mu.Unlock()
		return nil, fmt.Errorf("channel was deleted: %w", messaging.ErrNotFound)
	}
	if c.recent != nil {
		recs = c.recent.fresh(recs)
	}
	now := c.b.now()
	for _, r := range recs {
		c.published++
		r.seq, r.published = c.published, now
	}
	if c.log != nil {
		c.log.append(recs)
	} else if !c.claimed {
		c.backlog.add(recs)
		c.trimBacklog()
	}
	var last *waiter
	for _, s := range c.routes {
		last.wake()
		last = s.publish(recs)
	}
	c.mu.Unlock()
	return last, nil
}

// openQueue opens a subscriber to the subscription that o names, and creates
// it if need be.
func (c *channel) openQueue(o *options) (*queue, error) {
	if c.made.kind == "stream" {
		return nil, fmt.Errorf("channel %q was created with kind=stream and has no queue: %w", c.name, errors.ErrUnsupported)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed {
		return nil, fmt.Errorf("channel %q was deleted: %w", c.name, messaging.ErrNotFound)
	}
	s := c.subs[o.group]
	var err error
	if s == nil {
		s, err = c.subscribe(o)
	} else {
		err = s.fits(o)
	}
	if err != nil {
		return nil, err
	}
	c.subscribed = true
	return s.open(o), nil
}

// subscribe creates the subscription that o names.
func (c *channel) subscribe(o *options) (*subscription, error) {
	if !o.create && o.group != "" {
		return nil, fmt.Errorf("channel %q has no subscription %q: %w", c.name, o.group, messaging.ErrNotFound)
	}
	s := newSubscription(c, o.group, o.pattern, cmp.Or(o.order, c.b.Order, messaging.Unordered))
	if o.group == "" {
		// It has been there since the channel has: only what it promises was
		// open until now.
		s.publish(c.unclaimed())
		c.claimed = true
	}
	c.subs[o.group] = s
	c.routes = append(c.routes, s)
	return s, nil
}

// unclaimed returns what was published before the default subscription was
// opened, as far as it is retained.
func (c *channel) unclaimed() []*record {
	if c.log != nil {
		return c.log.retained()
	}
	recs := make([]*record, 0, c.backlog.len())
	for c.backlog.len() > 0 {
		recs = append(recs, c.backlog.pop())
	}
	c.backlog = backlog{}
	return recs
}

// trimBacklog keeps to the retention once there are subscribers: a default
// subscription that is never opened must not grow for ever.
func (c *channel) trimBacklog() {
	for c.subscribed && c.made.retain >= 0 && c.backlog.bytes > c.made.retain {
		c.backlog.pop()
	}
}

// remove ends the channel: everything that is open on it, and what it holds.
func (c *channel) remove() {
	c.mu.Lock()
	c.removed = true
	routes := c.routes
	c.routes, c.subs, c.backlog = nil, nil, backlog{}
	c.mu.Unlock()
	for _, s := range routes {
		s.remove()
	}
	if c.log != nil {
		c.log.remove()
	}
}

// backlog is what a channel without a log keeps for its default subscription
// until that is opened. The channel's mutex guards it.
type backlog struct {
	deque[*record]
	bytes int
}

func (b *backlog) add(recs []*record) {
	for _, r := range recs {
		b.push(r)
		b.bytes += len(r.body)
	}
}

func (b *backlog) pop() *record {
	r := b.deque.pop()
	b.bytes -= len(r.body)
	return r
}
