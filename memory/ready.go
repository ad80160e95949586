package memory

import (
	"math/rand/v2"
	"time"

	"github.com/fa5182d2/messaging"
)

// item is one message in one subscription.
type item struct {
	rec       *record
	lane      *lane // nil: not ordered
	failed    int32 // attempts that ended in nack, expiry or crash
	delivered bool
	twin      bool // there is another item of this message
}

// later is what happens at a time: an item becomes ready, or the lease of a
// delivery ends early.
type later struct {
	item   item
	expire *Receipt
}

// lane is what waits behind the item of its key that is ready, scheduled or
// held: at most one is, so order is kept whatever happens to it.
type lane struct{ behind deque[item] }

// mostIdle is how many lanes wait to be used again.
const mostIdle = 64

// twin is what two items of one message share.
type twin struct {
	copies    int
	failed    int32
	delivered bool
}

// admit puts a new item in its place.
func (s *subscription) admit(m item) {
	chaos := s.c.chaos
	switch {
	case s.order == messaging.Unordered:
		if chaos.roll(chaos.now().Reorder) {
			s.later.add(s.clock()+time.Duration(chaos.float()*float64(time.Second)), later{item: m})
			s.arm()
			return
		}
	case m.rec.key != "":
		if l := s.lanes[m.rec.key]; l != nil {
			l.behind.push(m)
			return
		}
		m.lane = s.newLane()
		s.lanes[m.rec.key] = m.lane
	}
	s.fresh.push(m)
}

func (s *subscription) newLane() *lane {
	last := len(s.idle) - 1
	if last < 0 {
		return new(lane)
	}
	l := s.idle[last]
	s.idle = s.idle[:last]
	return l
}

// ready is how many items can be delivered.
func (s *subscription) ready() int { return s.fresh.len() + s.again.len() }

// next takes the item to deliver next; one must be ready.
func (s *subscription) next() item {
	from := &s.fresh
	if s.again.len() > 0 && (s.turn || s.fresh.len() == 0) {
		from = &s.again
	}
	s.turn = from == &s.fresh
	if s.order == messaging.Unordered {
		from.shuffle(s.rng)
	}
	return from.pop()
}

// back makes an item that was taken ready again.
func (s *subscription) back(m item) { s.again.push(m) }

// fail returns m with one more failed attempt.
func (s *subscription) fail(m item) item {
	m.failed++
	if m.twin {
		s.twins[m.rec.seq].failed++
	}
	return m
}

// finish removes an item that was taken. The next one of its key is ready
// now.
func (s *subscription) finish(m item) {
	if m.twin {
		s.unpair(m.rec.seq)
	}
	l := m.lane
	if l == nil {
		return
	}
	if l.behind.len() == 0 {
		delete(s.lanes, m.rec.key)
		if len(s.idle) < mostIdle {
			s.idle = append(s.idle, l)
		}
		return
	}
	head := l.behind.pop()
	head.lane = l
	s.fresh.push(head)
}

// attempt returns the number of m's attempt that begins now, and whether it
// may have been delivered before.
func (s *subscription) attempt(m *item) (number int, redelivered bool) {
	number, redelivered = int(m.failed)+1, m.delivered
	m.delivered = true
	if m.twin {
		t := s.twins[m.rec.seq]
		number, redelivered = int(t.failed)+1, t.delivered
		t.delivered = true
	}
	return number, redelivered
}

func (s *subscription) pair(seq uint64) {
	if s.twins == nil {
		s.twins = map[uint64]*twin{}
	}
	s.twins[seq] = &twin{copies: 2}
}

func (s *subscription) unpair(seq uint64) {
	if t := s.twins[seq]; t.copies > 1 {
		t.copies--
	} else {
		delete(s.twins, seq)
	}
}

// shuffled is how many items of an unordered queue change places with each
// other. Small, so that none waits for long behind later ones; there at all,
// because a program that only works in order would fail on a real broker.
const shuffled = 16

// pool is items that are ready.
type pool struct {
	deque[item]
	block int // how many at the front are still to be shuffled among themselves
}

// shuffle brings a random one of the current block to the front. A new block
// begins only when the last one is used up: an item is passed by fewer than
// shuffled later ones.
func (p *pool) shuffle(rng *rand.Rand) {
	if p.block == 0 {
		p.block = min(p.len(), shuffled)
	}
	if p.block > 1 {
		first, other := p.at(0), p.at(rng.IntN(p.block))
		*first, *other = *other, *first
	}
	p.block--
}
