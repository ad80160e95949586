package memory

// waiter is one call of Receive: its place among those that wait, and the
// memory that it cuts deliveries from. A queue uses it again.
type waiter struct {
	q      *queue
	signal chan struct{} // holds one: look at your state again
	state  waiting       // guarded by the subscription
	links[waiter]

	latest  int       // how many it got last
	taken   []*parcel // by the Receive under way
	parcels []parcel  // to be taken
	stock   [][]parcel
	size    int // of the latest in stock: they grow from small
	cut     cutter
}

type waiting uint8

const (
	away   waiting = iota // not waiting
	inLine                // among the subscription's waiters
	parked                // its queue's window is full, or the queue frozen
	told                  // at least one ready message is its own
)

func (w *waiter) chain() *links[waiter] { return &w.links }

// wake makes the Receive look at its state. A token that is there already
// does the same, and one that comes late, to another Receive, does no harm.
func (w *waiter) wake() {
	if w == nil {
		return
	}
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// nextWaiter tells the Receive that waits longest that something is ready. The
// caller wakes it, after unlocking. One is told at a time and tells the next
// when it has fetched its share: what comes meanwhile it takes along, so a
// burst costs few wake-ups. Whoever arrives later leaves it its message.
func (s *subscription) nextWaiter() *waiter {
	for s.told == nil && s.waiters.first != nil && s.ready() > 0 {
		w := s.waiters.first
		unlink(&s.waiters, w)
		switch {
		case w.q.err != nil:
			w.state = away // it has been told by the queue's end
		case w.q.room() <= 0:
			w.state = parked
			push(&w.q.parked, w)
		default:
			w.state = told
			s.told = w
			return w
		}
	}
	return nil
}

// withdraw takes w out of wherever it waits. What it was told of is for the
// next one.
func (s *subscription) withdraw(w *waiter) {
	switch w.state {
	case inLine:
		unlink(&s.waiters, w)
	case parked:
		unlink(&w.q.parked, w)
	case told:
		s.told = nil
	}
	w.state = away
}

// wait puts w in line.
func (s *subscription) wait(w *waiter) {
	if w.q.room() <= 0 {
		w.state = parked
		push(&w.q.parked, w)
		return
	}
	w.state = inLine
	push(&s.waiters, w)
}

// share is how many messages a Receive takes that asks for max: as many as
// there are and it has room for, but when others wait only its part.
func (s *subscription) share(w *waiter, max int) int {
	ready, room := s.ready(), w.q.room()
	switch {
	case w.state == told:
		room++
	case s.told != nil:
		ready--
	}
	if ready <= 0 || room <= 0 {
		return 0
	}
	fair := (ready + s.waiters.n) / (s.waiters.n + 1)
	return min(max, room, fair)
}
