package messaging

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// consumer is one call of Consume. What is to be done next is decided under
// mu by pick; whichever goroutine of the pool is free does it, without mu. A
// goroutine belongs to no task: the one that ran a handler may settle next.
//
// The order of locks is: a backend's, a lease's, mu. So neither the
// subscriber, nor a lease's methods other than now, are called with mu held,
// and no code of users.
type consumer struct {
	sub     Subscriber
	queue   QueueSubscriber  // nil: a stream
	stream  StreamSubscriber // nil: a queue
	caps    Capabilities
	handler Handler
	opts    ConsumeOptions

	receiveCtx  context.Context // of Receive: ends when draining begins
	stopReceive context.CancelFunc
	handleCtx   context.Context // parent of the handlers': ends with cause ErrGrace
	cutHandlers context.CancelCauseFunc
	settleCtx   context.Context // of settles: ends last
	stopSettles context.CancelFunc

	draining chan struct{} // closed when nothing new is to start
	gone     chan struct{} // closed when nothing is in hand and nothing under way
	workers  sync.WaitGroup

	mu        sync.Mutex
	idle      []*worker
	waking    bool  // a goroutine is on its way to pick
	jobs      int   // under way
	burying   int   // publishes to the dead letters
	running   int   // handlers, with their settles when at most once
	inHand    int   // deliveries received and not yet settled or given back
	releasing int   // those of inHand that are only being given back
	receiving bool  // a Receive is under way
	eof       bool  // the last Receive was io.EOF
	isDrained bool  // draining is closed
	isCut     bool  // Grace is over
	ended     bool  // gone is closed, or the rest was abandoned
	cutOff    bool  // a handler was ended by Grace: its delivery is not settled
	err       error // the final error of Receive

	all        *lane                 // the queue's only lane; nil on a stream
	partitions map[string]*partition // a stream's
	ready      fifo[*lane]           // lanes with something to run
	burials    fifo[*entry]          // to be dead-lettered when it is their turn, see nextBurial
	timers     map[*entry]*time.Timer
	acks       *settle
	releases   *settle
	nacks      map[time.Duration]*settle
	settles    fifo[*settle] // those with something to do and not under way
	reports    []report
	failures   failures // attempts by id, where a queue's broker does not count
	free       *entry
}

// report is something for OnError that came up with mu held.
type report struct {
	d   *Delivery
	err error
}

func (c *consumer) setup(ctx context.Context) {
	values := context.WithoutCancel(ctx)
	c.receiveCtx, c.stopReceive = context.WithCancel(ctx)
	c.handleCtx, c.cutHandlers = context.WithCancelCause(values)
	c.settleCtx, c.stopSettles = context.WithCancel(values)
	c.draining, c.gone = make(chan struct{}), make(chan struct{})
	c.timers = map[*entry]*time.Timer{}
	if c.stream != nil {
		c.partitions = map[string]*partition{}
		return
	}
	c.all = &lane{}
	c.acks = &settle{call: c.queue.Ack}
	c.nacks = map[time.Duration]*settle{}
}

type jobKind int

const (
	noJob jobKind = iota
	jobReport
	jobHandle
	jobSettle
	jobBury
	jobReceive
)

// pick says what is to be done next.
func (c *consumer) pick() jobKind {
	switch {
	case c.ended:
		return noJob
	case len(c.reports) > 0:
		return jobReport
	case c.ready.len() > 0 && c.running < c.opts.Concurrency:
		return jobHandle
	case c.settles.len() > 0:
		return jobSettle
	case c.burials.len() > 0 && c.burying < c.opts.Concurrency:
		return jobBury
	case c.demand() > 0:
		return jobReceive
	}
	return noJob
}

// streamBatch is the most that one Receive of a stream asks for. What bounds
// the deliveries in hand are the subscriber's windows.
const streamBatch = 1024

// demand returns for how many messages to ask now.
func (c *consumer) demand() int {
	switch {
	case c.receiving || c.isDrained || c.eof && c.inHand > 0:
		return 0
	case c.stream != nil:
		return streamBatch
	}
	// What waits for the dead letters is not counted: it needs no slot.
	// Nor is what is parked: its key has a handler that runs.
	demand := c.opts.Concurrency - c.running - c.all.runnable.len()
	if c.opts.Semantics != AtMostOnce {
		demand += c.opts.Concurrency
	}
	return demand
}

// wake gets a goroutine for what is to be done next, unless one is on its
// way; that one wakes the next. Each change under mu that may give something
// to do ends with it.
func (c *consumer) wake() {
	if c.waking || c.pick() == noJob {
		return
	}
	c.waking = true
	if n := len(c.idle); n > 0 {
		w := c.idle[n-1]
		c.idle = c.idle[:n-1]
		w.woken <- struct{}{}
		return
	}
	c.workers.Go(c.work)
}

// work is a goroutine of the pool.
func (c *consumer) work() {
	w := &worker{c: c, woken: make(chan struct{}, 1)}
	w.watch.changed = w.leaseChanged
	defer func() {
		if w.exited {
			c.jobs--
			c.wake()
			c.endIfDone()
			c.mu.Unlock()
		}
	}()
	c.mu.Lock()
	c.waking = false
	for {
		kind := c.pick()
		if kind == noJob {
			if !c.park(w) {
				break
			}
			continue
		}
		c.jobs++
		w.do(kind)
		c.jobs--
	}
	c.mu.Unlock()
}

// park waits until there is something to do, and returns false when the
// goroutine is to end.
func (c *consumer) park(w *worker) bool {
	c.endIfDone()
	if c.ended || len(c.idle) > c.opts.Concurrency {
		return false
	}
	c.idle = append(c.idle, w)
	c.mu.Unlock()
	<-w.woken
	c.mu.Lock()
	c.waking = false
	return true
}

// do does one job. It is called, and returns, with mu held. Each job, before
// it gives up mu, wakes a goroutine for the next one.
func (w *worker) do(kind jobKind) {
	switch c := w.c; kind {
	case jobReport:
		c.report()
	case jobHandle:
		if c.receiveCtx.Err() != nil {
			c.drain(nil) // sooner than Consume's own goroutine, which waits for it
		}
		if e := c.takeReady(); e != nil {
			w.handle(e)
		}
	case jobSettle:
		c.settle(c.settles.pop())
	case jobBury:
		if e := c.nextBurial(); e != nil {
			w.bury(e)
		}
	case jobReceive:
		c.receive()
	}
}

func (c *consumer) report() {
	reports := c.reports
	c.reports = nil
	c.wake()
	c.mu.Unlock()
	for _, r := range reports {
		c.opts.OnError(r.d, r.err)
	}
	c.mu.Lock()
}

// tell gives an error to OnError, from a place that holds mu.
func (c *consumer) tell(d *Delivery, err error) {
	if c.opts.OnError != nil {
		c.reports = append(c.reports, report{d, err})
	}
}

// receive asks for what is demanded and takes in what comes.
func (c *consumer) receive() {
	demand, hadNothing := c.demand(), c.inHand == 0
	c.receiving, c.eof = true, false
	c.wake()
	c.mu.Unlock()
	ds, err := c.sub.Receive(c.receiveCtx, demand)
	c.mu.Lock()
	c.receiving = false
	c.take(ds)
	switch {
	case err == nil && len(ds) > 0:
	case c.receiveCtx.Err() != nil:
		c.drain(nil) // a Receive that fails then was ended by it
	case err == io.EOF: // not errors.Is: a connection's EOF is not the stream's
		if c.eof = true; hadNothing && c.inHand == 0 {
			c.drain(nil)
		}
	case err == nil:
		c.drain(fmt.Errorf("messaging: consume: Receive of a %T returned neither deliveries nor an error", c.sub))
	default:
		c.drain(fmt.Errorf("messaging: consume: receive: %w", err))
	}
}

// drain stops receiving and closes every lane. It is called with mu held.
func (c *consumer) drain(err error) {
	if c.isDrained {
		return
	}
	c.isDrained, c.err = true, err
	c.stopReceive()
	close(c.draining)
	if c.all != nil {
		c.close(c.all)
	}
	for _, p := range c.partitions {
		if p.current != nil {
			c.close(p.current)
		}
	}
	c.wake()
	c.endIfDone()
}

// endIfDone ends the pool when draining has come to its end.
func (c *consumer) endIfDone() {
	if c.isDrained && !c.ended && c.inHand == 0 && c.jobs == 0 && c.pick() == noJob {
		c.end()
	}
}

// end lets the pool's goroutines end.
func (c *consumer) end() {
	c.ended = true
	close(c.gone)
	for _, w := range c.idle {
		w.woken <- struct{}{}
	}
	c.idle = nil
}
