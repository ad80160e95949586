package messaging_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// A step is one call on a lease, and what its channels say afterwards.
func TestLeaseStates(t *testing.T) {
	const held, ending, lost = "held", "ending", "lost"
	end, lose := (*messaging.Lease).End, (*messaging.Lease).Lose
	type step struct {
		do   func(*messaging.Lease)
		want string
	}
	for name, steps := range map[string][]step{
		"zero value":            {},
		"in order":              {{end, ending}, {lose, lost}},
		"at once":               {{lose, lost}},
		"ended twice":           {{end, ending}, {end, ending}, {lose, lost}},
		"lost twice":            {{lose, lost}, {lose, lost}},
		"ended when lost":       {{lose, lost}, {end, lost}},
		"ended again and so on": {{end, ending}, {lose, lost}, {end, lost}, {lose, lost}},
	} {
		t.Run(name, func(t *testing.T) {
			var early, late messaging.Lease // channels made before the steps, and only at their end
			endingCh, lostCh := early.Ending(), early.Lost()
			check := func(want string) {
				t.Helper()
				if e, l := isClosed(endingCh), isClosed(lostCh); e != (want != held) || l != (want == lost) {
					t.Errorf("want %s: Ending closed: %v, Lost closed: %v", want, e, l)
				}
			}
			check(held)
			want := held
			for _, s := range steps {
				s.do(&early)
				s.do(&late)
				want = s.want
				check(want)
			}
			if early.Ending() != endingCh || early.Lost() != lostCh {
				t.Error("a second call gave another channel")
			}
			endingCh, lostCh = late.Ending(), late.Lost()
			check(want)
		})
	}
}

// Only one of the channels in use: the other's absence is no matter.
func TestLeaseOneChannel(t *testing.T) {
	var a, b messaging.Lease
	ending, lost := a.Ending(), b.Lost()
	a.Lose()
	b.Lose()
	if !isClosed(ending) || !isClosed(lost) || !isClosed(a.Lost()) || !isClosed(b.Ending()) {
		t.Error("a channel of a lost lease is open")
	}
}

func TestLeaseNil(t *testing.T) {
	var l *messaging.Lease
	l.End()
	l.Lose()
	if l.Ending() != nil || l.Lost() != nil {
		t.Error("a nil lease has channels that are not nil: it can never be lost")
	}
}

// Who is told of the loss finds that Ending came before it, whatever calls
// run beside each other.
func TestLeaseConcurrent(t *testing.T) {
	for range 200 {
		var l messaging.Lease
		var wg sync.WaitGroup
		for _, do := range []func(){l.End, l.Lose, l.Lose, l.End, func() { l.Ending() }, func() { l.Lost() }} {
			wg.Go(do)
		}
		for range 2 {
			wg.Go(func() {
				<-l.Lost()
				if !isClosed(l.Ending()) {
					t.Error("Lost before Ending")
				}
			})
			wg.Go(func() { <-l.Ending() })
		}
		wg.Wait()
		if !isClosed(l.Ending()) || !isClosed(l.Lost()) {
			t.Fatal("a channel of a lost lease is open")
		}
	}
}

func TestLeaseInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l messaging.Lease
		start := time.Now()
		time.AfterFunc(20*time.Second, l.End)
		time.AfterFunc(30*time.Second, l.Lose)
		<-l.Ending()
		if got := time.Since(start); got != 20*time.Second {
			t.Errorf("Ending after %v", got)
		}
		<-l.Lost()
		if got := time.Since(start); got != 30*time.Second {
			t.Errorf("Lost after %v", got)
		}
	})
}

// hold is a backend's own type, with a lease in it.
type hold struct {
	messaging.Lease
	tag uint64
}

var keptHold *hold

func TestLeaseAllocates(t *testing.T) {
	l := new(hold)
	for name, tt := range map[string]struct {
		want float64
		do   func()
	}{
		"never watched": {1, func() {
			keptHold = &hold{tag: 1}
			keptHold.End()
			keptHold.Lose()
		}},
		"one channel": {2, func() {
			keptHold = &hold{tag: 1}
			keptHold.Lost()
			keptHold.Lose()
		}},
		"channels that are there": {0, func() { l.Ending(); l.Lost() }},
	} {
		if got := testing.AllocsPerRun(100, tt.do); got != tt.want {
			t.Errorf("%s: %v allocations, want %v", name, got, tt.want)
		}
	}
}

// BenchmarkLease is what a backend pays for each message that has a lease of
// its own: embedded, and as it would be with two channels from the start.
func BenchmarkLease(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			keptHold = &hold{tag: 1}
		}
	})
	b.Run("embedded and lost", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			keptHold = &hold{tag: 1}
			keptHold.Lose()
		}
	})
	b.Run("embedded and watched", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			keptHold = &hold{tag: 1}
			keptHold.Ending()
			keptHold.Lost()
		}
	})
	b.Run("two channels", func(b *testing.B) {
		type eager struct {
			_            sync.Mutex
			ending, lost chan struct{}
			tag          uint64
		}
		var kept *eager
		b.ReportAllocs()
		for b.Loop() {
			kept = &eager{ending: make(chan struct{}), lost: make(chan struct{}), tag: 1}
		}
		_ = kept
	})
}
