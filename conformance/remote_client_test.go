package conformance_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// remote is the client of a remoteServer.
type remote struct {
	address string
	broken  remoteBug // "" is honest
}

// remoteBug is how a mutant of the client is broken. Each is what a careless
// author of a backend writes.
type remoteBug string

const (
	acksByNumber   remoteBug = "acks an old delivery by its number on the connection that came after"
	nilBeforeReply remoteBug = "takes a publish whose connection was lost for done"
	failsWhenLost  remoteBug = "tells a publish whose reply was lost as failed"
	staysAway      remoteBug = "never connects again"
	trustsSilence  remoteBug = "takes a connection that says nothing for a good one"
	freshIDs       remoteBug = "publishes again with new ids"
	acksOnReceipt  remoteBug = "acknowledges what arrives at once"
	forgetsHeld    remoteBug = "is killed, and has forgotten what consumers held" // the server
)

func (b *remote) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	c, err := b.open(ctx, "publisher", u)
	return &remotePublisher{remoteClient: c, retry: u.Query().Get("retry") != "none"}, err
}

func (b *remote) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	c, err := b.open(ctx, "queue", u)
	return &remoteSubscriber{remoteClient: c}, err
}

func (b *remote) OpenStream(ctx context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	c, err := b.open(ctx, "stream", u)
	return &remoteSubscriber{remoteClient: c}, err
}

// remoteClient is a publisher or subscriber, over one connection after the
// other.
type remoteClient struct {
	*remote
	role, url string
	turn      chan struct{} // holds one while somebody connects
	ctx       context.Context
	cancel    context.CancelFunc

	mu   sync.Mutex
	conn *remoteConn
	caps messaging.Capabilities
}

func (b *remote) open(ctx context.Context, role string, u *url.URL) (*remoteClient, error) {
	mem := *u
	mem.Scheme = "mem"
	c := &remoteClient{remote: b, role: role, url: mem.String(), turn: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	_, err := c.connection(ctx)
	if err != nil {
		c.cancel()
	}
	return c, err
}

// connection returns one that is believed to be good, and waits for it.
func (c *remoteClient) connection(ctx context.Context) (*remoteConn, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		c.mu.Lock()
		conn := c.conn
		c.mu.Unlock()
		switch {
		case c.ctx.Err() != nil:
			return nil, messaging.ErrClosed
		case conn != nil && (conn.alive() || c.broken == staysAway):
			return conn, nil
		}
		conn, err := c.connect(ctx)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, errRemoteGone) {
			return nil, err
		}
		select {
		case <-time.After(remoteBeat):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
		}
	}
}

var errRemoteGone = errors.New("the connection is gone")

func (c *remoteClient) connect(ctx context.Context) (*remoteConn, error) {
	dialing, cancel := context.WithTimeout(ctx, 20*remoteBeat)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(dialing, "tcp", c.address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRemoteGone, err)
	}
	conn := &remoteConn{
		socket: socket, out: gob.NewEncoder(socket), waiting: map[int]chan *remoteReply{}, gone: make(chan struct{}), closed: make(chan struct{}),
		leases: map[int]*messaging.Lease{}, silent: c.broken == trustsSilence, changed: make(chan struct{}, 1),
	}
	conn.loops.Go(conn.listen)
	conn.loops.Go(conn.beat)
	reply, _, err := conn.call(dialing, &remoteRequest{Op: "open", Role: c.role, URL: c.url})
	if err == nil {
		err = reply.Errs[0].receive()
	} else if ctx.Err() == nil {
		err = errRemoteGone
	}
	if err != nil {
		conn.end()
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caps = reply.Capabilities
	if c.conn != nil {
		c.conn.end()
	}
	c.conn = conn
	return conn, nil
}

func (c *remoteClient) Close() error {
	if c.ctx.Err() != nil {
		return nil
	}
	c.cancel()
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*remoteBeat)
	defer cancel()
	_, _, err := conn.call(ctx, &remoteRequest{Op: "close"})
	conn.end()
	if c.role != "publisher" {
		return nil // a connection that is gone has given back everything
	}
	return err
}

// remoteConn is a connection.
type remoteConn struct {
	socket net.Conn
	silent bool
	gone   chan struct{}
	closed chan struct{}
	loops  sync.WaitGroup

	mu      sync.Mutex // of what follows, and of out
	out     *gob.Encoder
	last    int
	waiting map[int]chan *remoteReply
	leases  map[int]*messaging.Lease
	arrived []*messaging.Delivery // that nobody has received
	asked   bool                  // a receive is under way
	failed  error                 // of the last one
	changed chan struct{}         // holds one: of what arrived
}

func (c *remoteConn) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

func (c *remoteConn) end() {
	c.socket.Close()
	c.loops.Wait()
}

// listen hands on what the server says, until the connection is gone.
func (c *remoteConn) listen() {
	in := gob.NewDecoder(c.socket)
	for {
		if !c.silent {
			_ = c.socket.SetReadDeadline(time.Now().Add(10 * remoteBeat))
		}
		var a remoteReply
		if in.Decode(&a) != nil {
			break
		}
		c.mu.Lock()
		lease, waiter := c.leases[a.Lease], c.waiting[a.ID]
		delete(c.waiting, a.ID)
		c.mu.Unlock()
		switch {
		case waiter != nil:
			waiter <- &a
		case lease != nil && a.Lost:
			lease.Lose()
		case lease != nil:
			lease.End()
		}
	}
	c.socket.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.gone)
	for _, l := range c.leases {
		l.Lose()
	}
}

func (c *remoteConn) beat() {
	tick := time.NewTicker(remoteBeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = c.send(&remoteRequest{Op: "ping"})
		case <-c.gone:
			return
		}
	}
}

// send sends a request, and says where its answer comes.
func (c *remoteConn) send(q *remoteRequest) (chan *remoteReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	q.ID = c.last
	answer := make(chan *remoteReply, 1)
	c.waiting[q.ID] = answer
	if !c.silent {
		_ = c.socket.SetWriteDeadline(time.Now().Add(20 * remoteBeat))
	}
	err := c.out.Encode(q)
	if err != nil {
		c.socket.Close()
	}
	return answer, err
}

// call sends a request and waits for its answer. Sent says, of an error,
// whether the server may have got it.
func (c *remoteConn) call(ctx context.Context, q *remoteRequest) (reply *remoteReply, sent bool, err error) {
	if !c.alive() {
		return nil, false, errRemoteGone
	}
	answer, err := c.send(q)
	if err != nil {
		return nil, true, fmt.Errorf("%w: %w", errRemoteGone, err)
	}
	select {
	case reply := <-answer:
		return reply, true, nil
	case <-c.gone:
		select {
		case reply := <-answer:
			return reply, true, nil
		default:
			return nil, true, errRemoteGone
		}
	case <-ctx.Done():
		return nil, true, ctx.Err()
	}
}

type remotePublisher struct {
	*remoteClient
	retry bool
}

// Publish repeats what got no answer, with the same ids.
func (p *remotePublisher) Publish(ctx context.Context, msgs ...messaging.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ms := append([]messaging.Message(nil), msgs...)
	unsure := error(nil)
	for {
		for i := range ms {
			if ms[i].ID == "" || p.broken == freshIDs && unsure != nil && msgs[i].ID == "" {
				ms[i].ID = messaging.NewID()
			}
		}
		err, sent := p.try(ctx, ms)
		if err == nil || !errors.Is(err, errRemoteGone) && ctx.Err() == nil {
			return err
		}
		if sent {
			unsure = err
		}
		switch {
		case unsure != nil && p.broken == nilBeforeReply:
			return nil
		case unsure != nil && p.broken == failsWhenLost:
			return err
		case p.retry && ctx.Err() == nil:
			if p.broken == staysAway {
				<-ctx.Done()
			}
			continue
		case unsure != nil:
			return fmt.Errorf("%w: %w", messaging.ErrUncertain, err)
		}
		return err
	}
}

func (p *remotePublisher) try(ctx context.Context, ms []messaging.Message) (err error, sent bool) {
	conn, err := p.connection(ctx)
	if err != nil {
		return err, false
	}
	reply, sent, err := conn.call(ctx, &remoteRequest{Op: "publish", Msgs: ms})
	if err != nil {
		return err, sent
	}
	return batch(reply.Errs), true
}

// batch is the outcome of a call from those of its arguments.
func batch(errs []remoteError) error {
	all := &messaging.BatchError{}
	failed := false
	for _, e := range errs {
		all.Errs = append(all.Errs, e.receive())
		failed = failed || e.Code != ""
	}
	if !failed {
		return nil
	}
	return all
}
