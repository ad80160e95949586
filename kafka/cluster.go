package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/fa5182d2/messaging"
)

// cluster is the brokers of one publisher or subscriber, and what is known of
// its topic.
type cluster struct {
	o    *options
	meta atomic.Pointer[metadata] // the latest that could be had

	refreshing chan struct{} // holds one while nobody refreshes

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{} // all that are open
	idle   map[string][]*conn // of these, those that wait for a call, by address
	done   chan struct{}      // closed with the cluster
	ctx    context.Context    // ends with it
	cancel context.CancelFunc
}

// metadata is the layout of the cluster, for one topic. It is never written to.
type metadata struct {
	at         time.Time
	brokers    map[int32]string // addresses by id
	controller int32
	code       int16   // of the topic
	leaders    []int32 // by partition; below 0 for none
}

// mostIdle is how many connections to one broker wait for the next call.
const mostIdle = 3

func newCluster(o *options) *cluster {
	c := &cluster{
		o: o, refreshing: make(chan struct{}, 1), done: make(chan struct{}),
		conns: map[*conn]struct{}{}, idle: map[string][]*conn{},
	}
	c.refreshing <- struct{}{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// close closes all connections, which ends what waits for them.
func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.cancel()
	close(c.done)
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.conns, c.idle = nil, nil
}

// dial opens a connection that close closes.
func (c *cluster) dial(ctx context.Context, id int32, addr string) (*conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := c.o.dialer.open(ctx, id, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c.conns[conn] = struct{}{}
	return conn, nil
}

// drop closes a connection that is of no more use.
func (c *cluster) drop(conn *conn) {
	if conn == nil {
		return
	}
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// dialBroker opens a connection to a broker by its id.
func (c *cluster) dialBroker(ctx context.Context, id int32) (*conn, error) {
	addr, ok := c.layout().brokers[id]
	if !ok {
		return nil, fmt.Errorf("broker %d is not in the cluster's metadata", id)
	}
	return c.dial(ctx, id, addr)
}

// layout returns the metadata as known.
func (c *cluster) layout() *metadata {
	if m := c.meta.Load(); m != nil {
		return m
	}
	return &metadata{}
}

// call sends a request to a broker and returns the response. It gives up when
// ctx ends, or after requestTimeout.
func (c *cluster) call(ctx context.Context, id int32, addr string, m protocol.Message) (protocol.Message, error) {
	return c.callFor(ctx, id, addr, m, requestTimeout)
}

// mostTries is how often a request is sent that can be sent again, when the
// connection breaks before its answer.
const mostTries = 4

// callFor is call for what takes its time.
func (c *cluster) callFor(ctx context.Context, id int32, addr string, m protocol.Message, patience time.Duration) (r protocol.Message, err error) {
	for try := 1; try <= mostTries; try++ {
		if try > 1 && c.wait(ctx, backoff(try-1)) != nil {
			break
		}
		if r, err = c.callOnce(ctx, id, addr, m, patience, try > 1); err == nil || !broken(err) {
			break
		}
	}
	return r, err
}

// callOnce is a call on a connection that waits for one, or on a fresh one.
func (c *cluster) callOnce(ctx context.Context, id int32, addr string, m protocol.Message, patience time.Duration, fresh bool) (protocol.Message, error) {
	conn, err := c.take(ctx, id, addr, fresh)
	if err != nil {
		return nil, err
	}
	r, err := exchange(ctx, conn, m, patience)
	if err != nil {
		c.drop(conn)
		return nil, hung(err, fmt.Sprintf("a %v request", m.ApiKey()))
	}
	c.giveBack(addr, conn)
	return r, nil
}

// broken says whether a connection came to its end, which another may not. That
// none could be made is not that.
func broken(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// exchange is a call on a connection of its own.
func exchange(ctx context.Context, conn *conn, m protocol.Message, patience time.Duration) (protocol.Message, error) {
	deadline := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d.Add(time.Second) // the end of ctx itself comes first
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	r, err := conn.call(deadline, m)
	if !stop() {
		return nil, cause(ctx)
	}
	return r, err
}

// take returns a connection that waits, or a new one.
func (c *cluster) take(ctx context.Context, id int32, addr string, fresh bool) (*conn, error) {
	c.mu.Lock()
	if waiting := c.idle[addr]; len(waiting) > 0 && !fresh {
		conn := waiting[len(waiting)-1]
		c.idle[addr] = waiting[:len(waiting)-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	return c.dial(ctx, id, addr)
}

func (c *cluster) giveBack(addr string, conn *conn) {
	c.mu.Lock()
	if !c.closed && len(c.idle[addr]) < mostIdle {
		c.idle[addr] = append(c.idle[addr], conn)
		conn = nil
	}
	c.mu.Unlock()
	c.drop(conn)
}

// any sends a request to some broker: those that are known, then the seeds.
// When none can be asked, the error says why of each.
func (c *cluster) any(ctx context.Context, m protocol.Message) (protocol.Message, error) {
	var errs []error
	tried := map[string]bool{}
	try := func(id int32, addr string) (protocol.Message, bool) {
		if tried[addr] || ctx.Err() != nil {
			return nil, false
		}
		tried[addr] = true
		r, err := c.call(ctx, id, addr, m)
		if err != nil {
			errs = append(errs, err)
		}
		return r, err == nil
	}
	for id, addr := range c.layout().brokers {
		if r, ok := try(id, addr); ok {
			return r, nil
		}
	}
	for _, addr := range c.o.seeds {
		if r, ok := try(-1, addr); ok {
			return r, nil
		}
	}
	if err := ctx.Err(); err != nil {
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// find asks for the topic for the first time, and creates it where that is
// wanted.
func (c *cluster) find(ctx context.Context) error {
	if err := c.refresh(ctx, time.Now()); err != nil {
		return err
	}
	m := c.layout()
	if isMissing(m.code) && c.o.create {
		return c.create(ctx)
	}
	if isMissing(m.code) {
		return fmt.Errorf("no topic %q; create it, or say create=true: %w", c.o.topic, codeError(m.code))
	}
	if m.code != 0 && !passing(m.code) {
		return codeError(m.code)
	}
	return nil
}

// wait returns after a while, or with the error of ctx or ErrClosed.
func (c *cluster) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cause(ctx)
	case <-c.done:
		return messaging.ErrClosed
	}
}

// backoff doubles from 20 ms to 1 s: how long to wait before the nth try.
func backoff(try int) time.Duration {
	return min(time.Second, 20*time.Millisecond<<min(max(try, 1)-1, 10))
}
