package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/leavegroup"

	"github.com/fa5182d2/messaging"
)

const (
	// leaveBound is how long Close waits for the broker to hear that we leave.
	leaveBound = 2 * time.Second

	// foundWait is how long a member waits for the leader to fix the cursors of
	// a new group, before it takes the leader for another kind of client.
	foundWait = 3 * time.Second
)

// member is a subscriber's membership of its group.
type member struct {
	s     *stream
	coord coordinator

	nudged  chan struct{} // holds one: look at once how the group does
	founded chan struct{} // closed when the group's cursors are fixed

	// Guarded by the stream's mutex.
	id         string
	generation int32
	leaving    bool // something was let go: join again to say so

	// Of run's goroutine.
	joined  bool
	leads   bool
	counted int       // partitions, when they were shared out
	watched time.Time // when the leader looked whether there are more
	alive   time.Time // of the last question that the broker answered
	since   time.Time // of this generation
	todo    []int32   // assigned, and not installed yet
	unsure  bool      // the group's cursors are to be looked at
}

// join makes s a member of the group. Where the group has no cursors yet, it
// returns when they are fixed.
func (s *stream) join(ctx context.Context) error {
	m := &member{
		s: s, coord: coordinator{c: s.c, group: s.o.group}, generation: -1,
		nudged: make(chan struct{}, 1), founded: make(chan struct{}),
	}
	s.m = m
	cursors, err := m.cursorsAtLast(ctx)
	if err == nil && len(cursors) == 0 && s.o.from.kind == atOffset {
		_, err = s.c.resolve(ctx, s.o.from, s.c.layout().all())
	}
	if err != nil {
		return err
	}
	s.wg.Go(s.commits)
	s.wg.Go(m.run)
	if len(cursors) > 0 {
		return nil
	}
	if err := m.awaitCursors(ctx); err != nil {
		s.end(messaging.ErrClosed)
		m.quit()
		return err
	}
	return nil
}

// cursorsAtLast asks for the group's cursors, also when its coordinator is not
// ready yet.
func (m *member) cursorsAtLast(ctx context.Context) (map[int32]int64, error) {
	for try := 1; ; try++ {
		cursors, err := m.coord.cursors(ctx)
		if e, ok := errors.AsType[kafkago.Error](err); err == nil || !ok || !passing(int16(e)) {
			return cursors, err
		}
		if e := m.s.c.wait(ctx, backoff(try)); e != nil {
			return nil, fmt.Errorf("%w: %w", e, err)
		}
	}
}

// awaitCursors waits until somebody, we or another member, has fixed where the
// group begins.
func (m *member) awaitCursors(ctx context.Context) error {
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-m.founded:
			return nil
		case <-every.C:
			if cursors, err := m.coord.cursors(ctx); err == nil && len(cursors) > 0 {
				return nil
			}
		case <-m.s.done:
			m.s.mu.Lock()
			defer m.s.mu.Unlock()
			return m.s.err
		case <-ctx.Done():
			return cause(ctx)
		}
	}
}

// run keeps the membership until the stream is closed.
func (m *member) run() {
	s := m.s
	for try := 0; ; {
		var err error
		if m.joined {
			err = m.beat()
		} else {
			err = m.enter()
		}
		select {
		case <-s.done:
			return
		default:
		}
		if err == nil {
			try = 0
			continue
		}
		try++
		if m.suffer(err) {
			s.fail(err)
			return
		}
		if try > 1 || !errors.Is(err, kafkago.RebalanceInProgress) {
			_ = s.c.wait(s.c.ctx, backoff(try))
		}
	}
}

// suffer takes an error of the membership. It reports whether it is for ever.
func (m *member) suffer(err error) (final bool) {
	log := m.s.o.log.With("topic", m.s.o.topic, "group", m.s.o.group)
	is := func(codes ...kafkago.Error) bool {
		for _, c := range codes {
			if errors.Is(err, c) {
				return true
			}
		}
		return false
	}
	switch {
	case is(kafkago.RebalanceInProgress):
		m.joined = false
	case is(kafkago.UnknownMemberId, kafkago.IllegalGeneration, kafkago.FencedInstanceID):
		m.expelled(err)
	case permanent(err), is(kafkago.InvalidGroupId, kafkago.GroupMaxSizeReached, kafkago.UnsupportedVersion,
		kafkago.InvalidSessionTimeout, kafkago.InconsistentGroupProtocol):
		return true
	default:
		log.Warn("kafka: the group's coordinator is out of reach", "error", err)
		if m.owns() && time.Since(m.alive) > m.s.o.session {
			m.expelled(fmt.Errorf("no answer for %v, after which the broker gives the partitions to others", m.s.o.session))
		}
	}
	return false
}

// owns says whether the broker may take us for a member.
func (m *member) owns() bool {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return m.joined || len(m.s.assigned) > 0
}

// expelled ends all that the member owns: others may have it already.
func (m *member) expelled(why error) {
	s := m.s
	s.mu.Lock()
	lost := len(s.assigned)
	for len(s.assigned) > 0 {
		s.lose(s.assigned[len(s.assigned)-1])
	}
	m.id, m.generation, m.leaving = "", -1, false
	s.mu.Unlock()
	m.joined, m.todo = false, nil
	s.o.log.Warn("kafka: expelled from the group; joining anew", "topic", s.o.topic, "group", s.o.group, "partitions", lost, "error", why)
}

// heartbeats a session has, at least: what time it takes to hear of a rebalance
// is half of the time between two.
const heartbeats = 20

// beat waits until it is time, and tells the broker that we are alive.
func (m *member) beat() error {
	s := m.s
	pause := min(time.Second, s.o.session/heartbeats)
	if len(m.todo) > 0 || m.unsure {
		if err := m.begin(); err != nil {
			s.o.log.Warn("kafka: assigned partitions cannot be read yet", "topic", s.o.topic, "group", s.o.group, "error", err)
		}
		if len(m.todo) > 0 || m.unsure {
			pause = min(pause, 100*time.Millisecond)
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.nudged:
	case <-s.done:
		return nil
	}
	if m.shouldRejoin() {
		m.joined = false
		return nil
	}
	s.mu.Lock()
	id, generation := m.id, m.generation
	s.mu.Unlock()
	asked := time.Now()
	r, err := m.coord.call(s.c.ctx, &heartbeat.Request{GroupID: s.o.group, GenerationID: generation, MemberID: id},
		min(requestTimeout, max(10*time.Millisecond, s.o.session-time.Since(m.alive))))
	if err != nil {
		return err
	}
	if err := m.coord.heed(r.(*heartbeat.Response).ErrorCode); err != nil {
		return err
	}
	m.alive = asked
	return nil
}

// shouldRejoin says whether the group has to rebalance because of us: a
// partition was let go, or the leader finds that there are more.
func (m *member) shouldRejoin() bool {
	s := m.s
	s.mu.Lock()
	leaving := m.leaving
	m.leaving = false
	s.mu.Unlock()
	if leaving || !m.leads || time.Since(m.watched) < partitionWatch {
		return leaving
	}
	m.watched = time.Now()
	ctx, cancel := context.WithTimeout(s.c.ctx, time.Second)
	defer cancel()
	if s.c.refresh(ctx, time.Now()) != nil {
		return false
	}
	n := len(s.c.layout().leaders)
	return n > 0 && n != m.counted
}

// nudge has the member look at once how the group does. Any goroutine.
func (m *member) nudge() { notify(m.nudged) }

// letGo begins to move a partition away in order. The stream's mutex is held.
func (m *member) letGo(a *assignment) {
	a.ending = true
	a.lease.End()
	m.tell(slog.LevelInfo, "kafka: partition ending", a)
	if a.inHand() == 0 || m.s.o.handover <= 0 {
		m.moved(a)
		return
	}
	a.bound = time.AfterFunc(m.s.o.handover, func() {
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		if !a.over {
			m.moved(a)
		}
	})
}

// moved ends the hold on a partition that was let go. When it was the last of
// these, the group is told. The stream's mutex is held.
func (m *member) moved(a *assignment) {
	if n := a.inHand(); n > 0 {
		m.tell(slog.LevelWarn, "kafka: lease lost", a, slog.Int("unsettled", n))
	} else {
		m.tell(slog.LevelInfo, "kafka: lease ended", a)
	}
	m.s.lose(a)
	for _, other := range m.s.assigned {
		if other.ending {
			return
		}
	}
	m.leaving = true
	m.nudge()
}

// tell logs what happens to a partition. It does not wait for the logger, which
// is not ours, and may be slow, or call us.
func (m *member) tell(level slog.Level, what string, a *assignment, attrs ...any) {
	log := m.s.o.log
	if !log.Enabled(context.Background(), level) {
		return
	}
	attrs = append([]any{"topic", m.s.o.topic, "group", m.s.o.group, "partition", a.partition, "epoch", a.lease.Epoch}, attrs...)
	m.s.wg.Go(func() { log.Log(context.Background(), level, what, attrs...) })
}

// commit commits offsets as the member that we are now.
func (m *member) commit(offsets map[int32]int64) (map[int32]int16, error) {
	m.s.mu.Lock()
	id, generation := m.id, m.generation
	m.s.mu.Unlock()
	if generation < 0 {
		return nil, kafkago.RebalanceInProgress
	}
	return m.coord.commit(m.s.c.ctx, id, generation, offsets)
}

// quit tells the broker that we leave, so that others take over at once.
func (m *member) quit() {
	m.s.mu.Lock()
	id := m.id
	m.s.mu.Unlock()
	if id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(m.s.c.ctx, leaveBound)
	defer cancel()
	_, err := m.coord.call(ctx, &leavegroup.Request{
		GroupID: m.s.o.group, MemberID: id, Members: []leavegroup.RequestMember{{MemberID: id}},
	}, leaveBound)
	if err != nil {
		m.s.o.log.Warn("kafka: the broker did not hear that we left: the partitions are free when the session ends", "group", m.s.o.group, "error", err)
	}
}

// epoch is the fencing token of what is assigned now.
func (m *member) epoch() string { return strconv.Itoa(int(m.generation)) }
