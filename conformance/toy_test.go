package conformance_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// toyBroker is a queue in memory, as short as one can be that keeps the
// contract. A message that is taken lies with its subscriber until it is
// settled; who crashes gives back everything at once, so there are no leases.
type toyBroker struct {
	mu     sync.Mutex // of everything here
	queues map[string]*toyQueue
}

// toyQueue is what one group has of a channel.
type toyQueue struct {
	channel string
	pattern string // of subjects
	ready   []*toyMessage
	changed chan struct{} // closed, and replaced, when there is more to take
}

// toyMessage is a message in a queue.
type toyMessage struct {
	messaging.Message
	published time.Time
	failed    int // attempts
	delivered bool
}

// ToyReceipt is the Raw of a delivery.
type ToyReceipt struct {
	s       *toySubscriber
	m       *toyMessage
	lease   messaging.Lease
	settled bool
}

func (b *toyBroker) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	_, _, err := b.open(ctx, u)
	return &toyPublisher{b: b, channel: u.Host}, err
}

func (b *toyBroker) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	q, window, err := b.open(ctx, u)
	return &toySubscriber{b: b, q: q, window: window, held: map[*ToyReceipt]bool{}, done: make(chan struct{})}, err
}

// open returns the queue that u names. It makes what is missing, and refuses
// what it does not know.
func (b *toyBroker) open(ctx context.Context, u *url.URL) (*toyQueue, int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	query := u.Query()
	window, err := toyOptions(query)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, 0, fmt.Errorf("toy: open %s: %w", u.Host, err)
	}
	all, own := u.Host+"?", u.Host+"?"+query.Get("group")
	if create := query.Get("create"); b.queues[all] == nil && create != "" && create != "true" {
		return nil, 0, fmt.Errorf("toy: open %s: %w", u.Host, messaging.ErrNotFound)
	}
	if b.queues == nil {
		b.queues = map[string]*toyQueue{}
	}
	if b.queues[own] == nil {
		b.queues[own] = &toyQueue{channel: u.Host, pattern: cmp.Or(query.Get("subject"), "#"), changed: make(chan struct{})}
	}
	if b.queues[all] == nil { // the default group is there from the beginning
		b.queues[all] = &toyQueue{channel: u.Host, pattern: "#", changed: make(chan struct{})}
	}
	return b.queues[own], window, nil
}

// toyOptions checks the parameters of a URL, and returns the window.
func toyOptions(query url.Values) (window int, err error) {
	window = 256
	for name := range query {
		value, bad := query.Get(name), error(nil)
		switch name {
		case "group", "subject", "retry":
		case "create":
			_, bad = strconv.ParseBool(value)
		case "timeout":
			var d time.Duration
			if d, bad = time.ParseDuration(value); d <= 0 {
				bad = errors.New("not above 0")
			}
		case "inflight":
			if window, bad = strconv.Atoi(value); window < 1 {
				bad = errors.New("below 1")
			}
		default:
			bad = errors.New("unknown")
		}
		if bad != nil {
			return 0, fmt.Errorf("parameter %s: %w", name, bad)
		}
	}
	return window, nil
}

// put adds messages to q. It is called with mu held.
func (q *toyQueue) put(ms ...*toyMessage) {
	q.ready = append(q.ready, ms...)
	close(q.changed)
	q.changed = make(chan struct{})
}

const toyMax = 1 << 20

type toyPublisher struct {
	b       *toyBroker
	channel string
	closed  bool
}

func (p *toyPublisher) Publish(ctx context.Context, ms ...messaging.Message) error {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	errs := make([]error, len(ms))
	for i, m := range ms {
		switch {
		case p.closed:
			errs[i] = messaging.ErrClosed
		case ctx.Err() != nil:
			errs[i] = ctx.Err()
		case len(m.Body) > toyMax:
			errs[i] = messaging.ErrTooLarge
		default:
			if m.ID == "" {
				m.ID = messaging.NewID()
			}
			m.Body, m.Headers = bytes.Clone(m.Body), slices.Clone(m.Headers)
			for _, q := range p.b.queues {
				if q.channel == p.channel && toyMatch(strings.Split(q.pattern, "."), toyWords(m.Subject)) {
					q.put(&toyMessage{Message: m, published: time.Now().Round(0)})
				}
			}
		}
	}
	return toyErrors("publish", errs)
}

// toyMatch says whether a pattern matches: * is one word, # is any number.
func toyMatch(pattern, words []string) bool {
	switch {
	case len(pattern) == 0:
		return len(words) == 0
	case pattern[0] == "#":
		return toyMatch(pattern[1:], words) || len(words) > 0 && toyMatch(pattern, words[1:])
	}
	return len(words) > 0 && (pattern[0] == "*" || pattern[0] == words[0]) && toyMatch(pattern[1:], words[1:])
}

func toyWords(subject string) []string {
	if subject == "" {
		return nil
	}
	return strings.Split(subject, ".")
}

// toyErrors is nil if there are none.
func toyErrors(verb string, errs []error) error {
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil
	}
	return fmt.Errorf("toy: %s: %w", verb, &messaging.BatchError{Errs: errs})
}

func (p *toyPublisher) Close() error {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.closed = true
	return nil
}

type toySubscriber struct {
	b      *toyBroker
	q      *toyQueue
	window int
	held   map[*ToyReceipt]bool
	closed bool
	done   chan struct{}
}

func (s *toySubscriber) Capabilities() messaging.Capabilities {
	return messaging.Capabilities{
		Order: messaging.Unordered, Attempts: true, ExactAttempts: true, MaxDelay: 24 * time.Hour, MaxMessage: toyMax, Window: s.window,
	}
}

func (s *toySubscriber) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	for {
		s.b.mu.Lock()
		var ds []*messaging.Delivery
		err := ctx.Err()
		switch {
		case max < 1:
			err = fmt.Errorf("toy: receive: max is %d", max)
		case s.closed:
			err = messaging.ErrClosed
		case err == nil:
			ds = s.take(min(max, s.window-len(s.held), len(s.q.ready)))
		}
		changed := s.q.changed
		s.b.mu.Unlock()
		if ds != nil || err != nil {
			return ds, err
		}
		select {
		case <-changed:
		case <-s.done:
		case <-ctx.Done():
		}
	}
}

// take hands out n messages.
func (s *toySubscriber) take(n int) (ds []*messaging.Delivery) {
	for range n {
		m := s.q.ready[0]
		s.q.ready = s.q.ready[1:]
		r := &ToyReceipt{s: s, m: m}
		d := &messaging.Delivery{Message: m.Message, Published: m.published, Attempt: m.failed + 1, Redelivered: m.delivered, Lease: &r.lease, Raw: r}
		d.Body, d.Headers = bytes.Clone(m.Body), slices.Clone(m.Headers)
		m.delivered = true
		s.held[r] = true
		ds = append(ds, d)
	}
	return ds
}

func (s *toySubscriber) Ack(_ context.Context, ds ...*messaging.Delivery) error {
	return s.settle("ack", ds, func(*toyMessage) {})
}

func (s *toySubscriber) Nack(_ context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	return s.settle("nack", ds, func(m *toyMessage) {
		m.failed++
		if delay <= 0 {
			s.q.put(m)
			return
		}
		time.AfterFunc(delay, func() {
			s.b.mu.Lock()
			defer s.b.mu.Unlock()
			s.q.put(m)
		})
	})
}

func (s *toySubscriber) Release(_ context.Context, ds ...*messaging.Delivery) error {
	err := s.settle("release", ds, func(m *toyMessage) { s.q.put(m) })
	if errors.Is(err, messaging.ErrClosed) {
		return nil // Close gave it back
	}
	return err
}

// settle takes ds from what is held and gives them to done.
func (s *toySubscriber) settle(verb string, ds []*messaging.Delivery, done func(*toyMessage)) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	errs := make([]error, len(ds))
	for i, d := range ds {
		var r *ToyReceipt
		if d != nil {
			r, _ = d.Raw.(*ToyReceipt)
		}
		switch {
		case s.closed:
			errs[i] = messaging.ErrClosed
		case r == nil || r.s != s:
			errs[i] = errors.New("not a delivery of this subscriber")
		case r.settled:
			errs[i] = messaging.ErrLost
		default:
			delete(s.held, r)
			r.settled = true
			done(r.m)
		}
	}
	s.q.put() // a Receive may wait for the window
	return toyErrors(verb, errs)
}

func (s *toySubscriber) Close() error { return s.end(false) }

// end gives back everything. Where the subscriber crashed, that was an
// attempt.
func (s *toySubscriber) end(crashed bool) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	for r := range s.held {
		r.lease.Lose()
		if crashed {
			r.m.failed++
		}
		s.q.put(r.m)
	}
	return nil
}
