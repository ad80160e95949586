package kafka

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

const (
	// refreshEvery is how often a publisher looks whether partitions were added.
	refreshEvery = 30 * time.Second

	// goneAfter is how long a topic has to be unknown before it counts as
	// deleted: a broker may not have heard yet of one that was just created.
	goneAfter = time.Second
)

// mender helps lanes that cannot go on: it asks for the metadata, at once when
// a leader has moved, for an identity, and waits before a batch goes again.
type mender struct {
	p     *publisher
	stale atomic.Bool // the metadata are wrong
	wake  chan struct{}

	mu    sync.Mutex
	lanes []*lane

	// of its goroutine
	idle      int   // rounds in a row in which some lane had no leader
	shared    int64 // the producer id that lanes begin with; noID: to be asked for
	goneSince time.Time
}

func (m *mender) add(l *lane) {
	m.mu.Lock()
	m.lanes = append(m.lanes, l)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// run helps until the publisher is closed.
func (m *mender) run() {
	p := m.p
	every := time.NewTicker(refreshEvery)
	defer every.Stop()
	for {
		select {
		case <-m.wake:
		case <-every.C:
			m.stale.Store(true)
		case <-p.done:
			return
		}
		m.mu.Lock()
		lanes := m.lanes
		m.lanes = nil
		m.mu.Unlock()
		m.mend(lanes)
	}
}

// mend lets lanes go on, as far as that is possible now.
func (m *mender) mend(lanes []*lane) {
	p := m.p
	tries := 0
	for _, l := range lanes {
		l.mu.Lock()
		if l.inFlight != nil {
			tries = max(tries, l.inFlight.tries)
		}
		l.mu.Unlock()
	}
	if m.idle++; !m.waited(lanes) {
		m.idle = 0
	}
	if n := max(tries-1, m.idle); n > 0 {
		if p.c.wait(p.c.ctx, backoff(n)) != nil {
			return
		}
	}
	err := m.locate()
	if err != nil {
		m.idle = 0 // whoever comes next is told at once
	}
	for _, l := range lanes {
		switch {
		case err != nil:
			l.fail(err)
			p.resume(l, goOn)
		case p.c.layout().leader(l.partition) < 0:
			m.leaderless(l)
		case m.identify(l):
			p.schedule(l)
		}
	}
}

// waited says whether lanes are here although nothing of theirs was tried: they
// have no leader, or no identity.
func (m *mender) waited(lanes []*lane) bool {
	for _, l := range lanes {
		if m.p.c.layout().leader(l.partition) < 0 {
			return true
		}
	}
	return false
}

// locate refreshes the metadata where they are stale. It returns an error where
// there is no use in going on.
func (m *mender) locate() error {
	p := m.p
	for _, id := range p.c.layout().leaders {
		if id < 0 {
			m.stale.Store(true)
		}
	}
	if !m.stale.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.c.ctx, requestTimeout)
	defer cancel()
	if err := p.c.refresh(ctx, time.Now()); err != nil {
		m.stale.Store(true)
		if permanent(err) {
			return err
		}
		p.c.o.log.Warn("kafka: no metadata to publish by", "error", err)
		return nil
	}
	switch code := p.c.layout().code; {
	case isMissing(code):
		m.stale.Store(true)
		if m.goneSince.IsZero() {
			m.goneSince = time.Now()
		}
		if time.Since(m.goneSince) > goneAfter {
			return fmt.Errorf("%w (%w)", errGone, codeError(code))
		}
	case code != 0 && !passing(code):
		return codeError(code)
	default:
		m.goneSince = time.Time{}
		p.reshape()
	}
	return nil
}

// leaderless keeps a lane for the next time, unless its partition is no more,
// or nothing is tried twice.
func (m *mender) leaderless(l *lane) {
	p := m.p
	layout := p.c.layout()
	switch {
	case layout.code == 0 && int(l.partition) >= len(layout.leaders):
		l.fail(errGone)
		p.resume(l, goOn)
	case !p.o.retry:
		l.fail(fmt.Errorf("partition %d has no leader (%w)", l.partition, errOnce))
		p.resume(l, goOn)
	default:
		m.add(l)
	}
}

// identify gives a lane an identity, if it needs one. Without one it waits here.
func (m *mender) identify(l *lane) bool {
	l.mu.Lock()
	id := l.who.id
	l.mu.Unlock()
	if id >= 0 {
		return true
	}
	fresh := m.shared
	if id == usedUp || fresh == noID {
		ctx, cancel := context.WithTimeout(m.p.c.ctx, requestTimeout)
		defer cancel()
		var err error
		if fresh, err = m.p.c.producerID(ctx); err != nil {
			if permanent(err) {
				l.fail(err)
				m.p.resume(l, goOn)
				return false
			}
			m.p.c.o.log.Warn("kafka: no producer id yet", "error", err)
			_ = m.p.c.wait(m.p.c.ctx, backoff(2))
			m.add(l)
			return false
		}
		if m.shared == noID {
			m.shared = fresh
		}
	}
	l.mu.Lock()
	l.who = identity{id: fresh}
	l.mu.Unlock()
	return true
}

// producerID asks some broker for a new producer id.
func (c *cluster) producerID(ctx context.Context) (int64, error) {
	r, err := c.any(ctx, &initproducerid.Request{TransactionTimeoutMs: 1, ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return noID, err
	}
	answer := r.(*initproducerid.Response)
	return answer.ProducerID, codeError(answer.ErrorCode)
}
