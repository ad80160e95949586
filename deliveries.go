package messaging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// releaseGrace bounds the Release of deliveries that were received and not
// handed on, when the context that asked for them may be over.
const releaseGrace = 5 * time.Second

// Deliveries returns an iterator over the deliveries of s, received max at a
// time. The loop's body settles each. The sequence ends with the first error
// of Receive, yielded with a nil delivery (ctx's own among them), or without
// one at the end of a stream that was opened with end=. Leaving the loop
// releases what was received and not yielded; that can take up to 5 s when
// the broker does not answer. It can be ranged over again.
func Deliveries(ctx context.Context, s Subscriber, max int) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		for {
			ds, err := s.Receive(ctx, max)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yieldAll(ctx, s, ds, yield) {
				return
			}
		}
	}
}

// yieldAll yields ds and reports whether the loop goes on. What it does not
// yield it releases, also when the loop's body panics.
func yieldAll(ctx context.Context, s Subscriber, ds []*Delivery, yield func(*Delivery, error) bool) bool {
	defer func() {
		if len(ds) > 0 {
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseGrace)
			defer cancel()
			// What cannot be given back now comes again when its lease ends.
			_ = s.Release(release, ds...)
		}
	}()
	for len(ds) > 0 {
		d := ds[0]
		ds = ds[1:]
		if !yield(d, nil) {
			return false
		}
	}
	return true
}

// Decode returns a Handler that turns the body into a T with unmarshal, such
// as json.Unmarshal, and calls f with it. A body that does not decode is
// rejected (see [Reject]): it would not decode the next time either.
func Decode[T any](unmarshal func([]byte, any) error, f func(context.Context, *Delivery, T) error) Handler {
	return func(ctx context.Context, d *Delivery) error {
		var v T
		if err := unmarshal(d.Body, &v); err != nil {
			return Reject(fmt.Errorf("messaging: decode body into %T: %w", v, err))
		}
		return f(ctx, d, v)
	}
}
