package messaging

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// toBury has e published to the dead letters, for a reason, when its turn
// comes.
func (c *consumer) toBury(e *entry, reason error) {
	e.reason = reason
	c.setState(e, buryWaiting)
	c.burials.push(e)
}

// nextBurial returns the next that waits for its turn, or nil. Those that were
// lost meanwhile have been forgotten.
func (c *consumer) nextBurial() *entry {
	for c.burials.len() > 0 {
		if e := c.burials.pop(); e.state == buryWaiting {
			return e
		}
	}
	return nil
}

// bury publishes e to the dead letters, and settles it when that succeeded.
// While it fails, that is repeated. It is called, and returns, with mu held.
func (w *worker) bury(e *entry) {
	c := w.c
	c.setState(e, burying)
	c.burying++
	c.wake()
	c.mu.Unlock()
	m := c.deadLetter(e)
	err := c.opts.DeadLetter.Publish(w.enter(e.d.Lease), m)
	w.leave(e.d.Lease)
	if err != nil && c.opts.OnError != nil {
		c.opts.OnError(e.d, fmt.Errorf("messaging: consume: publish to the dead letters: %w", err))
	}
	c.mu.Lock()
	c.burying--
	switch {
	case c.ended:
	case err == nil:
		c.failures.forget(e)
		c.finish(e)
	case c.isLost(e):
		c.forget(e, ErrLost)
	case c.isCut:
		c.cutShort(e)
	default:
		e.buries++
		e.terse = errors.Is(err, ErrTooLarge)
		c.later(e, buryWaiting, defaultBackoff(e.buries, err), c.burials.push)
	}
}

// deadLetter returns e's message as it was received, with headers that say
// what became of it. It calls code of users, so mu is not held.
func (c *consumer) deadLetter(e *entry) Message {
	m := e.restored()
	m.Headers = slices.Clone(m.Headers)
	m.Headers.Set("messaging-reason", reasonText(e.reason, e.terse))
	if e.terse {
		return m // the broker takes no more
	}
	m.Headers.Set("messaging-attempts", strconv.Itoa(e.attempts))
	m.Headers.Set("messaging-origin", c.origin(e.d))
	m.Headers.Set("messaging-time", time.Now().UTC().Format(time.RFC3339Nano))
	return m
}

// reasonText is an error's text without a stack, cut so that it fits in the
// headers of brokers.
func reasonText(reason error, terse bool) string {
	most := 512
	if terse {
		most = 32
	}
	text, _, _ := strings.Cut(fmt.Sprint(reason), "\n\n")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// origin says where d came from.
func (c *consumer) origin(d *Delivery) string {
	name := fmt.Sprintf("%T", c.sub)
	if s, ok := c.sub.(fmt.Stringer); ok {
		name = s.String()
	}
	if d.Partition == "" {
		return name
	}
	return fmt.Sprintf("%s partition %s offset %s", name, d.Partition, d.Offset)
}

// failures counts attempts by the id of messages of a queue whose broker does
// not count. It remembers the newest ids, at least half of mostFailures.
type failures struct{ now, before map[string]int }

const mostFailures = 1 << 16

// count adds one to e's attempts and returns them.
func (f *failures) count(e *entry) int {
	id := e.original.ID
	if id == "" {
		return 1
	}
	n := max(f.now[id], f.before[id]) + 1
	if f.now == nil || len(f.now) >= mostFailures/2 {
		f.now, f.before = map[string]int{}, f.now
	}
	f.now[id] = n
	return n
}

// forget drops e's count.
func (f *failures) forget(e *entry) {
	if f.now != nil {
		delete(f.now, e.original.ID)
		delete(f.before, e.original.ID)
	}
}
