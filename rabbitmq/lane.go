package rabbitmq

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// lane is a channel for publishing, with a window of messages that wait for
// their confirms.
type lane struct {
	c       *connection
	load    *atomic.Int64 // of the pipe: messages in flight
	latest  *atomic.Int64 // of the pipe: when a confirm left a lane idle
	ch      *amqp.Channel
	over    chan struct{}
	returns chan amqp.Return // holds more than the window: amqp091 drops what nobody takes
	room    chan struct{}    // holds one: there may be room in the window
	wake    chan struct{}    // holds one: something was abandoned

	mu        sync.Mutex
	cause     error // why it ended
	limit     int   // the window
	clean     int   // confirms to come before a careful lane has its whole window
	inFlight  int
	probe     chan struct{}  // not nil while the first message after a pause is alone in flight
	prober    uint64         // its delivery tag
	returned  map[letter]int // unroutable, and not yet known to whoever published it
	abandoned []item         // in flight, and nobody waits for it
}

// letter is what a returned message is known by. Two that have all of it in
// common have the same destination, so it does not matter which is which.
type letter struct{ id, key string }

const (
	// probeAfter is for how long nothing was answered before one message goes
	// alone on a lane where nothing is in flight. When the exchange has gone meanwhile, or may not be written to any
	// more, it is known which message was refused; with more in flight, the
	// broker does not say which were before it. Under load nothing waits.
	probeAfter = time.Millisecond

	// carefulFor is after how many confirms a lane whose predecessor ended with
	// an error, and therefore sends one message at a time, trusts the broker.
	carefulFor = 3
)

func (l *lane) ended() <-chan struct{} { return l.over }

// close does nothing: the channel ends with its connection, and one that ended
// before has ended with an error of its own.
func (l *lane) close() {}

func (l *lane) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// openLane opens a lane on the pipe's connection.
func (p *pipe) openLane(ctx context.Context, load *atomic.Int64) (*lane, error) {
	b := bound{ctx: ctx}
	defer b.end()
	c, err := p.conns.get(&b)
	if err != nil {
		return nil, err
	}
	careful := c.trouble.Load()
	if careful && p.exchange != "" {
		if err := c.call(ctx, func(ch *amqp.Channel) error { return lookExchange(ch, p.exchange) }); err != nil {
			return nil, err
		}
	}
	type result struct {
		l   *lane
		err error
	}
	done := make(chan result, 1)
	c.wg.Go(func() {
		l, err := newLane(c, load, &p.answered, careful)
		done <- result{l, err}
	})
	select {
	case r := <-done:
		return r.l, judged(r.err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newLane(c *connection, load, latest *atomic.Int64, careful bool) (*lane, error) {
	ch, err := c.conn.Channel()
	if err != nil {
		return nil, err
	}
	l := &lane{
		c: c, load: load, latest: latest, ch: ch, over: make(chan struct{}), limit: laneWindow,
		room: make(chan struct{}, 1), wake: make(chan struct{}, 1), returned: map[letter]int{},
	}
	load.Store(0)
	if careful {
		l.limit, l.clean = 1, carefulFor
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	l.returns = ch.NotifyReturn(make(chan amqp.Return, laneWindow+1))
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	c.wg.Go(func() { l.watch(closed) })
	return l, nil
}

// watch waits for the end, and for what nobody else waits for.
func (l *lane) watch(closed <-chan *amqp.Error) {
	for {
		select {
		case err := <-closed:
			l.mu.Lock()
			l.cause = l.c.why()
			if err != nil {
				l.cause = judged(err)
				l.c.trouble.Store(err.Server)
			}
			l.mu.Unlock()
			close(l.over)
			return
		case <-l.oldestAbandoned():
			l.reap()
		case <-l.wake:
		}
	}
}

// offer sends an item, or returns what to wait for before another try.
func (l *lane) offer(exchange string, it *item) (wait <-chan struct{}, err error) {
	if blocked := l.c.unblocked(); blocked != nil {
		return blocked, nil
	}
	if crowd := l.c.wire.below(mostUnwritten); crowd != nil {
		return crowd, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probe != nil {
		return l.probe, nil
	}
	if l.inFlight >= l.limit {
		return l.room, nil
	}
	probe := l.inFlight == 0 && time.Now().UnixNano()-l.latest.Load() > int64(probeAfter)
	it.confirm, err = l.ch.PublishWithDeferredConfirm(exchange, it.key, true, false, it.p)
	if err != nil {
		it.confirm = nil
		return nil, err
	}
	if probe {
		l.probe, l.prober = make(chan struct{}), it.confirm.DeliveryTag
	}
	l.load.Add(1)
	if l.inFlight++; l.inFlight < l.limit {
		l.signal(l.room) // for the next that waits
	}
	return nil, nil
}

func (l *lane) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// landed takes a message out of flight, and says whether it was alone.
func (l *lane) landed(tag uint64) (alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alone = l.inFlight == 1
	if l.ch.IsClosed() {
		return alone // the others are still counted, for them to see that they were not alone
	}
	l.load.Add(-1)
	if l.inFlight--; l.inFlight == 0 {
		l.latest.Store(time.Now().UnixNano())
	}
	if l.probe != nil && l.prober == tag {
		close(l.probe)
		l.probe = nil
	}
	if l.clean > 0 {
		if l.clean--; l.clean == 0 {
			l.limit = laneWindow
			l.c.trouble.Store(false)
		}
	}
	l.signal(l.room)
	return alone
}

// wasReturned says whether the broker returned a message, which it then
// confirms.
func (l *lane) wasReturned(it *item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	// amqp091 hands a return on before it looks at the confirm.
	for {
		select {
		case r, ok := <-l.returns:
			if !ok {
				l.returns = nil // blocks for ever: the default is next
				continue
			}
			l.returned[letter{r.MessageId, r.RoutingKey}]++
			continue
		default:
		}
		break
	}
	of := letter{it.p.MessageId, it.key}
	n := l.returned[of]
	if n > 1 {
		l.returned[of] = n - 1
	} else {
		delete(l.returned, of)
	}
	return n > 0
}

// abandon leaves what is in flight of a call that waits no longer to the lane:
// it keeps its place in the window until the broker answers.
func (l *lane) abandon(items []item) {
	l.mu.Lock()
	for i := range items {
		it := &items[i]
		if it.confirm == nil {
			continue
		}
		it.unknown = true
		l.abandoned = append(l.abandoned, item{key: it.key, confirm: it.confirm, p: amqp.Publishing{MessageId: it.p.MessageId}})
		it.confirm = nil
	}
	l.mu.Unlock()
	l.signal(l.wake)
}

func (l *lane) oldestAbandoned() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.abandoned) == 0 {
		return nil
	}
	return l.abandoned[0].confirm.Done()
}

// reap takes the oldest abandoned message, which has been answered, out of
// flight.
func (l *lane) reap() {
	l.mu.Lock()
	it := l.abandoned[0]
	l.abandoned = l.abandoned[1:]
	l.mu.Unlock()
	l.landed(it.confirm.DeliveryTag)
	l.wasReturned(&it)
}
