package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// pipe publishes to one exchange, many messages at a time: over one connection,
// divided into lanes. A call stays in one lane, so that its messages keep their
// order; calls that follow one another keep it, since each waits for its
// confirms.
type pipe struct {
	o        *options
	exchange string
	conns    *link[*connection]
	lanes    [laneCount]*link[*lane]
	load     [laneCount]atomic.Int64 // messages in flight
	next     atomic.Uint32           // the lane that is next when all are full
	answered atomic.Int64            // when the latest confirm came that left a lane idle, in ns of Unix
	largest  atomic.Int64            // the largest body that the broker takes, where it has said so; else 0
}

const (
	// laneCount: several channels of half the window are faster than one of all
	// of it: the broker works on them side by side, and amqp091 walks over
	// everything in flight on a channel for each confirm of several messages.
	laneCount = 4

	// laneWindow is the most that is in flight on a lane.
	laneWindow = 500

	// mostUnwritten is how many bytes may wait for the network before nobody
	// adds any more.
	mostUnwritten = 4 << 20

	firstNackPause, mostNackPause = 20 * time.Millisecond, time.Second
)

// item is a message on its way.
type item struct {
	key     string // routing key
	p       amqp.Publishing
	confirm *amqp.DeferredConfirmation // in flight; else nil
	unknown bool                       // an attempt may have stored it
	done    bool
	err     error // of what is done
}

// newPipe makes a pipe whose first connection is c, or opens one where that is
// nil.
func newPipe(o *options, exchange string, c *connection) *pipe {
	p := &pipe{o: o, exchange: exchange}
	p.conns = newLink(c, firstPause, p.connect,
		func(c *connection) {
			o.say("rabbitmq: a publisher's connection was lost", "broker", o.dialer.addr, "cause", c.why())
		},
		func(err error) { o.say("rabbitmq: a publisher cannot connect", "broker", o.dialer.addr, "error", err) })
	for i := range p.lanes {
		p.lanes[i] = newLink(nil, 0, func(ctx context.Context) (*lane, error) { return p.openLane(ctx, &p.load[i]) }, nil, nil)
	}
	return p
}

// connect opens a connection on which the exchange is still there.
func (p *pipe) connect(ctx context.Context) (*connection, error) {
	c, err := p.o.dialer.dial(ctx)
	if err != nil || p.exchange == "" {
		return c, err
	}
	if err := c.call(ctx, func(ch *amqp.Channel) error { return lookExchange(ch, p.exchange) }); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// begin waits until the first lane is open.
func (p *pipe) begin(ctx context.Context) error {
	b := bound{ctx: ctx}
	defer b.end()
	_, err := p.lanes[0].get(&b)
	return err
}

// stop closes the connection and waits for everything.
func (p *pipe) stop() {
	for _, l := range p.lanes {
		l.cancel()
	}
	p.conns.stop()
	for _, l := range p.lanes {
		l.stop()
	}
}

// publish publishes items, and returns when each is done or b says that there
// is no more time.
func (p *pipe) publish(b *bound, items []item) {
	home := p.home(len(items))
	for pause := firstNackPause; ; pause = min(2*pause, mostNackPause) {
		if p.refuseLarge(items) {
			return
		}
		l, err := home.get(b)
		if err != nil {
			fail(items, err)
			return
		}
		r, err := l.run(b, p.exchange, items)
		if err != nil {
			l.abandon(items)
			fail(items, err)
			return
		}
		if allDone(items) {
			return
		}
		cause := l.why()
		if large, ok := largestIn(cause); ok {
			p.largest.Store(int64(large))
		}
		if !p.o.retry && r.tried {
			if r.nacked {
				cause = errNacked
			}
			p.refuseLarge(items)
			fail(items, cause)
			return
		}
		if r.nacked {
			if err := b.sleep(pause); err != nil {
				fail(items, err)
				return
			}
		}
	}
}

// home returns the first lane that has room for n messages, or one in turn. A
// lane that others use is better than one that nobody does: the broker confirms
// more messages at once.
func (p *pipe) home(n int) *link[*lane] {
	for i := range p.load {
		if load := p.load[i].Load(); load == 0 || int(load)+n <= laneWindow {
			return p.lanes[i]
		}
	}
	return p.lanes[p.next.Add(1)%laneCount]
}

var (
	errNacked = errors.New("the broker could not store it (nack)")
	errGaveUp = errors.New("the publisher was closed before the answer came")
)

// refuseLarge refuses what is too large, and says whether that was the last.
func (p *pipe) refuseLarge(items []item) (all bool) {
	most := p.o.maxMessage
	if learned := int(p.largest.Load()); learned > 0 && (most == 0 || learned < most) {
		most = learned
	}
	all = true
	for i := range items {
		it := &items[i]
		if !it.done && most > 0 && len(it.p.Body) > most {
			it.done, it.err = true, fmt.Errorf("body of %d bytes, the broker takes %d: %w", len(it.p.Body), most, messaging.ErrTooLarge)
		}
		all = all && it.done
	}
	return all
}

func allDone(items []item) bool {
	for i := range items {
		if !items[i].done {
			return false
		}
	}
	return true
}

// fail gives what is not done its error: what no attempt can have stored has
// err, and everything else is uncertain.
func fail(items []item, err error) {
	uncertain := err
	if errors.Is(err, messaging.ErrClosed) {
		uncertain = errGaveUp
	}
	uncertain = fmt.Errorf("%w: %w", messaging.ErrUncertain, uncertain)
	for i := range items {
		it := &items[i]
		switch {
		case it.done:
		case it.unknown:
			it.done, it.err = true, uncertain
		default:
			it.done, it.err = true, err
		}
	}
}
