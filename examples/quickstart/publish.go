package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// The headers of each message.
const (
	runHeader  = "quickstart-run"
	lineHeader = "quickstart-line"
)

// mostTold is how many failures of one kind are told one by one.
const mostTold = 10

// publishing is the input on its way to the broker.
type publishing struct {
	in      *input
	keyFlag int
	pub     messaging.Publisher

	key       field
	poison    atomic.Int64 // the line that fails everywhere: the first one
	lines     lineCounts
	published atomic.Int64
	refused   int // too large for the broker
	failed    int // other than that: the first such error ends it
	took      time.Duration
}

// publish publishes the input in batches, as they come, until its end or
// ctx's. A batch that it has begun it finishes.
func (t *tour) publish(ctx context.Context) error {
	start := time.Now()
	batches := t.in.batches(ctx)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-batches:
			t.lines = b.lineCounts
			err := t.publishLines(context.WithoutCancel(ctx), b.lines)
			t.took = time.Since(start)
			switch {
			case err != nil:
				return err
			case errors.Is(b.err, io.EOF):
				return nil
			case b.err != nil:
				return fmt.Errorf("read %s: %w", t.in.name, b.err)
			}
		}
	}
}

// publishLines publishes some lines in one call, and judges each by itself.
func (t *tour) publishLines(ctx context.Context, lines []line) error {
	if len(lines) == 0 {
		return nil
	}
	if t.poison.CompareAndSwap(0, int64(lines[0].number)) {
		t.key = findField(lines, t.keyFlag)
	}
	err := t.pub.Publish(ctx, t.messages(lines)...)
	var first error
	for i, l := range lines {
		switch err := messaging.ErrorAt(err, i); {
		case err == nil:
			t.published.Add(1)
		case errors.Is(err, messaging.ErrTooLarge):
			if t.refused++; t.refused > mostTold {
				continue
			}
			fmt.Fprintf(t.stderr, "quickstart: line %d left out: %v\n", l.number, err)
		default:
			t.failed++
			if first == nil {
				first = fmt.Errorf("publish line %d: %w", l.number, err)
			}
		}
	}
	return first
}

func (t *tour) messages(lines []line) []messaging.Message {
	msgs := make([]messaging.Message, len(lines))
	for i, l := range lines {
		msgs[i] = messaging.Message{
			Key: t.key.of(l.text),
			Headers: messaging.Headers{
				{Key: runHeader, Value: t.runID},
				{Key: lineHeader, Value: strconv.Itoa(l.number)},
			},
			Body: l.text,
		}
	}
	return msgs
}

// number returns the number of the line that this run published as m, 0 if
// it was not this run.
func (t *tour) number(m *messaging.Message) int {
	if m.Headers.Get(runHeader) != t.runID {
		return 0
	}
	n, _ := strconv.Atoi(m.Headers.Get(lineHeader)) // we wrote it
	return n
}
