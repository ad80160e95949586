package kafka

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/fa5182d2/messaging"
)

// partitionWatch is how often it is looked whether partitions were added.
const partitionWatch = 3 * time.Second

// stale has the keeper look at what is wrong: the leaders, or a connection that
// is refused for ever. mu is held.
func (s *stream) stale(err error) {
	if err != nil {
		s.unled = err
	}
	notify(s.ailing)
}

// keep keeps s reading until it is closed: it asks for the metadata when
// leaders have moved, for the ends of partitions whose offset is out of range,
// and whether partitions were added.
func (s *stream) keep() {
	watch := time.NewTicker(partitionWatch)
	defer watch.Stop()
	var goneSince, last time.Time
	rounds := 0
	for {
		select {
		case <-s.ailing:
		case <-watch.C:
			if !s.grows {
				continue
			}
		case <-s.done:
			return
		}
		if rounds++; time.Since(last) > 2*time.Second {
			rounds = 0
		}
		last = time.Now()
		if rounds > 1 && s.c.wait(s.c.ctx, backoff(rounds-1)) != nil {
			return
		}
		gone, err := s.look()
		switch {
		case err != nil:
			s.fail(err)
		case !gone:
			goneSince = time.Time{}
		case goneSince.IsZero():
			goneSince = time.Now()
			notify(s.ailing)
		case time.Since(goneSince) > goneAfter:
			s.fail(errGone)
		default:
			notify(s.ailing)
		}
	}
}

// look mends what can be mended. It returns an error where that is nothing.
func (s *stream) look() (gone bool, err error) {
	s.mu.Lock()
	err, s.unled = s.unled, nil
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(s.c.ctx, requestTimeout)
	defer cancel()
	if err := s.c.refresh(ctx, time.Now()); err != nil {
		if permanent(err) {
			return false, err
		}
		s.o.log.Warn("kafka: no metadata to read by", "topic", s.o.topic, "error", err)
		notify(s.ailing)
		return false, nil
	}
	layout := s.c.layout()
	switch {
	case isMissing(layout.code):
		return true, nil
	case layout.code != 0 && !passing(layout.code):
		return false, codeError(layout.code)
	}
	if err := s.grow(ctx); err != nil {
		s.o.log.Warn("kafka: added partitions cannot be read yet", "topic", s.o.topic, "error", err)
		notify(s.ailing)
	}
	s.lookUp(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steer()
	return false, nil
}

// grow reads partitions that were added, where all are read, from their
// beginning.
func (s *stream) grow(ctx context.Context) error {
	if !s.grows {
		return nil
	}
	s.mu.Lock()
	var added []int32
	for _, p := range s.c.layout().all() {
		if s.held(p) == nil {
			added = append(added, p)
		}
	}
	s.mu.Unlock()
	if len(added) == 0 {
		return nil
	}
	from, err := s.c.listAll(ctx, added, earliestOffset, committed)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, offset := range from {
		s.install(newAssignment(s, p, offset))
	}
	return nil
}

// held returns the assignment of a partition, or nil. mu is held.
func (s *stream) held(partition int32) *assignment {
	for _, a := range s.assigned {
		if a.partition == partition {
			return a
		}
	}
	return nil
}

// lookUp asks for the ends of those partitions of which something is unclear.
func (s *stream) lookUp(ctx context.Context) {
	s.mu.Lock()
	var unclear []*assignment
	for _, a := range s.assigned {
		if a.ahead.lookup {
			unclear = append(unclear, a)
		}
	}
	s.mu.Unlock()
	for _, a := range unclear {
		err := s.clear(ctx, a)
		if err != nil {
			s.o.log.Warn("kafka: the ends of a partition are not known yet", "partition", a.partition, "error", err)
			notify(s.ailing)
		}
	}
}

// clear looks up one partition: where it ends, when all of a time was read, or
// what became of an offset that is out of range.
func (s *stream) clear(ctx context.Context, a *assignment) error {
	one := []int32{a.partition}
	if a.until != math.MaxInt64 && a.until <= time.Now().UnixMilli() {
		ends, err := s.c.since(ctx, one, a.until)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		a.end, a.ahead.lookup = ends[a.partition], false
		s.rouse()
		return nil
	}
	first, err := s.c.listAll(ctx, one, earliestOffset, uncommitted)
	if err != nil {
		return err
	}
	last, err := s.c.listAll(ctx, one, latestOffset, uncommitted)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.outOfRange(first[a.partition], last[a.partition])
	s.rouse()
	return nil
}

// outOfRange takes where a partition begins and ends, after the broker has said
// that what was to be fetched lies outside. mu is held.
func (a *assignment) outOfRange(first, last int64) {
	r := &a.ahead
	r.lookup = false
	to := first
	var why error
	switch {
	case r.at < first:
		why = fmt.Errorf("partition %s begins at %d, and %d was to be next; trimmed=skip goes on there: %w", a.name, first, r.at, messaging.ErrTrimmed)
	case r.at > last:
		to = last
		why = fmt.Errorf("partition %s ends at %d, and %d was to be next: the topic was made anew, or lost what it had; trimmed=skip goes on at its end: %w", a.name, last, r.at, messaging.ErrTrimmed)
	default:
		a.retry() // another broker said so, which was behind
		return
	}
	if !a.s.o.trimmedSkip {
		a.failed = why
		return
	}
	a.s.o.log.Warn("kafka: goes on elsewhere", "topic", a.s.o.topic, "partition", a.partition, "from", r.at, "at", to)
	if r.at = to; len(r.chunks) == 0 {
		a.next = to
		if a.inHand() == 0 {
			a.advance(to)
		}
	}
}
