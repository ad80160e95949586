package messaging

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// logged is a watch that keeps the states that it was told.
func logged(told *[]leaseState) *leaseWatch {
	return &leaseWatch{changed: func(s leaseState) { *told = append(*told, s) }}
}

func TestLeaseWatch(t *testing.T) {
	end, lose := (*Lease).End, (*Lease).Lose
	for name, tt := range map[string]struct {
		before, after []func(*Lease)
		state         leaseState
		told          []leaseState
	}{
		"nothing":               {nil, nil, leaseHeld, nil},
		"in order":              {nil, []func(*Lease){end, lose}, leaseHeld, []leaseState{leaseEnding, leaseLost}},
		"at once":               {nil, []func(*Lease){lose}, leaseHeld, []leaseState{leaseLost}},
		"each once":             {nil, []func(*Lease){end, end, lose, lose, end}, leaseHeld, []leaseState{leaseEnding, leaseLost}},
		"begun when ending":     {[]func(*Lease){end}, []func(*Lease){end, lose}, leaseEnding, []leaseState{leaseLost}},
		"not begun: it is lost": {[]func(*Lease){lose}, []func(*Lease){end, lose}, leaseLost, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var l Lease
			var told []leaseState
			for _, f := range tt.before {
				f(&l)
			}
			if got := l.watch(logged(&told)); got != tt.state || l.now() != tt.state {
				t.Errorf("watch() = %d and now() = %d, want %d", got, l.now(), tt.state)
			}
			for _, f := range tt.after {
				f(&l)
			}
			if !slices.Equal(told, tt.told) {
				t.Errorf("told %v, want %v", told, tt.told)
			}
		})
	}
}

// Ending one of several watches, wherever it is in the list, and ending it
// twice, leaves the others.
func TestLeaseUnwatch(t *testing.T) {
	const n = 4
	for gone := range n {
		var l Lease
		var told [n][]leaseState
		var watches [n]*leaseWatch
		for i := range n {
			watches[i] = logged(&told[i])
			l.watch(watches[i])
		}
		l.End()
		if got := l.unwatch(watches[gone]); got != leaseEnding {
			t.Errorf("unwatch() = %d, want %d", got, leaseEnding)
		}
		l.unwatch(watches[gone])
		l.Lose()
		for i := range n {
			want := []leaseState{leaseEnding, leaseLost}
			if i == gone {
				want = want[:1]
			}
			if !slices.Equal(told[i], want) {
				t.Errorf("without watch %d: watch %d was told %v, want %v", gone, i, told[i], want)
			}
		}
		if got := l.unwatch(watches[(gone+1)%n]); got != leaseLost {
			t.Errorf("unwatch() = %d, want %d", got, leaseLost)
		}
	}
}

// A watch can be used again, for another lease too.
func TestLeaseWatchAgain(t *testing.T) {
	var a, b Lease
	var told []leaseState
	w := logged(&told)
	for _, l := range []*Lease{&a, &b, &a} {
		l.watch(w)
		l.unwatch(w)
	}
	a.Lose()
	if len(told) != 0 {
		t.Errorf("told %v after unwatch", told)
	}
	b.watch(w)
	b.End()
	if !slices.Equal(told, []leaseState{leaseEnding}) {
		t.Errorf("told %v, want that it is ending", told)
	}
}

func TestLeaseWatchNil(t *testing.T) {
	var l *Lease
	var w leaseWatch
	if l.watch(&w) != leaseHeld || l.unwatch(&w) != leaseHeld || l.now() != leaseHeld {
		t.Error("a nil lease is not held")
	}
}

// When unwatch has returned, changed does not run: what it uses can be used
// for something else. Either watch or changed tells of a loss, never neither.
func TestLeaseWatchConcurrent(t *testing.T) {
	for range 100 {
		var l Lease
		var wg sync.WaitGroup
		var missed atomic.Int32
		for range 4 {
			wg.Go(func() {
				var seen leaseState // not atomic: -race sees a changed after unwatch
				w := &leaseWatch{changed: func(s leaseState) { seen = s }}
				for {
					seen = leaseHeld
					if l.watch(w) == leaseLost {
						return
					}
					if l.unwatch(w) == leaseLost {
						if seen != leaseLost {
							missed.Add(1)
						}
						return
					}
				}
			})
		}
		wg.Go(l.End)
		wg.Go(l.Lose)
		wg.Wait()
		if n := missed.Load(); n > 0 {
			t.Fatalf("%d watches were not told of the loss", n)
		}
	}
}

func TestLeaseWatchAllocatesNothing(t *testing.T) {
	var l Lease
	w := &leaseWatch{changed: func(leaseState) {}}
	if n := testing.AllocsPerRun(100, func() { l.watch(w); l.unwatch(w) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
