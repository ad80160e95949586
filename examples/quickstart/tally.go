package main

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"time"
)

// tally counts the lines that got somewhere, each once, however often it is
// delivered. It is safe for concurrent use.
type tally struct {
	mu    sync.Mutex
	seen  []uint64 // a bit a line
	n     int
	again int           // lines that were there already
	want  int           // -1: not known yet
	full  chan struct{} // closed when n is want
}

func newTally() *tally { return &tally{want: -1, full: make(chan struct{})} }

// add counts a line and says whether it is a new one.
func (t *tally) add(number int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	word, bit := number/bits.UintSize, uint64(1)<<(number%bits.UintSize)
	if more := word + 1 - len(t.seen); more > 0 {
		t.seen = append(t.seen, make([]uint64, more)...)
	}
	if t.seen[word]&bit != 0 {
		t.again++
		return false
	}
	t.seen[word] |= bit
	t.n++
	t.check()
	return true
}

// expect says how many lines there will be.
func (t *tally) expect(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = n
	t.check()
}

func (t *tally) check() {
	if t.n == t.want {
		close(t.full)
	}
}

func (t *tally) count() (n, again int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n, t.again
}

// wait waits for all lines, until ctx ends or, once it is known how many there
// are, none has come for so long.
func (t *tally) wait(ctx context.Context, patience time.Duration) error {
	for {
		before, _ := t.count()
		select {
		case <-t.full:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(patience):
			t.mu.Lock()
			n, want := t.n, t.want
			t.mu.Unlock()
			if want >= 0 && n == before {
				return fmt.Errorf("nothing has come for %v: %d of %d messages are missing; does something else take them?", patience, want-n, want)
			}
		}
	}
}
