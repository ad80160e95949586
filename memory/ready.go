package memory

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
)

// item is one message in one subscription.
type item struct {
	page      *page
	pos       uint16
	delivered bool
	twin      bool   // there is another item of this message
	failed    uint32 // attempts that ended in nack, expiry or crash
}

// written returns the message.
func (m *item) written() written { return writtenIn(m.page.data[m.pos:]) }

// later is what happens at a time: an item becomes ready, or the lease of a
// delivery ends early.
type later struct {
	item   item
	expire *Receipt
}

// lane is what waits behind the item of its key that is ready, scheduled or
// held: at most one is, so order is kept whatever happens to it.
type lane struct {
	key    string
	behind deque[item]
	busy   bool // there is an item before those
	listed bool // among the subscription's idle ones, where it may be busy again
}

// mostIdle is how many lanes are kept for keys that have no message now.
const mostIdle = 256

// twin is what two items of one message share.
type twin struct {
	copies    int
	failed    uint32
	delivered bool
}

// admit puts a new item of r in its place.
func (s *subscription) admit(m item, r *record) {
	s.c.pages.hold(m.page)
	switch chaos := s.c.chaos; {
	case s.order == messaging.Unordered:
		if chaos.roll(chaos.now().Reorder) {
			s.later.add(s.clock()+time.Duration(chaos.float()*float64(time.Second)), later{item: m})
			s.arm()
			return
		}
	case r.key != "":
		l := s.lanes[r.key]
		if l == nil {
			l = &lane{key: strings.Clone(r.key)}
			s.lanes[l.key] = l
		}
		if l.busy {
			l.behind.push(m)
			return
		}
		l.busy = true
	}
	s.fresh.push(m)
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
		s.twins[m.written().seq()].failed++
	}
	return m
}

// finish removes an item that was taken. The next one of its key is ready
// now.
func (s *subscription) finish(m item) {
	if m.twin {
		s.unpair(m.written().seq())
	}
	if s.lanes != nil {
		s.follow(m.written().key())
	}
	s.c.pages.drop(m.page)
}

// follow makes the next one of a key ready.
func (s *subscription) follow(key []byte) {
	l := s.lanes[string(key)]
	switch {
	case l == nil: // no key
	case l.behind.len() > 0:
		s.fresh.push(l.behind.pop())
	default:
		l.busy = false
		s.rest(l)
	}
}

// rest keeps a lane without messages for a while: its key may well come again.
func (s *subscription) rest(l *lane) {
	if !l.listed {
		l.listed = true
		s.idle.push(l)
	}
	for s.idle.len() > mostIdle {
		old := s.idle.pop()
		old.listed = false
		if !old.busy {
			delete(s.lanes, old.key)
		}
	}
}

// attempt returns the number of m's attempt that begins now, and whether it
// may have been delivered before.
func (s *subscription) attempt(m *item) (number int, redelivered bool) {
	number, redelivered = int(m.failed)+1, m.delivered
	m.delivered = true
	if m.twin {
		t := s.twins[m.written().seq()]
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
