package memory

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// course is a group of a stream.
type course struct {
	a         *attack
	url       string
	seen      map[string]map[int64]*letter // under the attack's mu
	tried     map[string]int64             // what commits were begun for
	committed map[string]int64
	next      map[*messaging.Lease]int64
}

func newCourse(a *attack, group string) *course {
	return &course{
		a: a, url: "mem://a?group=" + group, seen: map[string]map[int64]*letter{},
		tried: map[string]int64{}, committed: map[string]int64{}, next: map[*messaging.Lease]int64{},
	}
}

// done says whether all is committed.
func (c *course) done() bool {
	all, n := c.a.written()
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	for _, at := range c.tried {
		n -= int(at)
	}
	return all && n <= 0
}

func (c *course) follow(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil && !c.a.Failed() && !c.done() {
		url := fmt.Sprintf("%s&inflight=%d&lease=%dms&handover=%dms", c.url, 1+rng.IntN(200), 1+rng.IntN(50), rng.IntN(20))
		sub := openStream(c.a, c.a.b, url)
		c.use(ctx, sub, rng)
		switch rng.IntN(4) {
		case 0:
			crash(c.a, c.a.b, sub)
		case 1:
			thaw := freeze(c.a, c.a.b, sub)
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			thaw()
			c.use(ctx, sub, rng)
		}
		if err := sub.Close(); err != nil {
			c.a.fail("%v", err)
		}
	}
}

func (c *course) use(ctx context.Context, sub messaging.StreamSubscriber, rng *rand.Rand) {
	for range 1 + rng.IntN(30) {
		wait, cancel := context.WithTimeout(ctx, time.Duration(1+rng.IntN(5))*time.Millisecond)
		c.a.mu.Lock()
		committed := maps.Clone(c.committed)
		c.a.mu.Unlock()
		ds, err := sub.Receive(wait, 1+rng.IntN(200))
		cancel()
		if (err != nil) == (len(ds) > 0) {
			c.a.fail("received %d and %v", len(ds), err)
		}
		for _, d := range ds {
			c.check(d, committed[d.Partition])
		}
		if rng.IntN(3) == 0 {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
		n := len(ds)
		if n == 0 {
			continue
		}
		switch rng.IntN(6) {
		case 0:
			c.release(ctx, sub, ds[rng.IntN(n):])
		case 1:
		default:
			c.commit(ctx, sub, ds[:1+rng.IntN(n)])
		}
	}
}

func offsetOf(d *messaging.Delivery) int64 { return d.Raw.(*Entry).offset }

func (c *course) check(d *messaging.Delivery, committed int64) {
	l := c.a.read(d)
	if l == nil {
		return
	}
	offset := offsetOf(d)
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	c.a.place(d, l)
	next, known := c.next[d.Lease]
	switch {
	case !known && offset > c.tried[d.Partition]:
		c.a.fail("%s: an owner of %s began at %d, and only %d was committed", c.url, d.Partition, offset, c.tried[d.Partition])
	case known && offset != next:
		c.a.fail("%s: %s/%d came, and not %d", c.url, d.Partition, offset, next)
	case offset < committed && !known:
		c.a.fail("%s: an owner of %s began at %d, and %d was committed", c.url, d.Partition, offset, committed)
	}
	c.next[d.Lease] = offset + 1
	if c.seen[d.Partition] == nil {
		c.seen[d.Partition] = map[int64]*letter{}
	}
	c.seen[d.Partition][offset] = l
}

// place looks whether the message has always been there. The mutex is held.
func (a *attack) place(d *messaging.Delivery, l *letter) {
	at := d.Partition + "/" + string(d.Offset)
	if was := a.places[at]; was != nil && was != l {
		a.fail("%s is message %d, and was %d", at, l.n, was.n)
	}
	a.places[at] = l
}

func (c *course) commit(ctx context.Context, sub messaging.StreamSubscriber, ds []*messaging.Delivery) {
	c.a.mu.Lock()
	for _, d := range ds {
		c.tried[d.Partition] = max(c.tried[d.Partition], offsetOf(d)+1)
	}
	c.a.mu.Unlock()
	err := sub.Commit(ctx, ds...)
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	for i, d := range ds {
		if messaging.ErrorAt(err, i) == nil {
			c.a.progress.Add(1)
			c.committed[d.Partition] = max(c.committed[d.Partition], offsetOf(d)+1)
		}
	}
}

func (c *course) release(ctx context.Context, sub messaging.StreamSubscriber, ds []*messaging.Delivery) {
	lowest := map[*messaging.Lease]int64{}
	for _, d := range ds {
		if at, ok := lowest[d.Lease]; !ok || offsetOf(d) < at {
			lowest[d.Lease] = offsetOf(d)
		}
	}
	if err := sub.Release(ctx, ds...); err != nil && ctx.Err() != nil {
		return
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	maps.Copy(c.next, lowest)
}

// complete looks for gaps in what the group has seen.
func (c *course) complete() {
	once := map[*letter]bool{}
	for p, seen := range c.seen {
		for at := range int64(len(seen)) {
			l := seen[at]
			if l == nil || once[l] {
				c.a.fail("%s: %s/%d is missing, or there twice", c.url, p, at)
				return
			}
			once[l] = true
		}
	}
	if !c.done() {
		c.a.fail("%s: tried %v of %d", c.url, c.tried, c.a.n)
	}
}

// replay reads everything that there is once more.
func (a *attack) replay(t *testing.T) {
	sub := openStream(t, a.b, "mem://a?end=now")
	defer sub.Close()
	turns := map[string]int{}
	n := 0
	for d, err := range messaging.Deliveries(t.Context(), sub, 100) {
		if err != nil {
			a.fail("%v", err)
			return
		}
		l := a.read(d)
		if l == nil {
			return
		}
		a.mu.Lock()
		a.place(d, l)
		a.mu.Unlock()
		if key := l.msg.Key; key != "" && !a.moves {
			if l.turn != turns[key] {
				a.fail("replay: message %d of key %.20q came as the %d. and was the %d.", l.n, key, turns[key], l.turn)
			}
			turns[key]++
		}
		n++
		commit(t, sub, d)
	}
	if n != a.n || len(a.places) != n {
		a.fail("replay: %d of %d came, from %d places", n, a.n, len(a.places))
	}
}
