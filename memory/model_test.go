package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

const (
	modelLease = 30 * time.Second
	modelHold  = 5 * time.Minute
)

// model does things at random to a queue, and knows after each what is
// allowed to come next.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	b     *Backend
	pub   messaging.Publisher
	keyed bool
	url   string
	start time.Time
	subs  []*modelSub
	msgs  map[string]*modelMessage
	order map[string][]string // ids not acknowledged, by key, as published
	trace []string

	published int
}

type modelSub struct {
	messaging.QueueSubscriber
	held   map[string]*messaging.Delivery
	thaw   func()
	frozen time.Duration
}

type modelMessage struct {
	key       string
	failed    int
	delivered bool
	notBefore time.Duration
	by        time.Duration // when it is ready, unless somebody holds it
	holder    *modelSub
	from      time.Duration
}

func (m *model) now() time.Duration { return time.Since(m.start) }

func (m *model) say(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%v: ", m.now())+fmt.Sprintf(format, args...))
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.trace[max(0, len(m.trace)-60):] {
		m.t.Log(line)
	}
	m.t.Fatalf(format, args...)
}

func (m *model) open() {
	s := &modelSub{QueueSubscriber: openQueue(m.t, m.b, m.url), held: map[string]*messaging.Delivery{}}
	m.subs = append(m.subs, s)
}

func (m *model) publish() {
	m.published++
	id := fmt.Sprint(m.published)
	key := fmt.Sprint(m.rng.IntN(5))
	if key == "0" {
		key = ""
	}
	m.say("publish %s key %q", id, key)
	if err := m.pub.Publish(m.t.Context(), messaging.Message{ID: id, Key: key}); err != nil {
		m.fail("publish: %v", err)
	}
	m.msgs[id] = &modelMessage{key: key, by: m.now()}
	if key != "" {
		m.order[key] = append(m.order[key], id)
	}
}

// expire moves the model's messages to where their leases have brought them.
func (m *model) expire() {
	synctest.Wait()
	now := m.now()
	for id, msg := range m.msgs {
		s := msg.holder
		if s == nil {
			continue
		}
		end := msg.from + modelHold
		if s.thaw != nil {
			end = s.frozen + modelLease
		}
		if now < end {
			continue
		}
		msg.holder, msg.by, msg.notBefore = nil, end, end
		msg.failed++
		m.say("lease of %s ended", id)
		if s.thaw == nil {
			m.lost(s, id)
		}
	}
}

func (m *model) lost(s *modelSub, id string) {
	d := s.held[id]
	if d == nil {
		return
	}
	delete(s.held, id)
	if !lost(d) {
		m.fail("%s is not lost", id)
	}
	if err := s.Ack(m.t.Context(), d); !errors.Is(messaging.ErrorAt(err, 0), messaging.ErrLost) {
		m.fail("ack of %s, which was lost: %v", id, err)
	}
}

// deliverable is how many messages must be ready.
func (m *model) deliverable() (n int) {
	for id, msg := range m.msgs {
		if msg.holder == nil && msg.by <= m.now() && (!m.keyed || msg.key == "" || m.order[msg.key][0] == id) {
			n++
		}
	}
	return n
}

func (m *model) receive(s *modelSub) {
	want := 1 + m.rng.IntN(4)
	ready := min(want, m.deliverable(), s.Capabilities().Window-len(s.held))
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Nanosecond)
	defer cancel()
	ds, err := s.Receive(ctx, want)
	m.say("receive %d: %d, %v", want, len(ds), err)
	if len(ds) < ready || len(ds) > want || (err == nil) != (len(ds) > 0) {
		m.fail("received %d, %v; %d of %d are ready", len(ds), err, ready, want)
	}
	for _, d := range ds {
		msg := m.msgs[d.ID]
		switch {
		case msg == nil:
			m.fail("%s came after its ack", d.ID)
		case msg.holder != nil:
			m.fail("%s is held", d.ID)
		case m.now() < msg.notBefore:
			m.fail("%s came too early", d.ID)
		case m.keyed && msg.key != "" && m.order[msg.key][0] != d.ID:
			m.fail("%s came before %s of its key", d.ID, m.order[msg.key][0])
		case d.Attempt != msg.failed+1 || d.Redelivered != msg.delivered:
			m.fail("%s came with attempt %d, redelivered %v", d.ID, d.Attempt, d.Redelivered)
		}
		m.say("got %s attempt %d", d.ID, d.Attempt)
		msg.delivered, msg.holder, msg.from = true, s, m.now()
		s.held[d.ID] = d
	}
}

func (m *model) settle(s *modelSub) {
	ids := slices.Sorted(maps.Keys(s.held))
	m.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:min(len(ids), m.rng.IntN(4))]
	var ds []*messaging.Delivery
	for _, id := range ids {
		ds = append(ds, s.held[id])
		delete(s.held, id)
	}
	ctx, what, delay := m.t.Context(), m.rng.IntN(4), time.Duration(0)
	var err error
	switch what {
	case 0, 1:
		err = s.Ack(ctx, ds...)
	case 2:
		delay = time.Duration(m.rng.IntN(3)) * 20 * time.Second
		err = s.Nack(ctx, delay, ds...)
	case 3:
		err = s.Release(ctx, ds...)
	}
	m.say("settle %v, kind %d, delay %v: %v", ids, what, delay, err)
	if err != nil {
		m.fail("settle: %v", err)
	}
	for _, id := range ids {
		msg := m.msgs[id]
		msg.holder, msg.by, msg.notBefore = nil, m.now()+delay, m.now()+delay
		switch what {
		case 0, 1:
			delete(m.msgs, id)
			m.order[msg.key] = slices.DeleteFunc(m.order[msg.key], func(o string) bool { return o == id })
		case 2:
			msg.failed++
		}
	}
}

// end closes or crashes a subscriber.
func (m *model) end(i int) {
	s := m.subs[i]
	m.subs = slices.Delete(m.subs, i, i+1)
	crash := m.rng.IntN(2) == 0
	m.say("end, crash %v", crash)
	var err error
	if crash {
		err = m.b.Crash(s.QueueSubscriber)
	} else {
		err = s.Close()
	}
	if err != nil {
		m.fail("end: %v", err)
	}
	for _, id := range slices.Sorted(maps.Keys(s.held)) {
		msg, d := m.msgs[id], s.held[id]
		if !lost(d) {
			m.fail("%s is not lost", id)
		}
		if msg == nil || msg.holder != s {
			continue
		}
		msg.holder, msg.by, msg.notBefore = nil, m.now(), m.now()
		if crash {
			end := m.now() + modelLease
			if s.thaw != nil {
				end = min(end, s.frozen+modelLease)
			}
			msg.by, msg.notBefore = end, msg.from+modelLease
			msg.failed++
		}
	}
	if s.thaw != nil {
		s.thaw()
	}
	m.open()
}

func (m *model) freeze(s *modelSub) {
	if s.thaw == nil {
		m.say("freeze")
		thaw, err := m.b.Freeze(s.QueueSubscriber)
		if err != nil {
			m.fail("freeze: %v", err)
		}
		s.thaw, s.frozen = thaw, m.now()
		return
	}
	m.say("thaw")
	s.thaw()
	s.thaw = nil
	for _, id := range slices.Sorted(maps.Keys(s.held)) {
		if msg := m.msgs[id]; msg == nil || msg.holder != s {
			m.lost(s, id)
		}
	}
}

func (m *model) step() {
	m.expire()
	i := m.rng.IntN(len(m.subs))
	s := m.subs[i]
	switch n := m.rng.IntN(100); {
	case n < 25:
		m.publish()
	case n < 28:
		m.end(i)
	case n < 35:
		m.freeze(s)
	case n < 46:
		time.Sleep(time.Duration(m.rng.IntN(4)) * 7 * time.Second)
	case s.thaw != nil:
	case n < 75:
		m.receive(s)
	default:
		m.settle(s)
	}
}

// drain acknowledges everything that is left: nothing may be missing.
func (m *model) drain() {
	for _, s := range m.subs {
		if s.thaw != nil {
			m.freeze(s)
		}
	}
	m.expire()
	for len(m.subs) > 0 {
		s := m.subs[0]
		m.subs = m.subs[1:]
		if err := s.Close(); err != nil {
			m.fail("close: %v", err)
		}
	}
	sub := openQueue(m.t, m.b, "mem://q?inflight=1000")
	for len(m.msgs) > 0 {
		ctx, cancel := context.WithTimeout(m.t.Context(), modelHold)
		ds, err := sub.Receive(ctx, 10)
		cancel()
		if err != nil {
			m.fail("%d are missing: %v", len(m.msgs), err)
		}
		for _, d := range ds {
			if m.msgs[d.ID] == nil {
				m.fail("%s came after its ack", d.ID)
			}
			delete(m.msgs, d.ID)
		}
		if err := sub.Ack(m.t.Context(), ds...); err != nil {
			m.fail("ack: %v", err)
		}
	}
	nothing(m.t, sub, 2*modelHold)
}

func TestModel(t *testing.T) {
	for _, order := range []string{"unordered", "key"} {
		for seed := range uint64(40) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{
					t: t, rng: rand.New(rand.NewPCG(seed, 0)), b: new(Backend), keyed: order == "key", start: time.Now(),
					url:  fmt.Sprintf("mem://q?kind=queue&seed=%d&order=%s&lease=%v&hold=%v&inflight=5", seed+1, order, modelLease, modelHold),
					msgs: map[string]*modelMessage{}, order: map[string][]string{},
				}
				m.pub = openPublisher(t, m.b, m.url)
				for range 3 {
					m.open()
				}
				for range 300 {
					m.step()
				}
				m.drain()
			})
		}
	}
}
