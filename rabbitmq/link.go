package rabbitmq

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// session is something that lasts as long as a connection or a channel: it is
// opened, it ends, and nothing of it survives that. It is not repaired but
// replaced by a new one, so that what belongs to an old one, such as a delivery
// tag, can never be taken for something of the new one.
type session interface {
	comparable
	ended() <-chan struct{} // closed when it is over
	close()                 // ends it in order, in bounded time
}

// link keeps a session open: when it ends, another one is opened, with pauses
// that grow and are jittered. A refusal, an error that repeating does not heal,
// goes to those who wait for a session; then it tries again only when somebody
// asks.
type link[S session] struct {
	rest   time.Duration
	open   func(context.Context) (S, error)
	lost   func(S)     // hears that a session has ended; may be nil
	failed func(error) // hears why none could be opened, refusals included; may be nil

	ctx    context.Context
	cancel context.CancelFunc
	kept   chan struct{} // closed when the keeping goroutine has ended
	asked  chan struct{} // holds one: somebody wants to know whether a refusal still stands

	mu      sync.Mutex
	up      bool
	current S
	refused error         // the latest attempt was refused
	changed chan struct{} // closed, and replaced, when any of these change
}

const (
	firstPause = 50 * time.Millisecond
	mostPause  = 3 * time.Second

	// shortLife is what a session that ends sooner has had: what ends it may
	// well be its opening.
	shortLife = 100 * time.Millisecond

	// An attempt is bounded, in case the answer never comes. The bound grows
	// with each attempt that it ended, in case the network is that slow.
	firstBound = 5 * time.Second
	mostBound  = 30 * time.Second
)

// newLink keeps first, which is open, or opens it where that is nil, and its
// successors. It calls open, lost
// and failed from one goroutine, until stop.
// Before its first attempt to replace one it pauses for up to rest, so that not
// everybody comes back at the same moment.
func newLink[S session](first S, rest time.Duration, open func(context.Context) (S, error), lost func(S), failed func(error)) *link[S] {
	l := &link[S]{rest: rest, open: open, lost: lost, failed: failed, kept: make(chan struct{}), asked: make(chan struct{}, 1), changed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	var none S
	l.up, l.current = first != none, first
	go l.keep(first)
	return l
}

// keep opens sessions until the link is stopped.
func (l *link[S]) keep(s S) {
	defer close(l.kept)
	var none S
	var opened time.Time
	for {
		pause := time.Duration(0)
		if s != none {
			if !l.outlive(s) {
				return
			}
			pause = l.rest
		}
		if time.Since(opened) < shortLife {
			pause = max(pause, firstPause)
		}
		var ok bool
		if s, ok = l.reopen(pause); !ok {
			return
		}
		opened = time.Now()
	}
}

// outlive waits until s has ended and cleans up behind it. It returns false
// when the link was stopped.
func (l *link[S]) outlive(s S) bool {
	select {
	case <-s.ended():
	case <-l.ctx.Done():
		s.close()
		return false
	}
	var none S
	l.set(false, none, nil)
	if l.lost != nil {
		l.lost(s)
	}
	s.close()
	return true
}

// reopen tries until it has a session, or the link is stopped. It begins with a
// pause, of which up to half is taken off at random, as of those that follow.
func (l *link[S]) reopen(pause time.Duration) (s S, ok bool) {
	bound := firstBound
	for {
		if !l.pause(pause/2 + rand.N(pause/2+1)) {
			return s, false
		}
		ctx, cancel := context.WithTimeout(l.ctx, bound)
		s, err := l.open(ctx)
		expired := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
			if l.ctx.Err() != nil {
				s.close()
				return s, false
			}
			l.set(true, s, nil)
			return s, true
		case l.ctx.Err() != nil:
			return s, false
		}
		if l.failed != nil {
			l.failed(err)
		}
		if expired {
			bound = min(2*bound, mostBound)
		}
		if isRefusal(err) {
			l.set(false, s, err)
			select {
			case <-l.asked:
			case <-l.ctx.Done():
				return s, false
			}
			pause = 0 // somebody waits for the answer
			continue
		}
		pause = max(firstPause, min(2*pause, mostPause))
	}
}

// pause returns false when the link was stopped.
func (l *link[S]) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *link[S]) set(up bool, s S, refused error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.current, l.refused = up, s, refused
	close(l.changed)
	l.changed = make(chan struct{})
}

// get waits for a session that has not ended. A refusal that stands is tried
// once more.
func (l *link[S]) get(b *bound) (s S, err error) {
	asked := false
	for {
		l.mu.Lock()
		current, up, refused, changed := l.current, l.up, l.refused, l.changed
		l.mu.Unlock()
		switch {
		case up:
			select {
			case <-current.ended(): // the keeper is about to notice
			default:
				return current, nil
			}
		case refused != nil && asked:
			return s, refused
		case refused != nil:
			asked = true
			select {
			case l.asked <- struct{}{}:
			default:
			}
		default:
			asked = true // whatever is refused from now on is news
		}
		if err := b.wait(changed, nil); err != nil {
			return s, err
		}
	}
}

// stop closes the session, opens no other, and waits for that.
func (l *link[S]) stop() {
	l.cancel()
	<-l.kept
}
