package rabbitmq

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// fake is a session.
type fake struct{ over chan struct{} }

func (f *fake) ended() <-chan struct{} { return f.over }
func (f *fake) close()                 {}

func newFake() *fake { return &fake{make(chan struct{})} }

// A session that ends is replaced, with pauses that grow up to a bound, and
// nobody who waits hears of what heals.
func TestLinkReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Time
		first := newFake()
		l := newLink(first, firstPause, func(context.Context) (*fake, error) {
			if attempts = append(attempts, time.Now()); len(attempts) < 12 {
				return nil, errors.New("down")
			}
			return newFake(), nil
		}, nil, nil)
		b := bound{ctx: t.Context()}
		if s, err := l.get(&b); s != first || err != nil {
			t.Fatal(s, err)
		}
		ended := time.Now()
		close(first.over)
		if s, err := l.get(&b); s == first || err != nil {
			t.Fatal(s, err)
		}
		for i, at := range attempts {
			since := at.Sub(ended)
			if least := min(firstPause<<max(0, i-1), mostPause) / 2; since < least || since > mostPause {
				t.Errorf("attempt %d came %v after the one before", i+1, since)
			}
			ended = at
		}
		l.stop()
	})
}

// A refusal is told, and looked at anew whenever somebody asks, but not
// otherwise.
func TestLinkRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, good := 0, false
		l := newLink(nil, 0, func(context.Context) (*fake, error) {
			if attempts++; good {
				return newFake(), nil
			}
			return nil, &refusal{messaging.ErrNotFound}
		}, nil, nil)
		b := bound{ctx: t.Context()}
		synctest.Wait() // it has been refused once
		for i := range 3 {
			if _, err := l.get(&b); !errors.Is(err, messaging.ErrNotFound) || attempts != i+2 {
				t.Errorf("%v after %d attempts", err, attempts)
			}
			time.Sleep(time.Hour)
		}
		good = true
		if _, err := l.get(&b); err != nil || attempts != 5 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
		l.stop()
	})
}

// An attempt that gets no answer is given up, and who waits gives up when its
// own time is over.
func TestLinkNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bounds []time.Duration
		l := newLink(nil, 0, func(ctx context.Context) (*fake, error) {
			begun := time.Now()
			<-ctx.Done()
			bounds = append(bounds, time.Since(begun))
			return nil, ctx.Err()
		}, nil, nil)
		b := bound{ctx: t.Context(), timeout: 2 * time.Minute}
		defer b.end()
		if _, err := l.get(&b); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if bounds[0] != firstBound || bounds[len(bounds)-1] != mostBound {
			t.Errorf("bounds %v", bounds)
		}
		l.stop()
	})
}
