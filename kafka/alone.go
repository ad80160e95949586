package kafka

import (
	"context"
	"math"
	"time"
)

// readAlone makes s read without a group.
func (s *stream) readAlone(ctx context.Context) error {
	o := s.o
	partitions := s.c.layout().all()
	if o.only >= 0 {
		partitions = []int32{o.only}
	}
	from, err := s.c.resolve(ctx, o.from, partitions)
	if err != nil {
		return err
	}
	ends, until, err := s.endOf(ctx, partitions)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounded = o.to.kind != unbounded
	s.grows = !s.bounded && o.only < 0
	for _, p := range partitions {
		a := newAssignment(s, p, from[p])
		a.until = until
		if end, ok := ends[p]; ok {
			a.end = end
		}
		s.install(a)
	}
	return nil
}

// endOf returns where each partition ends, as far as that is known, or the time
// in milliseconds that ends it.
func (s *stream) endOf(ctx context.Context, partitions []int32) (ends map[int32]int64, until int64, err error) {
	until = math.MaxInt64
	switch to := s.o.to; to.kind {
	case atEnd:
		ends, err = s.c.listAll(ctx, partitions, latestOffset, committed)
	case atOffset:
		ends = map[int32]int64{s.o.only: to.offset}
	case atTime:
		until = upMillis(to.at)
		if !to.at.After(time.Now()) {
			ends, err = s.c.since(ctx, partitions, until)
		}
	}
	return ends, until, err
}
