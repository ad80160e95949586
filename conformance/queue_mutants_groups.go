package conformance

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

// groupMutants break what concerns several consumers, groups and order.
func groupMutants() []Mutant {
	return append([]Mutant{
		urlMutant("group-names-cut", "Q10", "Group names are cut after 40 characters.", func(q url.Values) {
			if g := q.Get("group"); len(g) > 40 {
				q.Set("group", g[:40])
			}
		}),
		queueMutant("a-group-misses-some", "Q10", "One in 500 messages does not come to one of the groups.", func(s *brokenQueue) {
			if !strings.HasSuffix(s.u.Query().Get("group"), "b") {
				return
			}
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				for {
					ds, err := s.QueueSubscriber.Receive(ctx, max)
					var rest []*messaging.Delivery
					for _, d := range ds {
						if s.every(500) {
							_ = s.QueueSubscriber.Ack(ctx, d)
							continue
						}
						rest = append(rest, d)
					}
					if err != nil || len(rest) > 0 {
						return rest, err
					}
				}
			}
		}),
		queueMutant("failing-first", "Q11", "While a message that failed is not settled, no other is delivered.", failingFirst),
		queueMutant("forgotten-for-a-minute", "Q11", "One in 500 messages is delivered a minute late.", func(s *brokenQueue) {
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) { return s.lateReceive(ctx, max) }
		}),
		queueMutant("nack-to-the-tail", "Q16", "A nacked message of a queue with order goes behind the others of its key.", func(s *brokenQueue) {
			s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
				return s.instead(50, ds, func(d *messaging.Delivery) error { return s.republish(ctx, d) },
					func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, delay, ds...) })
			}
		}),
		queueMutant("crash-to-the-tail", "Q16", "What a crashed consumer of a queue with order had in hand goes behind the others of its key.", func(s *brokenQueue) {
			s.track()
			s.onCrash = func() {
				for _, d := range s.some(10, s.held()) {
					_ = s.republish(background(), d)
				}
			}
		}),
		claimsOrder(),
	}, routingMutants()...)
}

// urlMutant opens another URL than it is asked for.
func urlMutant(name, breaks, about string, change func(url.Values)) Mutant {
	return Mutant{Name: name, Breaks: breaks, About: about, Flavour: ForQueue, Target: func(t *Target) {
		(&wrapping{url: func(u *url.URL) *url.URL {
			q := u.Query()
			change(q)
			u.RawQuery = q.Encode()
			return u
		}}).around(t)
	}}
}

// claimsOrder says that a queue without order has one.
func claimsOrder() Mutant {
	return Mutant{
		Name: "claims-order", Breaks: "Q16", About: "A queue without any order says that it has one.", Flavour: ForQueue,
		Target: func(t *Target) {
			(&wrapping{
				url: func(u *url.URL) *url.URL {
					q := u.Query()
					q.Del("order")
					u.RawQuery = q.Encode()
					return u
				},
				queue: func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
					return &queueWrap{QueueSubscriber: q, caps: func() messaging.Capabilities {
						c := q.Capabilities()
						if u.Query().Has("order") {
							c.Order = messaging.OrderedByKey
						}
						return c
					}}
				},
			}).around(t)
		},
	}
}

// republish acknowledges d and publishes its message anew.
func (s *brokenQueue) republish(ctx context.Context, d *messaging.Delivery) error {
	if err := s.QueueSubscriber.Ack(ctx, d); err != nil {
		return err
	}
	p, err := s.target.Backend.OpenPublisher(ctx, s.u)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Publish(ctx, d.Message)
}

// lateReceive brings one in 500 messages, and what came with it, a minute late.
func (s *brokenQueue) lateReceive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	ds, err := s.QueueSubscriber.Receive(ctx, max)
	for range s.some(500, ds) {
		t := time.NewTimer(time.Minute)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ds, err
}

// failingFirst keeps what failed, delivers it before anything else, and
// nothing else until it is settled.
func failingFirst(s *brokenQueue) {
	s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		for {
			d, busy, change := s.nextFailed()
			switch {
			case d != nil:
				return []*messaging.Delivery{d}, nil
			case !busy:
				return s.QueueSubscriber.Receive(ctx, max)
			}
			select {
			case <-change:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
		if delay == 0 {
			s.failed(ds)
			return nil
		}
		return s.settled(ds, func(q *brokenQueue, d *messaging.Delivery) error { return q.QueueSubscriber.Nack(ctx, delay, d) })
	}
	s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
		return s.settled(ds, func(q *brokenQueue, d *messaging.Delivery) error { return q.QueueSubscriber.Ack(ctx, d) })
	}
	s.release = func(ctx context.Context, ds []*messaging.Delivery) error {
		return s.settled(ds, func(q *brokenQueue, d *messaging.Delivery) error { return q.QueueSubscriber.Release(ctx, d) })
	}
}

// nextFailed returns what failed and is to be delivered, or whether such a
// message is in hand, and what is closed when that changes.
func (s *brokenQueue) nextFailed() (d *messaging.Delivery, busy bool, change <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == nil {
		s.change = make(chan struct{})
	}
	if len(s.extra) > 0 {
		d = s.extra[0]
		s.extra = s.extra[1:]
		s.out++
	}
	return d, s.out > 0, s.change
}

// failed keeps ds to deliver them again.
func (s *brokenQueue) failed(ds []*messaging.Delivery) {
	for _, d := range ds {
		_ = s.settled([]*messaging.Delivery{d}, func(q *brokenQueue, real *messaging.Delivery) error {
			c := *d
			c.Attempt, c.Redelivered = d.Attempt+1, true
			s.mu.Lock()
			defer s.mu.Unlock()
			s.extra, s.roots[&c] = append(s.extra, &c), root{real, q}
			return nil
		})
	}
}

// settled calls do for what ds came from, and who received that.
func (s *brokenQueue) settled(ds []*messaging.Delivery, do func(*brokenQueue, *messaging.Delivery) error) error {
	errs := make([]error, len(ds))
	for i, d := range ds {
		s.mu.Lock()
		from, again := s.roots[d]
		delete(s.roots, d)
		s.mu.Unlock()
		if !again {
			from = root{d, s}
		}
		errs[i] = do(from.of, from.delivery)
		s.mu.Lock()
		if again {
			s.out--
		}
		if s.change != nil {
			close(s.change)
			s.change = nil
		}
		s.mu.Unlock()
	}
	return withOutcome(&messaging.BatchError{Errs: errs}, len(ds), -1, nil)
}

// routingMutants match subjects in ways of their own.
func routingMutants() []Mutant {
	ways := []struct {
		name, about string
		match       func(pattern, subject string) bool
	}{
		{"dot-is-any-character", "A dot of a pattern matches any character.", func(pattern, subject string) bool {
			p := strings.NewReplacer("*", "[^.]*", "#", ".*").Replace(pattern)
			return matches(pattern, subject) || regexp.MustCompile("^"+p+"$").MatchString(subject)
		}},
		{"hash-needs-a-word", "# stands for one word or more.", func(pattern, subject string) bool {
			return matches(pattern, subject) && (!strings.Contains(pattern, "#") || len(strings.Split(subject, ".")) >= len(strings.Split(pattern, ".")))
		}},
		{"star-is-no-empty-word", "* does not stand for a word that is empty.", func(pattern, subject string) bool {
			return matches(pattern, subject) && (!strings.Contains(pattern, "*") || !strings.Contains(subject, ".."))
		}},
		{"case-is-ignored", "Subjects match without regard to case.", func(pattern, subject string) bool {
			return matches(strings.ToLower(pattern), strings.ToLower(subject))
		}},
	}
	var ms []Mutant
	for _, way := range ways {
		ms = append(ms, Mutant{Name: way.name, Breaks: "Q17", About: way.about, Flavour: ForQueue, Target: func(t *Target) {
			(&wrapping{
				url: func(u *url.URL) *url.URL {
					q := u.Query()
					q.Del("subject")
					u.RawQuery = q.Encode()
					return u
				},
				queue: func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
					pattern := u.Query().Get("subject")
					return &queueWrap{QueueSubscriber: q, receive: func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
						return chosen(ctx, q, max, func(d *messaging.Delivery) bool { return way.match(pattern, d.Subject) })
					}}
				},
			}).around(t)
		}})
	}
	return ms
}

// chosen receives what is wanted, and acknowledges the rest.
func chosen(ctx context.Context, q messaging.QueueSubscriber, max int, want func(*messaging.Delivery) bool) ([]*messaging.Delivery, error) {
	for {
		ds, err := q.Receive(ctx, max)
		var mine []*messaging.Delivery
		for _, d := range ds {
			if want(d) {
				mine = append(mine, d)
				continue
			}
			_ = q.Ack(ctx, d)
		}
		if err != nil || len(mine) > 0 {
			return mine, err
		}
	}
}
