package messaging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"time"
)

// releaseGrace bounds the Release of deliveries that were received and not
// handed on, when the context that asked for them may be over.
const releaseGrace = 5 * time.Second

// Deliveries returns an iterator over the deliveries of s, received max at a
// time. The loop's body settles each. The sequence ends with the first error
// of Receive, or ctx's own as soon as it has ended, yielded with a nil
// delivery; or without one at the end of a stream that was opened with end=.
// The end, and leaving the loop, releases what was received and not yielded;
// that can take up to 5 s when the broker does not answer. It can be ranged
// over again.
func Deliveries(ctx context.Context, s Subscriber, max int) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		if s == nil {
			yield(nil, errors.New("messaging: deliveries: the subscriber is nil"))
			return
		}
		for {
			ds, err := receive(ctx, s, max)
			if err == io.EOF { // not errors.Is: a connection's EOF is not the stream's
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

// receive is s.Receive, but nothing more when ctx has ended.
func receive(ctx context.Context, s Subscriber, max int) ([]*Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ds, err := s.Receive(ctx, max)
	if err == nil && len(ds) == 0 {
		err = fmt.Errorf("messaging: Receive of a %T returned neither deliveries nor an error", s)
	}
	return ds, err
}

// yieldAll yields ds until ctx ends, and reports whether the loop goes on.
// What it does not yield it releases, also when the loop's body panics.
func yieldAll(ctx context.Context, s Subscriber, ds []*Delivery, yield func(*Delivery, error) bool) bool {
	defer func() {
		if len(ds) > 0 {
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseGrace)
			defer cancel()
			// What cannot be given back now comes again when its lease ends.
			_ = s.Release(release, ds...)
		}
	}()
	for len(ds) > 0 && ctx.Err() == nil {
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
// rejected (see [Reject]): it would not decode the next time either. That is
// also what becomes of a nil body, such as a tombstone, if unmarshal refuses
// it. Without unmarshal or f the Handler is nil, which [Consume] refuses.
func Decode[T any](unmarshal func([]byte, any) error, f func(context.Context, *Delivery, T) error) Handler {
	if unmarshal == nil || f == nil {
		return nil
	}
	return func(ctx context.Context, d *Delivery) error {
		var v T
		if err := unmarshal(d.Body, &v); err != nil {
			return Reject(fmt.Errorf("messaging: decode body into %v: %w", reflect.TypeFor[T](), err))
		}
		return f(ctx, d, v)
	}
}
