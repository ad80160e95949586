package conformance

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"

	"github.com/fa5182d2/messaging"
)

// driveLeak opens and closes again and again, with deliveries in hand and
// calls under way, and counts the goroutines that are left. They are known by
// a label, which goroutines hand on to those that they start.
func driveLeak(r *run) {
	const rounds = 50
	label := fmt.Sprintf("%s-%x", r.channel, r.h.Seed)
	opened := int64(0)
	ended := make(chan struct{})
	r.wg.Go(func() {
		defer close(ended)
		pprof.Do(r.ctx, pprof.Labels("conformance", label), func(ctx context.Context) {
			for i := range rounds {
				r.openAndClose(ctx, i)
				opened += 2
			}
		})
	})
	<-ended
	// What ends does so in its own time.
	left := 0
	for range 100 {
		if left = labelled(label); left == 0 {
			break
		}
		r.pause(r.timing.Operation / 100)
	}
	r.fact("opened and closed", opened)
	r.fact("goroutines left", int64(left))
	if left > 0 {
		r.note("goroutines: %d have the label of this run", left)
	}
}

// openAndClose opens a publisher and a subscriber, uses them, and closes them
// in the middle of it.
func (r *run) openAndClose(ctx context.Context, i int) {
	u, err := r.target.address(r.channel, false, params("group", groupFor(r)))
	if err != nil {
		r.fail("the target's URL: %w", err)
	}
	p, err := r.target.Backend.OpenPublisher(ctx, u)
	if err != nil {
		r.fail("open publisher: %w", err)
	}
	var s messaging.Subscriber
	if r.flavour == ForQueue {
		s, err = r.target.Backend.(messaging.QueueBackend).OpenQueue(ctx, u)
	} else {
		s, err = r.target.Backend.(messaging.StreamBackend).OpenStream(ctx, u)
	}
	if err != nil {
		r.fail("open subscriber: %w", err)
	}
	_ = p.Publish(ctx, messaging.Message{Body: []byte("leak")}, messaging.Message{Body: []byte("leak")})
	bounded, cancel := context.WithTimeout(ctx, r.timing.Operation)
	defer cancel()
	if ds, err := s.Receive(bounded, 1); err == nil && i%2 == 0 {
		_ = s.Release(bounded, ds...)
	}
	_ = s.Close()
	_ = p.Close()
}

// labelled returns how many goroutines have a label.
func labelled(label string) int {
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return 0
	}
	// The first line is a headline, and the most frequent stack follows it.
	_, stacks, _ := strings.Cut(b.String(), "\n")
	n := 0
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(stack, `"conformance":"`+label+`"`) {
			var count int
			_, _ = fmt.Sscanf(stack, "%d @", &count)
			n += count
		}
	}
	return n
}
