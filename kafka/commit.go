package kafka

import (
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
)

// round is the commits of several calls that go to the broker together. One is
// under way at a time, so that a repetition never overtakes a later commit.
type round struct {
	targets map[*assignment]*Record
	errs    map[*assignment]error // once done is closed
	done    chan struct{}
	asked   bool // the broker may know of it
}

// enlist makes r part of the next round. mu is held.
func (s *stream) enlist(r *Record) *round {
	if s.round == nil {
		s.round = &round{targets: map[*assignment]*Record{}, errs: map[*assignment]error{}, done: make(chan struct{})}
	}
	a := r.pass.a
	if t := s.round.targets[a]; t == nil || t.Offset < r.Offset {
		s.round.targets[a] = r
	}
	a.round = s.round
	return s.round
}

// commits makes the rounds, until the stream is closed.
func (s *stream) commits() {
	for {
		select {
		case <-s.committed:
		case <-s.done:
		}
		s.mu.Lock()
		r := s.round
		s.round = nil
		s.mu.Unlock()
		if r != nil {
			s.commitRound(r)
			continue
		}
		select {
		case <-s.done:
			return
		default:
		}
	}
}

// commitRound tells the broker of a round until there is an answer for each
// partition, or it is no longer ours.
func (s *stream) commitRound(r *round) {
	for try := 1; ; try++ {
		offsets := s.due(r)
		if len(offsets) == 0 {
			return
		}
		codes, err := s.m.commit(offsets)
		if err != nil {
			s.o.log.Warn("kafka: a commit had no answer", "topic", s.o.topic, "group", s.o.group, "error", err)
		}
		if s.settled(r, offsets, codes, err) {
			continue
		}
		select {
		case <-s.done:
		default:
			_ = s.c.wait(s.c.ctx, backoff(try))
		}
	}
}

// due returns what a round has to commit yet. When that is nothing, the round
// is over.
func (s *stream) due(r *round) map[int32]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	offsets := map[int32]int64{}
	for a, rec := range r.targets {
		switch {
		case s.err == messaging.ErrClosed && r.asked:
			r.errs[a] = uncertain(messaging.ErrClosed)
		case s.err == messaging.ErrClosed:
			r.errs[a] = messaging.ErrClosed
		case a.over:
			r.errs[a] = errMoved
		default:
			offsets[a.partition] = a.upTo(rec)
			continue
		}
		delete(r.targets, a)
		s.leaveRound(a, r)
	}
	r.asked = true
	if len(offsets) == 0 {
		close(r.done)
	}
	return offsets
}

func (s *stream) leaveRound(a *assignment, r *round) {
	if a.round == r {
		a.round = nil
	}
}

// settled takes the broker's answers. It reports whether to go on at once.
func (s *stream) settled(r *round, offsets map[int32]int64, codes map[int32]int16, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if permanent(err) {
		for a := range r.targets {
			r.errs[a] = err
			delete(r.targets, a)
			s.leaveRound(a, r)
		}
	}
	all := true
	for a, rec := range r.targets {
		code, ok := codes[a.partition]
		switch e := kafkago.Error(code); {
		case !ok:
			all = false
			continue
		case code == 0:
			a.settle(rec, offsets[a.partition])
			s.followUp(a)
		case e == kafkago.IllegalGeneration || e == kafkago.UnknownMemberId || e == kafkago.FencedInstanceID:
			// A rebalance is under way, or we are expelled: the member finds out.
			s.m.nudge()
			all = false
			continue
		case e == kafkago.RebalanceInProgress || passing(code):
			all = false
			continue
		case isMissing(code):
			r.errs[a] = fmt.Errorf("%w: %w", messaging.ErrLost, codeError(code))
		default:
			r.errs[a] = codeError(code)
		}
		delete(r.targets, a)
		s.leaveRound(a, r)
	}
	s.rouse()
	s.wakeFetchers()
	return all
}

// followUp lets a partition go that moves and of which nothing is in hand. mu
// is held.
func (s *stream) followUp(a *assignment) {
	if a.ending && !a.over && a.inHand() == 0 {
		s.m.moved(a)
	}
}
