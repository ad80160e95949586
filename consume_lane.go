package messaging

import (
	"slices"
	"time"
)

// lane is the deliveries of one assignment of a partition, or all those of a
// queue, and decides which of them may start. Its fields are guarded by the
// consumer's mu.
type lane struct {
	partition *partition // nil: the queue
	lease     *Lease
	watch     leaseWatch
	watching  bool

	entries  fifo[*entry]      // a stream's, by offset, from the first that is not committed
	runnable fifo[*entry]      // may start now
	queued   bool              // in the consumer's ready
	tail     *entry            // Ordered: the last one, which the next will wait for
	tails    map[string]*entry // OrderedByKey: the same for each key
	parked   []*entry          // a queue's that wait for a handler of their key, at most once
	waits    int               // entries in waiting, backingOff and buryWaiting
	active   int               // entries in running and burying
	places   int               // of the next entry
	top      int               // one above the place of the highest that was started
	closing  bool              // nothing above top is to start
	lost     bool
	commit   settle
}

// partition is what a partition's lanes have in common. There is more than
// one while handlers of a lost assignment still run.
type partition struct {
	name    string
	current *lane // nil: not ours
	former  int   // active entries of lanes that were lost
}

// state is what becomes of an entry.
type state int

const (
	waiting     state = iota // to be started
	running                  // in a slot
	backingOff               // failed, to be tried again in its place
	buryWaiting              // to be published to the dead letters, or once more after a while
	burying                  // being published there
	failed                   // to be given back when its lane is finished
	done                     // to be committed
	dropped                  // given back or lost
)

// entry is a delivery in hand.
type entry struct {
	d        *Delivery
	original Message // as it was received; Body and Headers are d's, see kept
	body     []byte  // copies for retries and dead letters, where there may be any
	headers  Headers
	kept     bool // body and headers are copied
	started  bool
	lane     *lane
	place    int // in the lane's entries
	state    state
	attempts int    // of this delivery's handling
	buries   int    // failed publishes to the dead letters
	reason   error  // for the dead letters
	terse    bool   // they took no more
	after    *entry // waits for this one, see chain
	free     *entry // the consumer's next unused one
}

// take takes in what Receive returned. It is called with mu held and gives it
// up for a moment.
func (c *consumer) take(ds []*Delivery) {
	var unwatched []*lane
	l := c.all
	for _, d := range ds {
		if d == nil {
			continue
		}
		if c.stream != nil && (l == nil || l.lost || l.lease != d.Lease || l.partition.name != d.Partition) {
			if l = c.laneOf(d); !l.watching {
				l.watching = true
				unwatched = append(unwatched, l)
			}
		}
		c.add(l, d)
	}
	if len(unwatched) == 0 {
		return
	}
	c.mu.Unlock()
	for _, l := range unwatched {
		// The lease may have ended since it was received: then nobody else
		// tells.
		if s := l.lease.watch(&l.watch); s != leaseHeld {
			l.watch.changed(s)
		}
	}
	c.mu.Lock()
}

// laneOf returns the lane of d's assignment.
func (c *consumer) laneOf(d *Delivery) *lane {
	p := c.partitions[d.Partition]
	if p == nil {
		p = &partition{name: d.Partition}
		c.partitions[p.name] = p
	}
	if l := p.current; l != nil {
		if l.lease == d.Lease {
			return l
		}
		c.lose(l, ErrLost) // a newer assignment says so
	}
	l := &lane{partition: p, lease: d.Lease, closing: c.isDrained}
	l.watch.changed = func(s leaseState) { c.leaseChanged(l, s) }
	l.commit = settle{call: c.stream.Commit, lane: l}
	p.current = l
	c.partitions[p.name] = p // losing the lane before may have dropped it
	return l
}

// leaseChanged is called by the lease, from any goroutine.
func (c *consumer) leaseChanged(l *lane, s leaseState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(l, s)
	c.wake()
	c.endIfDone()
}

// follow does what the state of the lane's lease asks for.
func (c *consumer) follow(l *lane, s leaseState) {
	switch {
	case c.ended:
	case s == leaseLost:
		c.lose(l, ErrLost)
	case s == leaseEnding:
		c.close(l)
	}
}

// add puts d at the end of l.
func (c *consumer) add(l *lane, d *Delivery) {
	e := c.newEntry(d, l)
	c.inHand++
	l.waits++
	if l.closing {
		c.giveBack(e)
		return
	}
	if l.partition != nil {
		e.place = l.places
		l.places++
		l.entries.push(e)
	}
	if !c.chain(e) {
		l.runnable.push(e)
		c.enqueue(l)
	}
}

func (c *consumer) newEntry(d *Delivery, l *lane) *entry {
	e := c.free
	if e == nil {
		e = new(entry)
	} else {
		c.free = e.free
	}
	*e = entry{d: d, original: d.Message, lane: l, body: e.body[:0], headers: e.headers[:0]}
	return e
}

// mostKept is the largest copy of a body whose memory is used again.
const mostKept = 64 << 10

// keep copies what the handler may write to, if it may be needed again: a
// retry in place and a dead letter have the message as it was received.
func (c *consumer) keep(e *entry) {
	if e.kept || c.opts.Semantics == AtMostOnce || c.stream == nil && c.opts.DeadLetter == nil {
		return
	}
	e.kept = true
	e.body = append(e.body[:0], e.original.Body...)
	e.headers = append(e.headers[:0], e.original.Headers...)
}

// restored returns the message as it was received, in memory of its own.
func (e *entry) restored() Message {
	m := e.original
	if e.kept {
		if m.Body != nil {
			m.Body = append([]byte{}, e.body...)
		}
		m.Headers = slices.Clone(e.headers)
	}
	return m
}

// recycle takes back an entry that nothing refers to.
func (c *consumer) recycle(e *entry) {
	*e = entry{free: c.free, state: dropped, body: e.body[:0], headers: e.headers[:0]}
	if cap(e.body) > mostKept {
		e.body = nil
	}
	c.free = e
}

// chain puts e behind the one that it has to wait for, and says whether there
// is one.
func (c *consumer) chain(e *entry) bool {
	l := e.lane
	switch {
	case c.opts.Order == Unordered || c.opts.Order == OrderedByKey && e.original.Key == "":
		return false
	case l.partition == nil:
		return c.chainOnQueue(e)
	case c.opts.Order == Ordered:
		return link(&l.tail, e)
	}
	if l.tails == nil {
		l.tails = map[string]*entry{}
	}
	tail := l.tails[c.chainKey(e)]
	behind := link(&tail, e)
	l.tails[c.chainKey(e)] = tail
	return behind
}

// chainOnQueue is chain for a queue that promises key order. It has one
// message of a key out at a time, so that there is nothing to do, but where
// messages are settled before their handlers run: then the next one of the key
// comes, to this consumer or another, while the handler runs.
func (c *consumer) chainOnQueue(e *entry) bool {
	if c.opts.Semantics != AtMostOnce {
		return false
	}
	l := e.lane
	if l.tails == nil {
		l.tails = map[string]*entry{}
	}
	if l.tails[c.chainKey(e)] != nil {
		l.parked = append(l.parked, e)
		return true
	}
	l.tails[c.chainKey(e)] = e
	return false
}

// chainKey is what the entries that wait for one another have in common.
func (c *consumer) chainKey(e *entry) string {
	if c.opts.Order == Ordered {
		return ""
	}
	return e.original.Key
}

func link(tail **entry, e *entry) bool {
	last := *tail
	*tail = e
	if last != nil {
		last.after = e
	}
	return last != nil
}

// unchain lets start what waited for e.
func (c *consumer) unchain(e *entry) {
	l := e.lane
	next := e.after
	e.after = nil
	if i := slices.IndexFunc(l.parked, func(p *entry) bool { return c.chainKey(p) == c.chainKey(e) }); i >= 0 {
		next = l.parked[i]
		l.parked = slices.Delete(l.parked, i, i+1)
		l.tails[c.chainKey(e)] = next
	}
	switch {
	case next != nil:
		if next.state == waiting {
			l.runnable.push(next)
			c.enqueue(l)
		}
	case l.tail == e:
		l.tail = nil
	case l.tails != nil && l.tails[c.chainKey(e)] == e:
		delete(l.tails, c.chainKey(e))
	}
}

// enqueue makes l's next runnable entry start when its turn comes, unless
// handlers of a former assignment of its partition still run.
func (c *consumer) enqueue(l *lane) {
	if l.queued || l.lost || l.runnable.len() == 0 || l.partition != nil && l.partition.former > 0 {
		return
	}
	l.queued = true
	c.ready.push(l)
}

// takeReady returns the next entry to start, already counted as running. The
// lanes take turns. It returns nil if there is none after all.
func (c *consumer) takeReady() *entry {
	l := c.ready.pop()
	if l == nil {
		return nil
	}
	l.queued = false
	if s := l.lease.now(); s != leaseHeld {
		c.follow(l, s) // sooner than its watch, which waits for mu
	}
	e := l.runnable.pop()
	c.enqueue(l)
	if e == nil {
		return nil
	}
	if l.partition == nil {
		switch e.d.Lease.now() {
		case leaseLost:
			c.forget(e, nil)
			return nil
		case leaseEnding:
			c.unchain(e)
			c.giveBack(e)
			return nil
		}
	}
	if e.started {
		e.d.Message = e.restored()
	}
	e.started = true
	l.top = max(l.top, e.place+1)
	c.setState(e, running)
	c.running++
	return e
}

// setState moves e to a state and counts it there.
func (c *consumer) setState(e *entry, s state) {
	count := func(s state, by int) {
		switch s {
		case waiting, backingOff, buryWaiting:
			e.lane.waits += by
		case running, burying:
			e.lane.active += by
		}
	}
	count(e.state, -1)
	e.state = s
	count(s, +1)
}

// finish is the end of e's handling, by success: on a queue it is
// acknowledged, on a stream committed when all before it are.
func (c *consumer) finish(e *entry) {
	l := e.lane
	once := c.opts.Semantics == AtMostOnce
	switch {
	case c.isLost(e) && once:
		c.forget(e, nil) // it was settled before
		return
	case c.isLost(e):
		c.forget(e, ErrLost)
		return
	}
	c.setState(e, done)
	if l.partition == nil {
		if once {
			c.inHand--
			c.unchain(e)
		} else {
			c.toSettle(c.acks, e.d)
		}
		c.recycle(e)
		return
	}
	c.unchain(e)
	c.advance(l)
	c.finishLane(l)
}

// advance commits up to the last of the unbroken row of done entries.
func (c *consumer) advance(l *lane) {
	var last *Delivery
	n := 0
	for e := l.entries.first(); e != nil && e.state == done; e = l.entries.first() {
		l.entries.pop()
		last, n = e.d, n+1
		c.recycle(e)
	}
	if c.opts.Semantics == AtMostOnce {
		c.inHand -= n // committed before it was started
		return
	}
	if n > 0 {
		l.commit.n += n
		l.commit.ds = append(l.commit.ds[:0], last)
		c.queueSettle(&l.commit)
	}
}

func (c *consumer) isLost(e *entry) bool {
	return e.lane.lost || e.d.Lease.now() == leaseLost
}

// later calls again for e after a delay, unless its state changes before.
func (c *consumer) later(e *entry, s state, delay time.Duration, again func(*entry)) {
	c.setState(e, s)
	c.timers[e] = time.AfterFunc(delay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended || e.state != s {
			return
		}
		delete(c.timers, e)
		again(e)
		c.wake()
		c.endIfDone()
	})
}

func (c *consumer) stopTimer(e *entry) {
	if t := c.timers[e]; t != nil {
		t.Stop()
		delete(c.timers, e)
	}
}
