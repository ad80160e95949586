package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	api "github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
)

// enter joins the group's next generation. What is owned is read on meanwhile;
// only what the leader gives to others is let go.
func (m *member) enter() error {
	s := m.s
	joined, err := m.joinGroup()
	if err != nil {
		return err
	}
	m.alive = time.Now() // the session begins with the answer
	var shares map[string]map[string][]int32
	if m.leads = joined.MemberID == joined.LeaderID; m.leads {
		if shares, err = m.lead(joined.Members); err != nil {
			return err
		}
	}
	asked := time.Now()
	assigned, err := m.syncGroup(joined, shares)
	if err != nil {
		return err
	}
	s.mu.Lock()
	m.generation = joined.GenerationID
	s.mu.Unlock()
	m.joined, m.alive, m.since = true, asked, asked
	m.watched, m.unsure = asked, m.leads
	s.o.log.Info("kafka: joined the group", "topic", s.o.topic, "group", s.o.group, "generation", joined.GenerationID, "partitions", assigned)
	m.apply(assigned)
	if err := m.begin(); err != nil {
		s.o.log.Warn("kafka: assigned partitions cannot be read yet", "topic", s.o.topic, "group", s.o.group, "error", err)
	}
	return nil
}

// joinGroup asks to be part of the next generation, which begins when all
// members have asked.
func (m *member) joinGroup() (*joingroup.Response, error) {
	for {
		s := m.s
		s.mu.Lock()
		id := m.id
		sub := subscription{topics: []string{s.o.topic}, generation: m.generation, owned: map[string][]int32{}}
		for _, a := range s.assigned {
			sub.owned[s.o.topic] = append(sub.owned[s.o.topic], a.partition)
		}
		m.leaving = false // this says so
		s.mu.Unlock()
		r, err := m.coord.call(s.c.ctx, &joingroup.Request{
			GroupID: s.o.group, MemberID: id, ProtocolType: "consumer",
			SessionTimeoutMS: int32(s.o.session / time.Millisecond), RebalanceTimeoutMS: int32(s.o.session / time.Millisecond),
			Protocols: []joingroup.RequestProtocol{{Name: strategy, Metadata: sub.encode()}},
		}, s.o.session+requestTimeout)
		if err != nil {
			return nil, err
		}
		joined := r.(*joingroup.Response)
		if joined.MemberID != "" {
			s.mu.Lock()
			m.id = joined.MemberID
			s.mu.Unlock()
		}
		if kafkago.Error(joined.ErrorCode) != kafkago.MemberIDRequired {
			return joined, m.explain(m.coord.heed(joined.ErrorCode))
		}
	}
}

// errStrategy is what a group of other clients answers.
var errStrategy = fmt.Errorf("its members share partitions out in another way: give them %s, too, or take another group", strategy)

func (m *member) explain(err error) error {
	switch {
	case errors.Is(err, kafkago.InconsistentGroupProtocol):
		return fmt.Errorf("%w: %w", err, errStrategy)
	case errors.Is(err, kafkago.InvalidSessionTimeout):
		return fmt.Errorf("%w: session=%v is outside of what the broker allows (group.min.session.timeout.ms, group.max.session.timeout.ms)", err, m.s.o.session)
	}
	return err
}

// syncGroup hands in what the leader has shared out, and returns our part.
func (m *member) syncGroup(joined *joingroup.Response, shares map[string]map[string][]int32) ([]int32, error) {
	r := &syncgroup.Request{GroupID: m.s.o.group, GenerationID: joined.GenerationID, MemberID: joined.MemberID}
	for id, share := range shares {
		r.Assignments = append(r.Assignments, syncgroup.RequestAssignment{MemberID: id, Assignment: encodeAssignment(share)})
	}
	answer, err := m.coord.call(m.s.c.ctx, r, m.s.o.session+requestTimeout)
	if err != nil {
		return nil, err
	}
	synced := answer.(*syncgroup.Response)
	if err := m.coord.heed(synced.ErrorCode); err != nil {
		return nil, err
	}
	by, err := decodeAssignment(synced.Assignments)
	return by[m.s.o.topic], err
}

// lead shares the partitions out, of all topics that members subscribe to.
func (m *member) lead(members []joingroup.ResponseMember) (map[string]map[string][]int32, error) {
	s := m.s
	var claimants []claimant
	var topics []string
	for _, other := range members {
		sub, err := decodeSubscription(other.Metadata)
		if err != nil {
			return nil, err
		}
		claimants = append(claimants, claimant{other.MemberID, sub})
		topics = append(topics, sub.topics...)
	}
	slices.Sort(topics)
	ctx, cancel := context.WithTimeout(s.c.ctx, requestTimeout)
	defer cancel()
	if err := s.c.refresh(ctx, time.Now()); err != nil {
		return nil, err
	}
	partitions := map[string]int{s.o.topic: len(s.c.layout().leaders)}
	m.counted = partitions[s.o.topic]
	topics = slices.DeleteFunc(slices.Compact(topics), func(t string) bool { return t == s.o.topic })
	if len(topics) > 0 { // members that are not ours
		r, err := s.c.any(ctx, &api.Request{TopicNames: topics})
		if err != nil {
			return nil, err
		}
		for _, t := range r.(*api.Response).Topics {
			partitions[t.Name] = len(t.Partitions)
		}
	}
	return share(claimants, partitions), nil
}

// apply lets go what is no longer ours, and notes what is to be begun.
func (m *member) apply(assigned []int32) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range slices.Clone(s.assigned) {
		if !a.ending && !slices.Contains(assigned, a.partition) {
			m.letGo(a)
		}
	}
	m.todo = m.todo[:0]
	for _, p := range assigned {
		if s.held(p) == nil {
			m.todo = append(m.todo, p)
		}
	}
}

// begin begins to read what was assigned, at the group's cursors, which it
// first fixes where the group is new and we lead it.
func (m *member) begin() error {
	if len(m.todo) == 0 && !m.unsure {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.s.c.ctx, requestTimeout)
	defer cancel()
	cursors, err := m.coord.cursors(ctx)
	if err != nil {
		return err
	}
	isNew := len(cursors) == 0
	if isNew && (m.leads || time.Since(m.since) > foundWait) {
		if cursors, err = m.found(ctx); err != nil {
			return err
		}
	}
	if len(cursors) == 0 {
		return nil // the leader is about to
	}
	m.unsure = false
	var added []int32 // since the group began
	for _, p := range m.todo {
		if _, ok := cursors[p]; !ok {
			added = append(added, p)
		}
	}
	if len(added) > 0 {
		from, err := m.s.c.listAll(ctx, added, earliestOffset, committed)
		if err != nil {
			return err
		}
		for p, offset := range from {
			cursors[p] = offset
		}
	}
	m.install(cursors, isNew)
	return nil
}

// install begins what was to be begun.
func (m *member) install(cursors map[int32]int64, isNew bool) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range m.todo {
		a := newAssignment(s, p, cursors[p])
		a.lease.Epoch = m.epoch()
		a.ahead.unknown = !isNew
		s.install(a)
	}
	m.todo = m.todo[:0]
}

// found fixes where a new group begins, in all partitions.
func (m *member) found(ctx context.Context) (map[int32]int64, error) {
	s := m.s
	from, err := s.c.resolve(ctx, s.o.from, s.c.layout().all())
	if err != nil {
		return nil, err
	}
	codes, err := m.commit(from)
	if err != nil {
		return nil, err
	}
	for _, code := range codes {
		if err := codeError(code); err != nil {
			return nil, err
		}
	}
	s.o.log.Info("kafka: the group is new", "topic", s.o.topic, "group", s.o.group, "start", s.o.start, "offsets", from)
	select {
	case <-m.founded:
	default:
		close(m.founded)
	}
	return from, nil
}
