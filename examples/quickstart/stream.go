package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/url"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// streamHalf is the lines as a stream.
type streamHalf struct {
	t        *tour
	sub      messaging.StreamSubscriber
	followed *reading
	replayed *reading // nil: not yet
}

// reading is what was seen while the stream was read once.
type reading struct {
	t    *tour
	seen *tally

	mu         sync.Mutex     // partitions are handled in parallel
	latest     map[string]int // line of each key
	partitions map[string]*partition
	misplaced  int       // lines that came after a later one of their key
	since      time.Time // when the broker took the first one
}

// partition is what was seen in one partition: a sum over it, to compare.
type partition struct {
	offset messaging.Offset
	sum    hash.Hash
}

func (t *tour) newReading() *reading {
	return &reading{t: t, seen: newTally(), latest: map[string]int{}, partitions: map[string]*partition{}}
}

func (t *tour) openStream(ctx context.Context, rawURL string) error {
	sub, err := t.backends.OpenStream(ctx, rawURL)
	if err != nil {
		return err
	}
	t.stream = &streamHalf{t: t, sub: sub, followed: t.newReading(), replayed: t.newReading()}
	return nil
}

// readTwice follows the stream, replays it and compares.
func (s *streamHalf) readTwice(ctx context.Context) error {
	if err := s.follow(ctx); err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	if err := s.replay(ctx); err != nil {
		return fmt.Errorf("replay the stream: %w", err)
	}
	if n := s.followed.misplaced + s.replayed.misplaced; n > 0 {
		return fmt.Errorf("%d messages came after a later one of their key", n)
	}
	if !s.replayed.sameAs(s.followed) {
		return errors.New("the replay differs from what was followed")
	}
	return nil
}

// follow reads as a member of a group, whose cursor the broker keeps, until
// all that was published has come.
func (s *streamHalf) follow(ctx context.Context) error {
	r := s.followed
	r.seen.expect(int(s.t.published.Load()))
	return s.t.consumeUntil(ctx, r.seen, func(context.Context) error { return nil },
		func(ctx context.Context) error {
			return messaging.Consume(ctx, s.sub, func(_ context.Context, d *messaging.Delivery) error {
				r.add(d)
				return nil
			}, &messaging.ConsumeOptions{Concurrency: 4})
		})
}

// replay reads alone, without a group, from the first message of this run to
// the present end: no group's cursor moves.
func (s *streamHalf) replay(ctx context.Context) error {
	sub, err := s.t.backends.OpenStream(ctx, s.replayURL())
	if err != nil {
		return err
	}
	defer sub.Close()
	for d, err := range messaging.Deliveries(ctx, sub, 256) {
		if err != nil {
			return err
		}
		s.replayed.add(d)
		if err := sub.Commit(ctx, d); err != nil { // makes room in the window
			return err
		}
	}
	return nil
}

func (s *streamHalf) replayURL() string {
	u, err := url.Parse(s.t.url)
	if err != nil {
		return s.t.url
	}
	q := u.Query()
	q.Del("group")
	q.Set("start", "earliest")
	if since := s.followed.since; !since.IsZero() {
		q.Set("start", since.Format(time.RFC3339Nano))
	}
	q.Set("end", "now")
	u.RawQuery = q.Encode()
	return u.String()
}

// add takes note of a delivery. One that comes again after a rebalance, and
// one of an earlier run, is none.
func (r *reading) add(d *messaging.Delivery) {
	number := r.t.number(&d.Message)
	if number == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.partitions[d.Partition]
	if p == nil {
		p = &partition{sum: sha256.New()}
		r.partitions[d.Partition] = p
	} else if d.Offset.Compare(p.offset) <= 0 {
		return
	}
	p.offset = d.Offset
	io.WriteString(p.sum, d.ID+"\x00"+string(d.Offset)+"\x00")
	p.sum.Write(d.Body)
	if r.since.IsZero() || d.Published.Before(r.since) {
		r.since = d.Published
	}
	if d.Key != "" {
		if number < r.latest[d.Key] {
			r.misplaced++
		}
		r.latest[d.Key] = number
	}
	r.seen.add(number)
}

// sameAs says whether both saw the same messages in the same places.
func (r *reading) sameAs(other *reading) bool {
	return maps.EqualFunc(r.partitions, other.partitions, func(a, b *partition) bool {
		return a.offset == b.offset && bytes.Equal(a.sum.Sum(nil), b.sum.Sum(nil))
	})
}
