package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/fa5182d2/messaging"
)

// call is one call of Publish. It is used again.
type call struct {
	p      *publisher
	places []place // by argument
	links  []link  // arguments by lane
	uses   []use   // the batches that it waits for
	fates  []fate  // of those that were left
	errs   []error // nil while there are none
	timer  *time.Timer
	random [idBytes]byte
	text   []byte
}

// place is where an argument's record was added. Without a batch it was
// refused.
type place struct {
	b  *batch
	at int
}

// link is the arguments of one lane: the first, the last, and through next
// those in between.
type link struct {
	l           *lane
	first, last int
}

// use is records of a call in one batch, which follow each other.
type use struct {
	l *lane
	b *batch
	span
}

// fate is what is to be said of records whose batch was left before its end.
type fate struct {
	b   *batch
	err error
}

// An id as messaging.NewID makes it: base32 of 16 random bytes, 26 letters.
const (
	idBytes = 16
	idSize  = 26
)

var idText = base32.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").WithPadding(base32.NoPadding)

// do publishes messages and returns the error of each, or nil. What it returns
// is not used again.
func (c *call) do(ctx context.Context, msgs []messaging.Message) []error {
	lanes := *c.p.lanes.Load()
	next := c.share(lanes, msgs)
	now := time.Now()
	for _, k := range c.links {
		k.l.mu.Lock()
		for i := k.first; ; i = next[i] {
			c.add(k.l, i, &msgs[i], now)
			if i == k.last {
				break
			}
		}
		k.l.mu.Unlock()
	}
	// Not before all of them are there: the first would travel alone.
	for _, k := range c.links {
		k.l.kick()
	}
	if err := c.wait(ctx); err != nil {
		c.leave(err)
	}
	return c.outcomes(len(msgs))
}

// share finds the lane of each message, and refuses those that none can take.
// It returns for each message the next one of its lane.
func (c *call) share(lanes []*lane, msgs []messaging.Message) (next []int) {
	if cap(c.places) < len(msgs) {
		c.places = make([]place, len(msgs))
	}
	c.places = c.places[:len(msgs)]
	sticky := int(c.p.sticky.Load()) % len(lanes)
	if len(msgs) > 1 {
		next = make([]int, len(msgs))
	}
	for i := range msgs {
		m := &msgs[i]
		if err := tooLarge(m); err != nil {
			c.errs = madeFor(c.errs, len(msgs))
			c.errs[i] = err
			continue
		}
		l := lanes[sticky]
		if m.Key != "" {
			l = lanes[partitionOf(m.Key, len(lanes))]
		}
		c.join(l, i, next)
	}
	return next
}

// join puts argument i behind the others of its lane.
func (c *call) join(l *lane, i int, next []int) {
	for k := range c.links {
		if c.links[k].l == l {
			next[c.links[k].last] = i
			c.links[k].last = i
			return
		}
	}
	c.links = append(c.links, link{l, i, i})
}

func madeFor(errs []error, n int) []error {
	if errs == nil {
		errs = make([]error, n)
	}
	return errs
}

// tooLarge refuses what no broker reads and what the encoding has no room for.
func tooLarge(m *messaging.Message) error {
	if size := recordSize(m, max(len(m.ID), idSize)); size > mostMessage {
		return fmt.Errorf("message of %d bytes, at most %d can be sent: %w", size, mostMessage, messaging.ErrTooLarge)
	}
	return nil
}

// add adds argument i to its lane, whose mutex is held.
func (c *call) add(l *lane, i int, m *messaging.Message, now time.Time) {
	b := l.room(recordSize(m, max(len(m.ID), idSize)))
	at := b.add(m, c.id(m), now)
	c.places[i] = place{b, at}
	if n := len(c.uses); n > 0 && c.uses[n-1].b == b && c.uses[n-1].to == at {
		c.uses[n-1].to++
		return
	}
	for u := range c.uses {
		if c.uses[u].b == b { // counted already
			c.uses = append(c.uses, use{l, b, span{at, at + 1}})
			return
		}
	}
	b.waiters++
	c.uses = append(c.uses, use{l, b, span{at, at + 1}})
}

// id returns a message's id, or a random one in memory that the next call of id
// uses again.
func (c *call) id(m *messaging.Message) []byte {
	if m.ID != "" {
		c.text = append(c.text[:0], m.ID...)
		return c.text
	}
	rand.Read(c.random[:])
	c.text = idText.AppendEncode(c.text[:0], c.random[:])
	return c.text
}

// wait waits until all batches are done, or returns why not.
func (c *call) wait(ctx context.Context) error {
	var late <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		if c.timer == nil {
			c.timer = time.NewTimer(c.p.o.timeout)
		} else {
			c.timer.Reset(c.p.o.timeout)
		}
		defer c.timer.Stop()
		late = c.timer.C
	}
	for _, u := range c.uses {
		if err := c.await(ctx, late, u.b); err != nil {
			return err
		}
	}
	return nil
}

// await waits until a batch, and what it was split into, is done.
func (c *call) await(ctx context.Context, late <-chan time.Time, b *batch) error {
	select {
	case <-b.done:
	case <-ctx.Done():
		return cause(ctx)
	case <-late:
		return context.DeadlineExceeded
	case <-c.p.abort:
		return messaging.ErrClosed
	}
	if b.left == nil {
		return nil
	}
	if err := c.await(ctx, late, b.left); err != nil {
		return err
	}
	return c.await(ctx, late, b.right)
}

// leaves yields b, or what it was split into. The lane's mutex is held.
func (b *batch) leaves() iter.Seq[*batch] {
	return func(yield func(*batch) bool) { b.eachLeaf(yield) }
}

func (b *batch) eachLeaf(yield func(*batch) bool) bool {
	if b.left == nil {
		return yield(b)
	}
	return b.left.eachLeaf(yield) && b.right.eachLeaf(yield)
}

// leave takes what is not sent out of the batches, and decides what is to be
// said of the rest.
func (c *call) leave(why error) {
	for _, u := range c.uses {
		u.l.mu.Lock()
		for b := range u.b.leaves() {
			c.leaveBatch(u, b, why)
		}
		u.l.mu.Unlock()
	}
	for _, u := range c.uses {
		u.l.kick() // what nobody waits for any more is given up now
	}
}

// leaveBatch is leave for one batch. The lane's mutex is held.
func (c *call) leaveBatch(u use, b *batch, why error) {
	select {
	case <-b.done:
		return
	default:
	}
	known := false
	for _, f := range c.fates {
		known = known || f.b == b
	}
	var err error
	if u.l.inFlight == b && (u.l.onWire || b.unknown) {
		if errors.Is(why, messaging.ErrClosed) {
			why = errGaveUp
		}
		err = uncertain(u.l.because(why))
	} else {
		err = u.l.because(why)
		b.cancel(u.span)
	}
	if !known {
		b.waiters--
		c.fates = append(c.fates, fate{b, err})
	}
}

// because adds to the end of a context what was in the way. mu is held.
func (l *lane) because(why error) error {
	if l.last == nil {
		return why
	}
	return fmt.Errorf("%w: partition %d: %w", why, l.partition, l.last)
}

// outcomes returns the error of each argument, or nil when there are none.
func (c *call) outcomes(n int) []error {
	for i := range c.places[:n] {
		if c.places[i].b == nil {
			continue // refused
		}
		if err := c.outcome(c.places[i]); err != nil {
			c.errs = madeFor(c.errs, n)
			c.errs[i] = err
		}
	}
	return c.errs
}

// outcome follows a record through what its batch was split into. A batch that
// was left may change at any time; the others are done.
func (c *call) outcome(at place) error {
	b := at.b
	for {
		for _, f := range c.fates {
			if f.b == b {
				return f.err
			}
		}
		switch {
		case b.left == nil:
			return b.err
		case at.at < b.splitAt:
			b = b.left
		default:
			b = b.right
		}
	}
}

// reset makes c ready for the next call.
func (c *call) reset() {
	clear(c.places)
	clear(c.links)
	clear(c.uses)
	clear(c.fates)
	c.places, c.links, c.uses, c.fates, c.errs = c.places[:0], c.links[:0], c.uses[:0], c.fates[:0], nil
}
