package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fake moves nothing and says that it took so long for each message.
func fake(name string, calls *[]string, each ...time.Duration) contender {
	c := contender{name: name}
	for i, d := range each {
		variant := variant{name: string(rune('a' + i))}
		variant.run = func(_ context.Context, w work, m *meter) error {
			*calls = append(*calls, name+variant.name)
			m.Messages = w.Messages
			m.Elapsed = time.Duration(w.Messages) * d
			m.CPU = m.Elapsed
			return nil
		}
		c.variants = append(c.variants, variant)
	}
	return c
}

func testPlan() plan {
	return plan{rounds: 10, run: 10 * time.Millisecond, limit: time.Minute, seed: 1, say: func(string, ...any) {}}
}

func TestMeasureRunsEachOnceARound(t *testing.T) {
	var calls []string
	all, err := testPlan().measure(t.Context(), work{}, []contender{
		fake("x", &calls, time.Microsecond), fake("y", &calls, time.Millisecond), fake("z", &calls, time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	rounds := calls[len(calls)-30:]
	var orders []string
	for round := range slices.Chunk(rounds, 3) {
		orders = append(orders, strings.Join(round, ""))
		if slices.Sort(round); !slices.Equal(round, []string{"xa", "ya", "za"}) {
			t.Errorf("a round ran %v", round)
		}
	}
	slices.Sort(orders)
	if len(slices.Compact(orders)) == 1 {
		t.Error("all rounds had one order")
	}
	for name, s := range all {
		if len(s.Samples) != 10 {
			t.Errorf("%s has %d samples, want 10", name, len(s.Samples))
		}
	}
	if n := all["x"].Samples[0].Messages; n != 10_000 {
		t.Errorf("a run of 1 µs a message moved %d of them, want as many as take 10 ms", n)
	}
}

func TestMeasureTakesTheFastestVariant(t *testing.T) {
	var calls []string
	all, err := testPlan().measure(t.Context(), work{}, []contender{fake("x", &calls, 3*time.Microsecond, time.Microsecond, 2*time.Microsecond)})
	if err != nil {
		t.Fatal(err)
	}
	if got := all["x"].Variant; got != "b" {
		t.Errorf("variant %s ran, want b, the fastest", got)
	}
	if last := calls[len(calls)-10:]; slices.ContainsFunc(last, func(c string) bool { return c != "xb" }) {
		t.Errorf("the rounds ran %v", last)
	}
}

func TestMeasureReportsWhoFailed(t *testing.T) {
	broken := errors.New("broken")
	_, err := testPlan().measure(t.Context(), work{}, []contender{one("x", func(context.Context, work, *meter) error { return broken })})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "x: ") {
		t.Errorf("the error is %v", err)
	}
}

func TestMoveCountsAndSurvivesAFailure(t *testing.T) {
	for _, fails := range []bool{false, true} {
		ch := make(chan struct{}, 100)
		w := work{Messages: 25, Producers: 4, Consumers: 3}
		var m meter
		err := w.move(t.Context(), &m, flow{
			publish: func(_ context.Context, p, n int, _ *tally) error {
				if fails && p == 0 {
					return errors.New("broken")
				}
				for range n {
					ch <- struct{}{}
				}
				return nil
			},
			consume: func(ctx context.Context, _ int, t *tally) error {
				for {
					select {
					case <-ch:
						t.add(1)
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			},
		})
		if fails != (err != nil) {
			t.Errorf("fails %v, error %v", fails, err)
		}
		if !fails && len(ch) != 0 {
			t.Errorf("%d messages were not consumed", len(ch))
		}
	}
}

func TestPublishersStayNear(t *testing.T) {
	var furthest, sent, received atomic.Int64
	w := work{Messages: 3000, Producers: 4, Consumers: 1}
	var m meter
	ch := make(chan struct{}, w.Messages)
	err := w.move(t.Context(), &m, flow{
		ahead: 100,
		publish: func(ctx context.Context, _, n int, t *tally) error {
			for range n {
				if err := t.send(ctx, 1); err != nil {
					return err
				}
				ahead := sent.Add(1) - received.Load()
				for f := furthest.Load(); ahead > f && !furthest.CompareAndSwap(f, ahead); f = furthest.Load() {
				}
				ch <- struct{}{}
			}
			return nil
		},
		consume: func(ctx context.Context, _ int, t *tally) error {
			for {
				select {
				case <-ch:
					received.Add(1)
					t.add(1)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Each of the four may have passed the bound with the last of its calls.
	if f := furthest.Load(); f > 100+8 {
		t.Errorf("publishers were %d messages ahead, want 100", f)
	}
}
