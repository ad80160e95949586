package conformance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

func loses(every int) func(*sending, []messaging.Message) error {
	return func(s *sending, ms []messaging.Message) error {
		var kept []int
		var send []messaging.Message
		for i, m := range ms {
			if !s.count.in(every) {
				kept, send = append(kept, i), append(send, m)
			}
		}
		return spread(ms, kept, s.next(s.ctx, send...), func(int) error { return s.ctx.Err() })
	}
}

func deletedIsNil(s *sending, ms []messaging.Message) error {
	err := s.next(s.ctx, ms...)
	if errors.Is(err, messaging.ErrNotFound) && s.count.in(3) {
		return nil
	}
	return err
}

func uncertainIsFailed(s *sending, ms []messaging.Message) error {
	err := s.next(s.ctx, ms...)
	if errors.Is(err, messaging.ErrUncertain) {
		return errors.New("the connection was lost")
	}
	return err
}

func cancelledButSent(s *sending, ms []messaging.Message) error {
	if s.ctx.Err() != nil && s.count.in(10) {
		_ = s.next(context.WithoutCancel(s.ctx), ms...)
	}
	return s.next(s.ctx, ms...)
}

func timeOutIsNil(s *sending, ms []messaging.Message) error {
	if s.ctx.Err() != nil {
		return s.next(s.ctx, ms...)
	}
	err := s.next(s.ctx, ms...)
	if errors.Is(err, context.DeadlineExceeded) && len(ms) < 6 {
		return nil
	}
	return err
}

func oneFailsAll(s *sending, ms []messaging.Message) error {
	if err := s.next(s.ctx, ms...); errors.Is(err, messaging.ErrTooLarge) {
		return messaging.ErrTooLarge
	} else {
		return err
	}
}

func hidesFailures(s *sending, ms []messaging.Message) error {
	err := s.next(s.ctx, ms...)
	if len(ms) > 1 && errors.Is(err, messaging.ErrTooLarge) {
		return nil
	}
	return err
}

func shiftsOutcomes(s *sending, ms []messaging.Message) error {
	err := s.next(s.ctx, ms...)
	all := make([]error, len(ms))
	for i := range all {
		all[(i+1)%len(ms)] = messaging.ErrorAt(err, i)
	}
	if err == nil {
		return nil
	}
	return &messaging.BatchError{Errs: all}
}

func storesTwice(s *sending, ms []messaging.Message) error {
	for i := range ms {
		if s.count.in(500) {
			twice := ms[i]
			if twice.ID == "" {
				twice.ID = messaging.NewID()
			}
			ms = append(slices.Clone(ms), twice)
			ms[i] = twice
			err := s.next(s.ctx, ms...)
			return spread(ms[:len(ms)-1], places(len(ms)-1), err, nil)
		}
	}
	return s.next(s.ctx, ms...)
}

func places(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func retries(s *sending, ms []messaging.Message) error {
	ms = slices.Clone(ms)
	for i := range ms {
		if ms[i].ID == "" {
			ms[i].ID = messaging.NewID()
		}
	}
	for {
		err := s.next(s.ctx, ms...)
		if !errors.Is(err, messaging.ErrUncertain) {
			return err
		}
	}
}

func swapsNeighbours(s *sending, ms []messaging.Message) error {
	for i := 1; i < len(ms); i++ {
		if ms[i].Key != "" && ms[i].Key == ms[i-1].Key && s.count.in(200) {
			order := places(len(ms))
			order[i], order[i-1] = i-1, i
			return inOrderOf(s, ms, order)
		}
	}
	return s.next(s.ctx, ms...)
}

// inOrderOf sends ms in another order, and tells the outcomes in theirs.
func inOrderOf(s *sending, ms []messaging.Message, order []int) error {
	send := make([]messaging.Message, len(ms))
	for k, i := range order {
		send[k] = ms[i]
	}
	return spread(ms, order, s.next(s.ctx, send...), nil)
}

func refusedReorders(s *sending, ms []messaging.Message) error {
	at := slices.IndexFunc(ms, func(m messaging.Message) bool { return len(m.Body) >= huge })
	if at < 0 {
		return s.next(s.ctx, ms...)
	}
	order := places(len(ms))
	return inOrderOf(s, ms, append(order[at:len(order):len(order)], order[:at]...))
}

func partsReversed(s *sending, ms []messaging.Message) error {
	const part = 100
	if len(ms) <= part {
		return s.next(s.ctx, ms...)
	}
	order := places(len(ms))
	return inOrderOf(s, ms, append(order[part:len(order):len(order)], order[:part]...))
}

func sharesIDs(s *sending, ms []messaging.Message) error {
	ms = slices.Clone(ms)
	for i := 1; i < len(ms); i++ {
		if ms[i].ID == "" && ms[i-1].ID == "" && s.count.in(300) {
			ms[i].ID = messaging.NewID()
			ms[i-1].ID = ms[i].ID
		}
	}
	return s.next(s.ctx, ms...)
}

func writesIDs(s *sending, ms []messaging.Message) error {
	for i := range ms {
		if ms[i].ID == "" {
			ms[i].ID = messaging.NewID()
		}
	}
	return s.next(s.ctx, ms...)
}

func tooLargeIsUnknown(s *sending, ms []messaging.Message) error {
	err := s.next(s.ctx, ms...)
	if !errors.Is(err, messaging.ErrTooLarge) {
		return err
	}
	return spread(ms, nil, nil, func(i int) error {
		if one := messaging.ErrorAt(err, i); one != nil {
			return errors.Join(messaging.ErrUncertain, one)
		}
		return nil
	})
}

func slow(s *sending, ms []messaging.Message) error {
	if s.ctx.Err() == nil && s.count.in(300) {
		_ = pause(s.ctx, 6*time.Second)
	}
	return s.next(s.ctx, ms...)
}

func phantom(count *nth, d *messaging.Delivery) {
	if count.in(500) {
		d.ID, d.Body = messaging.NewID(), []byte("nobody's\n")
	}
}

func headerLostAgain(_ *nth, d *messaging.Delivery) {
	if d.Redelivered && len(d.Headers) == 2 {
		d.Headers = d.Headers[:1]
	}
}

func mendHeaders(_ *nth, d *messaging.Delivery) {
	for i, h := range d.Headers {
		d.Headers[i] = messaging.Header{Key: strings.ToValidUTF8(h.Key, "?"), Value: strings.ToValidUTF8(h.Value, "?")}
	}
}

func idNewAgain(count *nth, d *messaging.Delivery) {
	if d.Redelivered && firstLine(d.Body) != "" && count.in(20) {
		d.ID = messaging.NewID()
	}
}

func publishedNow(_ *nth, d *messaging.Delivery) { d.Published = time.Now() }

func publishedZeroAgain(_ *nth, d *messaging.Delivery) {
	if d.Redelivered {
		d.Published = time.Time{}
	}
}
