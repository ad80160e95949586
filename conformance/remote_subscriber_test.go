package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fa5182d2/messaging"
)

type remoteSubscriber struct{ *remoteClient }

// RemoteReceipt is the Raw of a delivery.
type RemoteReceipt struct {
	s    *remoteSubscriber
	conn *remoteConn
	tag  int
}

func (s *remoteSubscriber) Capabilities() messaging.Capabilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caps
	c.Lease = 0 // a connection that is lost gives back at once
	c.ExactAttempts = false
	return c
}

func (s *remoteSubscriber) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if max < 1 {
		return nil, fmt.Errorf("remote: receive: max %d", max)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		conn, err := s.connection(ctx)
		if err != nil {
			return nil, err
		}
		ds, err := s.take(ctx, conn, max)
		switch {
		case len(ds) > 0:
			return ds, nil
		case errors.Is(err, errRemoteGone) && s.broken == staysAway:
			<-ctx.Done()
		case err != nil && !errors.Is(err, errRemoteGone):
			return nil, err
		}
	}
}

// take waits for what arrives on one connection.
func (s *remoteSubscriber) take(ctx context.Context, conn *remoteConn, max int) ([]*messaging.Delivery, error) {
	for {
		conn.mu.Lock()
		if n := min(max, len(conn.arrived)); n > 0 && conn.alive() {
			ds := conn.arrived[:n:n]
			conn.arrived = conn.arrived[n:]
			conn.mu.Unlock()
			return ds, nil
		}
		err, ask := conn.failed, !conn.asked
		conn.failed, conn.asked = nil, true
		conn.mu.Unlock()
		if err != nil {
			conn.mu.Lock()
			conn.asked = false
			conn.mu.Unlock()
			return nil, err
		}
		if ask {
			conn.loops.Go(func() { s.ask(conn, max) })
		}
		select {
		case <-conn.changed:
		case <-conn.gone:
			return nil, errRemoteGone
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ctx.Done():
			return nil, messaging.ErrClosed
		}
	}
}

// ask has the server send what there is. Whoever asked may be gone by then.
func (s *remoteSubscriber) ask(conn *remoteConn, max int) {
	reply, _, err := conn.call(context.Background(), &remoteRequest{Op: "receive", Max: max})
	if err == nil {
		err = reply.Errs[0].receive()
	}
	conn.mu.Lock()
	conn.asked, conn.failed = false, err
	if err == nil {
		for i := range reply.Deliveries {
			conn.arrived = append(conn.arrived, s.unpack(conn, &reply.Deliveries[i]))
		}
	}
	arrived := conn.arrived
	conn.mu.Unlock()
	if err == nil && s.broken == acksOnReceipt && s.role == "queue" {
		_, _, _ = conn.call(context.Background(), &remoteRequest{Op: "ack", Tags: tags(arrived)})
	}
	select {
	case conn.changed <- struct{}{}:
	default:
	}
}

// unpack makes a delivery of what came. conn is locked.
func (s *remoteSubscriber) unpack(conn *remoteConn, r *remoteDelivery) *messaging.Delivery {
	d := r.Delivery
	d.Raw = &RemoteReceipt{s, conn, r.Tag}
	if r.LeaseNumber > 0 {
		if conn.leases[r.LeaseNumber] == nil {
			conn.leases[r.LeaseNumber] = new(messaging.Lease)
		}
		d.Lease = conn.leases[r.LeaseNumber]
		if !conn.alive() {
			d.Lease.Lose()
		}
	}
	return &d
}

func tags(ds []*messaging.Delivery) (ts []int) {
	for _, d := range ds {
		ts = append(ts, d.Raw.(*RemoteReceipt).tag)
	}
	return ts
}

func (s *remoteSubscriber) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	return s.settle(ctx, &remoteRequest{Op: "ack"}, ds)
}

func (s *remoteSubscriber) Nack(ctx context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	return s.settle(ctx, &remoteRequest{Op: "nack", Delay: delay}, ds)
}

func (s *remoteSubscriber) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	return s.settle(ctx, &remoteRequest{Op: "commit"}, ds)
}

func (s *remoteSubscriber) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	if s.ctx.Err() != nil {
		return nil
	}
	return s.settle(ctx, &remoteRequest{Op: "release"}, ds)
}

// settle settles those of ds that came over a connection which is there.
func (s *remoteSubscriber) settle(ctx context.Context, q *remoteRequest, ds []*messaging.Delivery) error {
	if s.ctx.Err() != nil {
		return messaging.ErrClosed
	}
	all := &messaging.BatchError{Errs: make([]error, len(ds))}
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	var places []int
	for i, d := range ds {
		var r *RemoteReceipt
		if d != nil {
			r, _ = d.Raw.(*RemoteReceipt)
		}
		switch {
		case r == nil || r.s != s:
			all.Errs[i] = errors.New("remote: settle: not a delivery of this subscriber")
		case s.broken == acksByNumber && conn.alive(), r.conn == conn && conn.alive():
			q.Tags, places = append(q.Tags, r.tag), append(places, i)
		default:
			all.Errs[i] = fmt.Errorf("remote: settle: the connection that it came over is gone: %w", messaging.ErrLost)
		}
	}
	if s.broken == acksOnReceipt && q.Op == "ack" {
		return nil
	}
	if len(places) > 0 {
		reply, sent, err := conn.call(ctx, q)
		for k, i := range places {
			switch {
			case err == nil:
				all.Errs[i] = reply.Errs[min(k, len(reply.Errs)-1)].receive()
			case sent:
				all.Errs[i] = fmt.Errorf("remote: settle: %w: %w", messaging.ErrUncertain, err)
			default:
				all.Errs[i] = fmt.Errorf("remote: settle: %w", messaging.ErrLost)
			}
		}
	}
	for _, err := range all.Errs {
		if err != nil {
			return all
		}
	}
	return nil
}
