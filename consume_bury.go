package messaging

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// toBury has e published to the dead letters, for a reason.
func (c *consumer) toBury(e *entry, reason error) {
	e.reason = reason
	c.setState(e, burying)
	c.burials.push(e)
}

// bury publishes e to the dead letters, and settles it when that succeeded.
// While it fails, that is repeated. It is called, and returns, with mu held.
func (w *worker) bury(e *entry) {
	c := w.c
	m := c.deadLetter(e)
	c.wake()
	c.mu.Unlock()
	err := c.opts.DeadLetter.Publish(w.enter(e.d.Lease), m)
	w.leave(e.d.Lease)
	if err != nil && c.opts.OnError != nil {
		c.opts.OnError(e.d, fmt.Errorf("messaging: consume: publish to the dead letters: %w", err))
	}
	c.mu.Lock()
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
		c.later(e, buryDelayed, defaultBackoff(e.buries, err), func(e *entry) {
			c.setState(e, burying)
			c.burials.push(e)
		})
	}
}

// deadLetter returns e's message as it was received, with headers that say
// what became of it.
func (c *consumer) deadLetter(e *entry) Message {
	m := e.original
	m.Headers = slices.Clone(m.Headers)
	m.Headers.Set("messaging-reason", e.reason.Error())
	m.Headers.Set("messaging-attempts", strconv.Itoa(e.attempts))
	m.Headers.Set("messaging-origin", c.origin(e.d))
	m.Headers.Set("messaging-time", time.Now().UTC().Format(time.RFC3339Nano))
	return m
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
