package messaging

import (
	"context"
	"errors"
	"fmt"
)

// fail is the end of e's handling in l: it is not tried again here, and given
// back when nothing of its lane runs any more, since that would come again
// below a running handler. Nothing above it needs to start.
func (c *consumer) fail(e *entry) {
	l := e.lane
	c.setState(e, failed)
	c.truncate(l, e.place+1)
	c.finishLane(l)
}

// close lets nothing start above the highest that was started, so that the
// row of handled entries closes, and gives back what is above.
func (c *consumer) close(l *lane) {
	if l.closing {
		return
	}
	l.closing = true
	if l.partition == nil {
		for e := l.runnable.pop(); e != nil; e = l.runnable.pop() {
			c.giveBack(e)
		}
		for _, e := range l.parked {
			c.giveBack(e)
		}
		l.parked = nil
		return
	}
	c.truncate(l, l.top)
	for e := range l.entries.all() {
		if e.state != backingOff {
			continue
		}
		c.stopTimer(e)
		if e.place+1 < l.top {
			c.setState(e, waiting) // once more, for those above it
			l.runnable.push(e)
			c.enqueue(l)
		} else {
			c.setState(e, failed)
		}
	}
	c.finishLane(l)
}

// truncate gives back what waits in l from place on.
func (c *consumer) truncate(l *lane, place int) {
	kept := l.runnable
	l.runnable = fifo[*entry]{}
	for e := kept.pop(); e != nil; e = kept.pop() {
		if e.place < place {
			l.runnable.push(e)
		}
	}
	for _, e := range l.entries.popLastWhile(func(e *entry) bool { return e.place >= place && e.state == waiting }) {
		c.giveBack(e)
	}
	// Between those that were started some may wait: behind a key, or for a
	// slot.
	for e := range l.entries.all() {
		if e.place >= place && e.state == waiting {
			c.setState(e, failed)
		}
	}
}

// finishLane gives back the rest of a closing lane when nothing in it runs or
// will.
func (c *consumer) finishLane(l *lane) {
	if !l.closing || l.lost || l.partition == nil || l.active > 0 || l.waits > 0 {
		return
	}
	for e := l.entries.first(); e != nil; e = l.entries.first() {
		l.entries.pop()
		c.giveBack(e)
	}
}

// giveBack releases e.
func (c *consumer) giveBack(e *entry) {
	c.setState(e, dropped)
	c.releasing++
	if c.releases == nil {
		c.releases = &settle{call: c.sub.Release, release: true}
	}
	c.toSettle(c.releases, e.d)
}

// lose forgets a lane whose lease is lost. What runs in it goes on, without a
// settle, and holds up the partition's next lane.
func (c *consumer) lose(l *lane, err error) {
	if l.lost {
		return
	}
	l.lost, l.closing = true, true
	p := l.partition
	p.former += l.active
	if p.current == l {
		p.current = nil
	}
	for e := range l.entries.all() {
		switch e.state {
		case running, burying, dropped:
			continue
		case backingOff, buryWaiting, failed, done:
			c.stopTimer(e)
			if e.started {
				c.tell(e.d, err)
			}
		}
		c.setState(e, dropped)
		c.inHand--
	}
	if len(l.commit.ds) > 0 {
		c.tell(l.commit.ds[0], err)
	}
	c.inHand -= l.commit.n
	l.commit.ds, l.commit.n = nil, 0
	l.entries, l.runnable = fifo[*entry]{}, fifo[*entry]{}
	c.forgetPartition(p)
}

// forget is the end of an entry whose lease was lost, running or not, and
// tells OnError err, if any.
func (c *consumer) forget(e *entry, err error) {
	if err != nil {
		c.tell(e.d, err)
	}
	l := e.lane
	wasActive := e.state == running || e.state == burying
	c.setState(e, dropped)
	c.inHand--
	if l.partition == nil {
		c.unchain(e)
		return
	}
	if !l.lost {
		c.lose(l, ErrLost)
		return
	}
	if p := l.partition; wasActive {
		if p.former--; p.former == 0 && p.current != nil {
			c.enqueue(p.current)
		}
		c.forgetPartition(p)
	}
}

func (c *consumer) forgetPartition(p *partition) {
	if p.current == nil && p.former == 0 && c.partitions[p.name] == p {
		delete(c.partitions, p.name)
	}
}

// cut ends the handlers' contexts when Grace is over, and gives back what
// waits. What runs may still end by itself and be settled.
func (c *consumer) cut() {
	c.mu.Lock()
	c.isCut = true
	for e := range c.timers {
		c.stopTimer(e)
		c.cutShort(e)
	}
	for e := c.nextBurial(); e != nil; e = c.nextBurial() {
		c.cutShort(e)
	}
	for _, p := range c.partitions {
		if l := p.current; l != nil {
			c.cutLane(l)
		}
	}
	c.wake()
	c.endIfDone()
	c.mu.Unlock()
	c.cutHandlers(ErrGrace)
}

func (c *consumer) cutLane(l *lane) {
	l.runnable = fifo[*entry]{}
	for e := range l.entries.all() {
		if e.state == waiting { // below one that was started
			c.setState(e, failed)
			c.cutOff = true
		}
	}
	c.finishLane(l)
}

// cutShort gives back a delivery whose handling Grace ended.
func (c *consumer) cutShort(e *entry) {
	if c.isLost(e) {
		c.forget(e, ErrLost)
		return
	}
	c.cutOff = true
	if e.lane.partition == nil {
		c.giveBack(e)
	} else {
		c.fail(e)
	}
}

// abandon ends Consume although something is under way that does not end.
func (c *consumer) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	// On a queue, what was only to be released comes again to somebody. A
	// stream's would be passed over by the next commit of this subscriber.
	if c.inHand > c.releasing || c.stream != nil && c.inHand > 0 {
		c.cutOff = true
	}
	for e := range c.timers {
		c.stopTimer(e)
	}
	c.end()
}

// tidy leaves nothing behind that refers to the consumer.
func (c *consumer) tidy() {
	c.stopReceive()
	c.stopSettles()
	c.cutHandlers(context.Canceled)
	c.mu.Lock()
	var watched []*lane
	for _, p := range c.partitions {
		if p.current != nil {
			watched = append(watched, p.current)
		}
	}
	c.mu.Unlock()
	for _, l := range watched {
		l.lease.unwatch(&l.watch)
	}
}

// result is what Consume returns.
func (c *consumer) result() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cutOff {
		return c.err
	}
	return errors.Join(c.err, fmt.Errorf("%w: after %v some handlers or settles had not ended; what they had comes again when the subscriber is closed or its lease ends", ErrGrace, c.opts.Grace))
}
