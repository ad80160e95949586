package conformance

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Reset cuts every connection (F1), and returns how many that were. Both ends
// get a reset.
func (n *Network) Reset() int {
	links := n.some(func(*link) bool { return true })
	for _, l := range links {
		l.cut()
	}
	return len(links)
}

// BlackHole keeps, until heal is called, all that is on its way, also on
// connections that begin meanwhile (F2): nothing is answered, and nothing is
// closed. Then it all arrives. heal returns how many connections there were.
func (n *Network) BlackHole() (heal func() int) {
	return n.blackHole(func() bool { return true }, func() bool { return true })
}

// LoseReplies has, until heal is called, each connection lose the next reply
// (F3): what the client sends is forwarded, what the server says is swallowed,
// and then the connection is cut. heal returns how many that were.
func (n *Network) LoseReplies() (heal func() int) {
	var lost atomic.Int64
	n.loseReplies(func(*link) bool { return true }, func() time.Duration { return 0 }, func() { lost.Add(1) })
	n.eachNew(func(l *link) { n.loseOn(l, func() time.Duration { return 0 }, func() { lost.Add(1) }) })
	return sync.OnceValue(func() int {
		n.eachNew(nil)
		n.keepReplies()
		return int(lost.Load())
	})
}

// Delay has, until heal is called, each piece of what is on its way take from
// nothing to d longer (F4). heal returns how many pieces that were.
func (n *Network) Delay(d time.Duration) (heal func() int) {
	return n.slow(func() time.Duration { return rand.N(d + 1) })
}

// some returns the links for which a function says so.
func (n *Network) some(which func(*link) bool) []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	var some []*link
	for _, l := range n.links {
		if which(l) {
			some = append(some, l)
		}
	}
	return some
}

// eachNew says what becomes of links that begin from now on.
func (n *Network) eachNew(f func(*link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begin = f
}

// blackHole makes a black hole of the links that which chooses. When it is
// healed, those that back chooses go on; the others stay so until somebody
// gives them up.
func (n *Network) blackHole(which, back func() bool) (heal func() int) {
	var holes []*link
	vanish := func(l *link) {
		if which() {
			l.vanish()
			holes = append(holes, l)
		}
	}
	n.mu.Lock()
	for _, l := range n.links {
		vanish(l)
	}
	n.begin = vanish
	n.mu.Unlock()
	return sync.OnceValue(func() int {
		n.eachNew(nil)
		for _, l := range holes {
			if back() {
				l.appear()
			}
		}
		return len(holes)
	})
}

// loseReplies makes the links that which chooses lose a reply, after which
// they are cut with a delay, and then is called before.
func (n *Network) loseReplies(which func(*link) bool, delay func() time.Duration, before func()) {
	for _, l := range n.some(which) {
		n.loseOn(l, delay, before)
	}
}

func (n *Network) loseOn(l *link, delay func() time.Duration, before func()) {
	l.lose(func() {
		d := delay()
		n.pumping.Go(func() { // carry, which calls this, is one: there is no wait yet
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
				before()
			case <-l.gone:
			}
			l.cut()
		})
	})
}

// keepReplies lets the links go on that have lost none yet.
func (n *Network) keepReplies() {
	for _, l := range n.some(func(*link) bool { return true }) {
		l.lose(nil)
	}
}

// slow makes each piece take a time.
func (n *Network) slow(delay func() time.Duration) (heal func() int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.delayed
	n.delay = delay
	return sync.OnceValue(func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.delay = nil
		return n.delayed - before
	})
}

// storm is a fault that goes on until it is healed.
type storm struct {
	network *Network
	rng     *chance
	strike  func(connections int) // is called just before connections are hit
	hits    atomic.Int64
}

// chance is a source of chance that goroutines share.
type chance struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (c *chance) below(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

func (c *chance) coin() bool { return c.below(2) == 0 }

func (c *chance) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.below(int(to-from)))
}

// networkFaults are the faults that a network has.
func networkFaults() []string { return []string{"F1", "F2", "F3", "F4"} }

// fault switches a fault on until heal is called: F1 and F3 hit a part of the
// connections now and then, F2 a part of them, of which a part does not come
// back, and F4 all. The choices are made by rng.
func (n *Network) fault(ctx context.Context, name string, rng *rand.Rand, strike func(connections int)) (heal func() int) {
	s := &storm{network: n, rng: &chance{rng: rng}, strike: strike}
	switch name {
	case "F2":
		strike(n.Connections())
		return n.blackHole(s.rng.coin, s.rng.coin)
	case "F4":
		return n.slow(func() time.Duration { return s.rng.between(0, 40*time.Millisecond) })
	case "F1":
		return s.now(ctx, s.reset)
	}
	calm := s.now(ctx, s.lose)
	return func() int {
		n.keepReplies()
		return calm()
	}
}

// now calls hit now and then until it is healed.
func (s *storm) now(ctx context.Context, hit func()) (heal func() int) {
	ctx, cancel := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() {
		for pause(ctx, s.rng.between(20*time.Millisecond, 500*time.Millisecond)) == nil {
			hit()
		}
	})
	return func() int {
		cancel()
		loop.Wait()
		return int(s.hits.Load())
	}
}

// part returns some of the links, and at least one if there are any.
func (s *storm) part() []*link {
	all := s.network.some(func(*link) bool { return true })
	if len(all) < 2 {
		return all
	}
	keep := s.rng.below(len(all))
	return slices.DeleteFunc(slices.Clone(all), func(l *link) bool { return l != all[keep] && s.rng.coin() })
}

func (s *storm) reset() {
	links := s.part()
	if len(links) == 0 {
		return
	}
	s.hit(len(links))
	for _, l := range links {
		l.cut()
	}
}

func (s *storm) lose() {
	for _, l := range s.part() {
		s.network.loseOn(l, func() time.Duration { return s.rng.between(0, 20*time.Millisecond) }, func() { s.hit(1) })
	}
}

func (s *storm) hit(connections int) {
	s.hits.Add(int64(connections))
	s.strike(connections)
}
