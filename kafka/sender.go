package kafka

import (
	"runtime"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

const (
	// produceVersion is the highest version of a produce request that is used:
	// the last without tagged fields. 3 is the first with batches of version 2.
	produceVersion = 8

	// brokerTimeout is how long the broker may wait for its replicas: less than
	// requestTimeout, so that it is the broker who says so.
	brokerTimeout = requestTimeout - 500*time.Millisecond

	// mostRequest bounds a request of several batches, far below what a broker
	// reads (socket.request.max.bytes, 100 MiB by default).
	mostRequest = 16 << 20

	// yields is how often a sender lets others run before it takes batches: who
	// was woken by the last answer is to be part of the next request (measured:
	// 1.4 to 1.7 times the rate with 64 callers, and nothing lost with one).
	yields = 4
)

// sender sends the batches of the partitions that one broker leads: one request
// at a time, with one batch of each.
type sender struct {
	p      *publisher
	broker int32

	mu    sync.Mutex
	ready []*lane
	wake  chan struct{}

	// of its goroutine
	conn    *conn
	out     encoder
	in      []byte
	spare   []*lane
	sending []*lane
	batches []*batch
}

// schedule gives a lane, which is queued, to the sender of its leader.
func (p *publisher) schedule(l *lane) {
	id := p.c.layout().leader(l.partition)
	if id < 0 {
		p.mender.add(l)
		return
	}
	p.mu.Lock()
	s := p.senders[id]
	if s == nil {
		s = &sender{p: p, broker: id, wake: make(chan struct{}, 1)}
		p.senders[id] = s
		select {
		case <-p.done:
		default:
			p.wg.Go(s.run)
		}
	}
	p.mu.Unlock()
	s.mu.Lock()
	s.ready = append(s.ready, l)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends until the publisher is closed.
func (s *sender) run() {
	defer func() { s.p.c.drop(s.conn) }()
	for {
		select {
		case <-s.wake:
		case <-s.p.done:
			return
		}
		for {
			for range yields {
				runtime.Gosched()
			}
			if !s.take() {
				break
			}
			s.send()
		}
	}
}

// take moves what is ready into sending, stamped. It returns false when nothing
// is ready.
func (s *sender) take() bool {
	s.mu.Lock()
	lanes := s.ready
	s.ready = s.spare[:0]
	s.mu.Unlock()
	s.sending, s.batches = s.sending[:0], s.batches[:0]
	size := 0
	for i, l := range lanes {
		if size > mostRequest {
			s.mu.Lock()
			s.ready = append(s.ready, lanes[i:]...)
			s.mu.Unlock()
			break
		}
		if s.p.c.layout().leader(l.partition) != s.broker {
			s.p.schedule(l)
			continue
		}
		b, needsIdentity := l.next()
		switch {
		case needsIdentity:
			s.p.mender.add(l)
		case b != nil:
			size += len(b.wire)
			s.sending = append(s.sending, l)
			s.batches = append(s.batches, b)
		}
	}
	some := len(lanes) > 0
	clear(lanes)
	s.spare = lanes
	return some
}

// send sends what take took, and tells each lane what became of it.
func (s *sender) send() {
	if len(s.sending) == 0 {
		return
	}
	sent, err := s.exchange()
	for i, l := range s.sending {
		if err != nil {
			s.p.resume(l, l.lost(err, sent))
		} else if code, ok := s.codeOf(l.partition); ok {
			s.p.resume(l, l.answered(code))
		} else {
			s.p.resume(l, l.lost(errMalformed, true))
		}
		s.batches[i] = nil
	}
}

// exchange sends one request and reads its answer into in. It reports whether
// the broker may have got the request.
func (s *sender) exchange() (sent bool, err error) {
	if s.conn == nil {
		if s.conn, err = s.p.c.dialBroker(s.p.c.ctx, s.broker); err != nil {
			s.p.c.o.log.Warn("kafka: no connection to publish by", "broker", s.broker, "error", err)
			return false, err
		}
	}
	version := s.conn.version(protocol.Produce, produceVersion)
	s.write(version)
	_ = s.conn.SetDeadline(time.Now().Add(requestTimeout))
	if _, err = s.conn.Write(s.out); err == nil {
		s.in, err = s.conn.frame(s.in, mostGreeting)
	}
	if err != nil {
		s.p.c.drop(s.conn)
		s.conn = nil
		err = hung(err, "a produce request")
		if s.p.c.ctx.Err() == nil {
			s.p.c.o.log.Warn("kafka: a connection broke while publishing", "broker", s.broker, "error", err)
		}
	}
	return true, err
}

// write makes the request. The batches are copied: it goes out in one write,
// and a batch can be sent again.
func (s *sender) write(version int16) {
	e := &s.out
	s.conn.correlation++
	e.begin(int16(protocol.Produce), version, s.conn.correlation, s.conn.clientID)
	e.nullString() // no transaction
	e.int16(-1)    // all replicas
	e.int32(int32(brokerTimeout / time.Millisecond))
	e.int32(1)
	e.string(s.p.o.topic)
	e.int32(int32(len(s.sending)))
	for i, l := range s.sending {
		e.int32(l.partition)
		e.int32(int32(len(s.batches[i].wire)))
		*e = append(*e, s.batches[i].wire...)
	}
	e.end(0)
}

// codeOf finds the broker's answer for a partition in the response.
func (s *sender) codeOf(partition int32) (code int16, found bool) {
	version := s.conn.version(protocol.Produce, produceVersion)
	d := decoder{b: s.in}
	for range d.count(6) {
		d.string()
		for range d.count(14) {
			at, code := d.int32(), d.int16()
			d.int64() // base offset
			d.int64() // log append time
			if version >= 5 {
				d.int64() // log start offset
			}
			if version >= 8 {
				for range d.count(6) {
					d.int32()
					d.string()
				}
				d.string()
			}
			if at == partition && !d.bad {
				return code, true
			}
		}
	}
	return 0, false
}
