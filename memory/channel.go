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
		return nil, errDeleted
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
		c.keep(recs)
	}
	var last *waiter
	for _, s := range c.routes {
		last.wake()
		last = s.publish(recs)
	}
	c.pages.close()
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
		c.claim(s)
	}
	c.subs[o.group] = s
	c.routes = append(c.routes, s)
	return s, nil
}

// item returns an item of r, which it writes for the first that wants it.
func (c *channel) item(r *record) item {
	if r.place.page == nil {
		r.place = c.pages.write(r)
	}
	return item{page: r.place.page, pos: r.place.pos}
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
