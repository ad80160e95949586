package kafka

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

const (
	// closeBound is how long Close of a publisher waits for calls under way.
	closeBound = 5 * time.Second

	// mostMessage is above what a broker reads (socket.request.max.bytes, 100
	// MiB by default): it would close the connection instead of refusing.
	mostMessage = 100<<20 - 1<<10

	// mostBatch is the largest batch that is made where the topic takes more.
	mostBatch = 1 << 20
)

// publisher publishes to a topic as an idempotent producer (KIP-98).
type publisher struct {
	c      *cluster
	o      *options
	packer packer
	limit  atomic.Int64            // of a batch
	lanes  atomic.Pointer[[]*lane] // by partition
	sticky atomic.Int32            // where messages without a key go
	pool   sync.Pool               // of calls

	mu      sync.Mutex
	all     []*lane // also those of partitions that are no more
	senders map[int32]*sender
	mender  mender
	wg      sync.WaitGroup // senders and the mender

	calls   atomic.Int64  // under way; closing is added when Close was called
	drained chan struct{} // holds one: closing, and no call is under way
	abort   chan struct{} // closed when Close does not wait any longer
	done    chan struct{} // closed when the goroutines are to end
	closed  chan struct{} // closed when the first Close has done its work
}

// closing is above any number of calls.
const closing = 1 << 62

// newPublisher opens a publisher. It asks for the largest batch and a producer
// id, which is for speed: both are had later, too.
func newPublisher(ctx context.Context, c *cluster, o *options) *publisher {
	p := &publisher{
		c: c, o: o, packer: packer{o.compression}, senders: map[int32]*sender{},
		drained: make(chan struct{}, 1), abort: make(chan struct{}), done: make(chan struct{}), closed: make(chan struct{}),
	}
	p.mender = mender{p: p, wake: make(chan struct{}, 1), shared: noID}
	p.pool.New = func() any { return &call{p: p} }
	p.limit.Store(int64(min(mostBatch, c.maxBatch(ctx))))
	if id, err := c.producerID(ctx); err == nil {
		p.mender.shared = id
	}
	p.reshape()
	p.wg.Go(p.mender.run)
	return p
}

// reshape makes the lanes those of the partitions that the topic has.
func (p *publisher) reshape() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.c.layout().leaders)
	if old := p.lanes.Load(); n == 0 || old != nil && len(*old) == n {
		return
	}
	for i := len(p.all); i < n; i++ {
		p.all = append(p.all, &lane{p: p, partition: int32(i), who: identity{id: noID}})
	}
	lanes := p.all[:n:n]
	p.lanes.Store(&lanes)
}

// rotate makes another partition that of the messages without a key, when a
// batch of this one begins its way: so that batches are large and partitions
// share them evenly (KIP-480).
func (p *publisher) rotate(from int32) {
	lanes := *p.lanes.Load()
	m := p.c.layout()
	for i := 1; i <= len(lanes); i++ {
		next := (from + int32(i)) % int32(len(lanes))
		if m.leader(next) >= 0 {
			p.sticky.CompareAndSwap(from, next)
			return
		}
	}
}

func (p *publisher) batchBytes() int { return int(p.limit.Load()) }

// shrink learns that the topic took no batch of that size.
func (p *publisher) shrink(size int) {
	const least = 16 << 10
	if half := max(least, size/2); int64(half) < p.limit.Load() {
		p.limit.Store(int64(half))
	}
}

// Publish implements messaging.Publisher.
func (p *publisher) Publish(ctx context.Context, msgs ...messaging.Message) error {
	defer p.leave()
	if p.calls.Add(1) >= closing {
		return p.failed(len(msgs), messaging.ErrClosed)
	}
	if len(msgs) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return p.failed(len(msgs), err)
	}
	c := p.pool.Get().(*call)
	errs := c.do(ctx, msgs)
	c.reset()
	p.pool.Put(c)
	return p.wrap(errs)
}

func (p *publisher) leave() {
	if p.calls.Add(-1) == closing {
		select {
		case p.drained <- struct{}{}:
		default:
		}
	}
}

// failed is the error of n messages that failed for one reason.
func (p *publisher) failed(n int, err error) error {
	if n == 0 {
		return fmt.Errorf("kafka: publish to %s: %w", p.o.topic, err)
	}
	return p.wrap(fill(nil, n, err))
}

// wrap is the error of a call with the errors of its arguments, if any.
func (p *publisher) wrap(errs []error) error {
	if errs == nil {
		return nil
	}
	return fmt.Errorf("kafka: publish to %s: %w", p.o.topic, &messaging.BatchError{Errs: errs})
}

// Close implements messaging.Publisher.
func (p *publisher) Close() error {
	calls := p.calls.Or(closing)
	if calls >= closing {
		<-p.closed
		return nil
	}
	defer close(p.closed)
	err := p.drain(calls)
	close(p.done)
	p.c.close()
	p.wg.Wait()
	return err
}

// drain waits for the calls under way, for a bounded time.
func (p *publisher) drain(calls int64) error {
	if calls == 0 {
		return nil
	}
	bound := time.NewTimer(closeBound)
	defer bound.Stop()
	select {
	case <-p.drained:
		return nil
	case <-bound.C:
		close(p.abort)
		<-p.drained
		return fmt.Errorf("kafka: close publisher of %s: gave up after %v on calls that the broker had not answered", p.o.topic, closeBound)
	}
}
