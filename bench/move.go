package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// flow moves messages: publish sends n of them, asking before each call
// whether it is too far ahead; consume receives and acknowledges until its
// context ends, and counts. Both get the number of their goroutine.
type flow struct {
	ahead   int // how far publishers get ahead of consumers; 0: as far as they like
	publish func(ctx context.Context, producer, n int, t *tally) error
	consume func(ctx context.Context, consumer int, t *tally) error
}

// move measures a flow from the first publish to the last acknowledgement.
func (w work) move(ctx context.Context, m *meter, f flow) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	t := newTally(w.Messages, cancel)
	t.ahead = int64(f.ahead)
	m.start()
	for c := range w.Consumers {
		g.Go(func() error {
			err := f.consume(ctx, c, t)
			if t.reached() {
				return nil // the context's error, most likely
			}
			return err
		})
	}
	for p := range w.Producers {
		g.Go(func() error { return f.publish(ctx, p, w.share(p), t) })
	}
	err := g.Wait()
	m.stop(w.Messages)
	return err
}

// share is how many messages producer p sends.
func (w work) share(p int) int {
	n := w.Messages / w.Producers
	if p < w.Messages%w.Producers {
		n++
	}
	return n
}

// body is what all messages carry.
func (w work) body() []byte {
	b := make([]byte, w.Size)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}

// tally counts messages.
type tally struct {
	want, ahead int64
	sent, done  atomic.Int64
	then        func() // once, when all that were wanted are done
}

func newTally(want int, then func()) *tally { return &tally{want: int64(want), then: then} }

// add counts n more as done.
func (t *tally) add(n int) {
	if done := t.done.Add(int64(n)); done >= t.want && done-int64(n) < t.want {
		t.then()
	}
}

func (t *tally) reached() bool { return t.done.Load() >= t.want }

// send counts n more as sent. When too many of them are not done it first
// waits, until half of those are. It is written for little CPU time, not for
// good latency.
func (t *tally) send(ctx context.Context, n int) error {
	if t.ahead > 0 && t.sent.Load()-t.done.Load() > t.ahead {
		for t.sent.Load()-t.done.Load() > t.ahead/2 {
			if err := ctx.Err(); err != nil {
				return err
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
	t.sent.Add(int64(n))
	return nil
}
