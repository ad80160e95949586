package conformance

import (
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/fa5182d2/messaging"
)

// Mutants that go wrong with what is large, or rare: calls, bodies, keys.

// losesAt loses one place of the calls that reach so far.
func losesAt(place int) func(*sending, []messaging.Message) error {
	return func(s *sending, ms []messaging.Message) error {
		if len(ms) <= place {
			return s.next(s.ctx, ms...)
		}
		kept := slices.Delete(places(len(ms)), place, place+1)
		err := s.next(s.ctx, slices.Delete(slices.Clone(ms), place, place+1)...)
		return spread(ms, kept, err, func(int) error { return nil })
	}
}

// swapsAt exchanges two neighbours with one key in the calls that reach so far.
func swapsAt(place int) func(*sending, []messaging.Message) error {
	return func(s *sending, ms []messaging.Message) error {
		if len(ms) <= place || ms[place].Key == "" || ms[place].Key != ms[place-1].Key {
			return s.next(s.ctx, ms...)
		}
		order := places(len(ms))
		order[place], order[place-1] = place-1, place
		return inOrderOf(s, ms, order)
	}
}

// secondRefusalShifts tells the second message of a call that is too large to
// be taken, and the one behind it to be too large.
func secondRefusalShifts(s *sending, ms []messaging.Message) error {
	err := s.next(s.ctx, ms...)
	refused := 0
	for i := range ms[:max(0, len(ms)-1)] {
		if codeOf(messaging.ErrorAt(err, i)) != TooLarge {
			continue
		}
		if refused++; refused == 2 {
			one := messaging.ErrorAt(err, i)
			return withOutcome(withOutcome(err, len(ms), i+1, one), len(ms), i, nil)
		}
	}
	return err
}

// rewritten makes mutants that change each message that is published.
func rewritten(change func(m *messaging.Message)) func(*Target) *wrapping {
	return publishes(func(s *sending, ms []messaging.Message) error {
		ms = slices.Clone(ms)
		for i := range ms {
			if len(ms[i].Body) < huge {
				change(&ms[i])
			}
		}
		return s.next(s.ctx, ms...)
	})
}

func cutBody(m *messaging.Message) { m.Body = m.Body[:min(len(m.Body), 64<<10)] }

func lowerKey(m *messaging.Message) { m.Key = strings.ToLower(m.Key) }

func cutKey(m *messaging.Message) { m.Key = m.Key[:min(len(m.Key), 128)] }

func keyOrSubject(m *messaging.Message) {
	if m.Key != "" {
		m.Subject = ""
	}
}

// mutantReusesPages has others write over the bodies of a call of more than
// 32 KiB before a second group gets them.
func mutantReusesPages(*Target) *wrapping {
	const page = 32 << 10
	var mu sync.Mutex
	first := map[string]string{} // from the first line of a body to the group that got it first
	take := func(u *url.URL, d *messaging.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		line, group := firstLine(d.Body), "group "+u.Query().Get("group")
		owner, large := first[line]
		switch {
		case !large:
		case owner == "":
			first[line] = group
		case owner != group:
			for i := len(line) + 1; i < len(d.Body); i++ {
				d.Body[i] = 'x'
			}
		}
	}
	w := publishes(func(s *sending, ms []messaging.Message) error {
		size := 0
		for i := range ms {
			if len(ms[i].Body) < huge {
				size += len(ms[i].Body)
			}
		}
		mu.Lock()
		for i := range ms {
			if line := firstLine(ms[i].Body); size > page && line != "" {
				first[line] = ""
			}
		}
		mu.Unlock()
		return s.next(s.ctx, ms...)
	})(nil)
	around := func(u *url.URL, receive receiveFunc) receiveFunc {
		return looking(receive, func(ds []*messaging.Delivery) {
			for _, d := range ds {
				take(u, d)
			}
		})
	}
	w.queue = func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
		return &queueWrap{QueueSubscriber: q, receive: around(u, q.Receive)}
	}
	w.stream = func(s messaging.StreamSubscriber, u *url.URL) messaging.StreamSubscriber {
		return &streamWrap{StreamSubscriber: s, receive: around(u, s.Receive)}
	}
	return w
}
