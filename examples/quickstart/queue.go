package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

const (
	workers     = 3
	maxAttempts = 3
	work        = 200 * time.Microsecond // that a message takes: without it one worker may be done before another has begun
	pause       = 50 * time.Millisecond  // before a message that failed comes again

	// deadLetters need not be on the same broker as the queue.
	deadLetters = "mem://quickstart-dead-letters"
)

// queueHalf is the lines as a queue.
type queueHalf struct {
	t         *tour
	workers   []*worker
	deadPub   messaging.Publisher
	deadSub   messaging.QueueSubscriber
	stop      context.CancelCauseFunc
	settled   *tally
	dead      []string     // what the dead letters say
	leftovers atomic.Int64 // of earlier runs
	troubles  atomic.Int64 // that nobody made up
}

// worker is one of those who compete for the messages. In a real service each
// would be a process of its own.
type worker struct {
	q     *queueHalf
	name  string
	sub   messaging.QueueSubscriber
	flaky bool

	mu      sync.Mutex // its handlers run in parallel
	handled int
	failed  int
	got     int          // new messages
	flunked map[int]bool // lines that it has failed already
}

// openQueue opens a subscriber for each worker, in one group, and the dead
// letters.
func (t *tour) openQueue(ctx context.Context, rawURL string) error {
	q := &queueHalf{t: t, settled: newTally()}
	for i := range workers {
		sub, err := t.backends.OpenQueue(ctx, rawURL)
		if err != nil {
			q.close()
			return err
		}
		q.workers = append(q.workers, &worker{
			q: q, name: fmt.Sprintf("worker %d", i+1), sub: sub,
			flaky: i == workers-1, flunked: map[int]bool{},
		})
	}
	t.queue = q

	var err error
	if q.deadPub, err = t.backends.OpenPublisher(ctx, deadLetters); err != nil {
		return err
	}
	q.deadSub, err = t.backends.OpenQueue(ctx, deadLetters)
	return err
}

func (q *queueHalf) close() {
	for _, w := range q.workers {
		_ = w.sub.Close()
	}
	if q.deadPub != nil {
		_ = q.deadPub.Close()
	}
	if q.deadSub != nil {
		_ = q.deadSub.Close()
	}
}

// share publishes the lines and has the workers share them until each is
// handled or a dead letter.
func (q *queueHalf) share(ctx context.Context) error {
	ctx, q.stop = context.WithCancelCause(ctx)
	defer q.stop(nil)
	consumers := []func(context.Context) error{q.readDeadLetters}
	for _, w := range q.workers {
		consumers = append(consumers, w.run)
	}
	return q.t.consumeUntil(ctx, q.settled, func(ctx context.Context) error {
		if err := q.t.publish(ctx); err != nil {
			return err
		}
		q.settled.expect(int(q.t.published.Load()))
		return nil
	}, consumers...)
}

// run handles messages until ctx ends, then drains.
func (w *worker) run(ctx context.Context) error {
	err := messaging.Consume(ctx, w.sub, w.handle, &messaging.ConsumeOptions{
		Concurrency: 16,
		MaxAttempts: maxAttempts,
		DeadLetter:  ownDeadLetters{w.q.deadPub, w.q},
		Backoff:     func(int, error) time.Duration { return pause },
		Grace:       time.Second,
		OnError:     w.q.onError,
	})
	if errors.Is(context.Cause(ctx), errOthers) {
		return nil // that Grace cut something off was the purpose
	}
	return err
}

var (
	errPoison = errors.New("the first line fails everywhere, on purpose")
	errFlaky  = errors.New("worker 3 fails every tenth message, on purpose")
	errOthers = errors.New("the queue has messages that this program did not publish: give it a channel of its own")
)

// handle is the work. Here it takes a moment and decides whether it succeeds.
func (w *worker) handle(ctx context.Context, d *messaging.Delivery) error {
	number := w.q.t.number(&d.Message)
	switch {
	case number > 0:
	case d.Headers.Get(runHeader) != "":
		w.q.leftovers.Add(1)
		return nil
	default:
		// An error would count as an attempt, and could make it a dead letter.
		// A handler that is cancelled leaves its message untouched.
		w.q.stop(errOthers)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	time.Sleep(work)
	if err := w.attempt(number); err != nil {
		return err
	}
	w.q.settled.add(number)
	return nil
}

func (w *worker) attempt(number int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case int64(number) == w.q.t.poison.Load():
		w.failed++
		return errPoison
	case w.flaky && w.flunks(number):
		w.failed++
		return errFlaky
	}
	w.handled++
	return nil
}

// flunks says yes to every tenth line that the worker gets, once.
func (w *worker) flunks(number int) bool {
	if w.flunked[number] {
		return false
	}
	w.got++
	w.flunked[number] = w.got%10 == 1
	return w.flunked[number]
}

// onError hears of failures that the workers did not make up.
func (q *queueHalf) onError(_ *messaging.Delivery, err error) {
	if errors.Is(err, errPoison) || errors.Is(err, errFlaky) || errors.Is(err, messaging.ErrGrace) || errors.Is(err, errOthers) {
		return
	}
	if q.troubles.Add(1) <= mostTold {
		fmt.Fprintln(q.t.stderr, "quickstart: queue:", err)
	}
}

// ownDeadLetters takes what this program published, and nothing else: our dead
// letters end with this process.
type ownDeadLetters struct {
	messaging.Publisher
	q *queueHalf
}

func (p ownDeadLetters) Publish(ctx context.Context, msgs ...messaging.Message) error {
	for _, m := range msgs {
		if m.Headers.Get(runHeader) == "" {
			p.q.stop(errOthers)
			return errOthers
		}
	}
	return p.Publisher.Publish(ctx, msgs...)
}

// readDeadLetters takes the dead letters, as somebody would who looks into
// them, until ctx ends.
func (q *queueHalf) readDeadLetters(ctx context.Context) error {
	return messaging.Consume(ctx, q.deadSub, func(_ context.Context, d *messaging.Delivery) error {
		h := d.Headers
		if number := q.t.number(&d.Message); number == 0 {
			q.leftovers.Add(1)
		} else if q.settled.add(number) {
			q.dead = append(q.dead, fmt.Sprintf("line %s, after %s attempts: %s", h.Get(lineHeader), h.Get("messaging-attempts"), h.Get("messaging-reason")))
		}
		return nil
	}, nil)
}
