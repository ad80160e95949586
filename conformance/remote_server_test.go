package conformance_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/memory"
)

// The remote toy is a broker behind TCP, as short as one can be that keeps the
// contract over a network that does not: the server has the broker in memory,
// and each publisher and subscriber of the client has a connection to it. Who
// loses its connection has given back what it held.

// remoteBeat is how often a client says that it is there. Either end gives the
// other up after ten of them.
const remoteBeat = 50 * time.Millisecond

// remoteRequest is what a client says.
type remoteRequest struct {
	ID    int
	Op    string // ping, open, publish, receive, ack, nack, commit, release, close
	Role  string // of open: publisher, queue, stream
	URL   string
	Msgs  []messaging.Message
	Max   int
	Tags  []int // of deliveries
	Delay time.Duration
}

// remoteReply is what the server says: the answer to a request or, with
// ID 0, the end of a lease.
type remoteReply struct {
	ID           int
	Errs         []remoteError // one for each argument, or one
	Deliveries   []remoteDelivery
	Capabilities messaging.Capabilities
	Lease        int
	Lost         bool
}

type remoteDelivery struct {
	messaging.Delivery // without Lease and Raw
	Tag, LeaseNumber   int
}

// remoteError is an error on its way.
type remoteError struct{ Code, Text string }

// remoteCodes are the errors that a client can tell apart.
func remoteCodes() map[string]error {
	return map[string]error{
		"closed": messaging.ErrClosed, "not found": messaging.ErrNotFound, "too large": messaging.ErrTooLarge, "lost": messaging.ErrLost,
		"uncertain": messaging.ErrUncertain, "trimmed": messaging.ErrTrimmed, "unsupported": errors.ErrUnsupported, "EOF": io.EOF,
	}
}

func sendError(err error) remoteError {
	if err == nil {
		return remoteError{}
	}
	for code, known := range remoteCodes() {
		if errors.Is(err, known) {
			return remoteError{code, err.Error()}
		}
	}
	return remoteError{"other", err.Error()}
}

func (e remoteError) receive() error {
	switch known := remoteCodes()[e.Code]; {
	case e.Code == "":
		return nil
	case known == io.EOF:
		return io.EOF
	case known != nil:
		return fmt.Errorf("remote: %s: %w", e.Text, known)
	}
	return fmt.Errorf("remote: %s", e.Text)
}

// remoteServer is the server.
type remoteServer struct {
	broker  *memory.Backend
	address string
	broken  remoteBug

	gate sync.RWMutex // held for writing while it is paused

	mu       sync.Mutex
	listener net.Listener
	sessions map[*remoteSession]bool
	serving  sync.WaitGroup
}

func startRemote() (*remoteServer, error) {
	s := &remoteServer{broker: &memory.Backend{}, address: "127.0.0.1:0", sessions: map[*remoteSession]bool{}}
	return s, s.start()
}

func (s *remoteServer) start() error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address, s.listener = l.Addr().String(), l
	s.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serving.Go(func() { s.serve(c) })
		}
	})
	return nil
}

// kill ends the server as SIGKILL would. What the broker has stored stays.
func (s *remoteServer) kill() {
	s.mu.Lock()
	s.listener.Close()
	for session := range s.sessions {
		_ = session.conn.(*net.TCPConn).SetLinger(0)
		session.conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *remoteServer) restart(context.Context) error {
	s.kill()
	return s.start()
}

func (s *remoteServer) pause(context.Context) (resume func(), err error) {
	s.gate.Lock()
	return s.gate.Unlock, nil
}

// remoteSession is a connection at the server.
type remoteSession struct {
	conn   net.Conn
	server *remoteServer
	ctx    context.Context

	mu         sync.Mutex // of what follows, and of out
	out        *gob.Encoder
	publisher  messaging.Publisher
	subscriber messaging.Subscriber
	deliveries []*messaging.Delivery // by tag - 1
	leases     map[*messaging.Lease]int
	working    sync.WaitGroup
}

func (s *remoteServer) serve(c net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &remoteSession{conn: c, server: s, ctx: ctx, out: gob.NewEncoder(c), leases: map[*messaging.Lease]int{}}
	s.mu.Lock()
	s.sessions[r] = true
	s.mu.Unlock()
	in := gob.NewDecoder(c)
	for {
		var q remoteRequest
		_ = c.SetReadDeadline(time.Now().Add(10 * remoteBeat))
		if in.Decode(&q) != nil {
			break
		}
		s.gate.RLock()
		s.gate.RUnlock() //lint:ignore SA2001 it waits while the server is paused
		if q.Op == "open" || q.Op == "ping" {
			r.answer(&q) // in order
			continue
		}
		r.working.Go(func() { r.answer(&q) })
	}
	c.Close()
	cancel()
	r.end()
	r.working.Wait()
	s.mu.Lock()
	delete(s.sessions, r)
	s.mu.Unlock()
}

func (r *remoteSession) end() {
	if q, ok := r.subscriber.(messaging.QueueSubscriber); ok && r.server.broken == forgetsHeld {
		r.mu.Lock()
		held := slices.Clone(r.deliveries)
		r.mu.Unlock()
		_ = q.Ack(context.Background(), held...)
	}
	if r.subscriber != nil {
		_ = r.subscriber.Close()
	}
	if r.publisher != nil {
		_ = r.publisher.Close()
	}
}

func (r *remoteSession) say(a *remoteReply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.conn.SetWriteDeadline(time.Now().Add(20 * remoteBeat))
	if r.out.Encode(a) != nil {
		r.conn.Close()
	}
}

func (r *remoteSession) answer(q *remoteRequest) {
	a := &remoteReply{ID: q.ID}
	var err error
	n := 1
	switch q.Op {
	case "open":
		a.Capabilities, err = r.open(q)
	case "publish":
		n, err = len(q.Msgs), r.publisher.Publish(r.ctx, q.Msgs...)
	case "receive":
		var ds []*messaging.Delivery
		if ds, err = r.subscriber.Receive(r.ctx, q.Max); err == nil {
			a.Deliveries = r.number(ds)
		}
	case "close":
		r.end()
	case "ack", "nack", "commit", "release":
		n, err = len(q.Tags), r.settle(q)
	}
	for i := range n {
		a.Errs = append(a.Errs, sendError(messaging.ErrorAt(err, i)))
	}
	r.say(a)
}

func (r *remoteSession) open(q *remoteRequest) (c messaging.Capabilities, err error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return c, err
	}
	switch q.Role {
	case "publisher":
		r.publisher, err = r.server.broker.OpenPublisher(r.ctx, u)
		return c, err
	case "queue":
		if s, failed := r.server.broker.OpenQueue(r.ctx, u); failed == nil {
			r.subscriber = s
		} else {
			err = failed
		}
	case "stream":
		if s, failed := r.server.broker.OpenStream(r.ctx, u); failed == nil {
			r.subscriber = s
		} else {
			err = failed
		}
	}
	if err == nil {
		c = r.subscriber.Capabilities()
	}
	return c, err
}

// number gives deliveries and leases their numbers.
func (r *remoteSession) number(ds []*messaging.Delivery) (out []remoteDelivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range ds {
		lease := r.leases[d.Lease]
		if lease == 0 && d.Lease != nil {
			lease = len(r.leases) + 1
			r.leases[d.Lease] = lease
			r.working.Go(func() { r.watch(d.Lease, lease) })
		}
		r.deliveries = append(r.deliveries, d)
		sent := *d
		sent.Lease, sent.Raw = nil, nil
		out = append(out, remoteDelivery{sent, len(r.deliveries), lease})
	}
	return out
}

// watch tells the client of a lease's end.
func (r *remoteSession) watch(l *messaging.Lease, number int) {
	select {
	case <-l.Ending():
		r.say(&remoteReply{Lease: number})
	case <-r.ctx.Done():
		return
	}
	select {
	case <-l.Lost():
		r.say(&remoteReply{Lease: number, Lost: true})
	case <-r.ctx.Done():
	}
}

func (r *remoteSession) settle(q *remoteRequest) error {
	r.mu.Lock()
	ds := make([]*messaging.Delivery, len(q.Tags))
	for i, tag := range q.Tags {
		if tag < 1 || tag > len(r.deliveries) {
			r.mu.Unlock()
			return fmt.Errorf("no delivery %d", tag)
		}
		ds[i] = r.deliveries[tag-1]
	}
	r.mu.Unlock()
	switch q.Op {
	case "ack":
		return r.subscriber.(messaging.QueueSubscriber).Ack(r.ctx, ds...)
	case "nack":
		return r.subscriber.(messaging.QueueSubscriber).Nack(r.ctx, q.Delay, ds...)
	case "commit":
		return r.subscriber.(messaging.StreamSubscriber).Commit(r.ctx, ds...)
	}
	return r.subscriber.Release(r.ctx, ds...)
}
