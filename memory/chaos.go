package memory

import (
	"iter"
	"math/rand/v2"
	"sync"
)

// Chaos are faults that a test can switch on. Each is the probability, from 0
// to 1, with which the fault happens to one message or one call. They are what
// real brokers do now and then, and break no promise of the contract: a
// program that fails under them would fail in production.
type Chaos struct {
	// Duplicate stores a message twice in a queue's subscription, so that two
	// consumers may have it at once. It spares order=key, where a broker
	// does not.
	Duplicate float64

	// Reorder holds a message of an unordered queue back, for up to a second,
	// while later ones pass it.
	Reorder float64

	// LostReply applies a call and loses its answer: Publish retries without
	// storing a message twice, or, with retry=none, is uncertain; a settle
	// is uncertain.
	LostReply float64

	// Expire ends the lease of a queue's delivery early, at some moment before
	// its time: it is lost, and comes again.
	Expire float64

	// Move takes a partition from its owner, after a Receive of it, either in
	// order or at once.
	Move float64
}

// fields yields the probabilities by name.
func (c *Chaos) fields() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		_ = yield("Duplicate", c.Duplicate) && yield("Reorder", c.Reorder) && yield("LostReply", c.LostReply) &&
			yield("Expire", c.Expire) && yield("Move", c.Move)
	}
}

// SetChaos replaces the faults that the field Chaos began with, in channels
// that exist, too, and returns how often one happened since the last SetChaos.
// Unlike the field it may be set at any time: a test switches faults on, works
// under them, and switches them off with the zero value to see what is left.
func (b *Backend) SetChaos(c Chaos) (hit int) {
	b.chaos.Store(&c)
	return int(b.chaosHit.Swap(0))
}

// chaos makes the decisions of one channel from its seed.
type chaos struct {
	b   *Backend
	mu  sync.Mutex
	rng *rand.Rand
}

func newChaos(b *Backend, seed uint64) *chaos {
	return &chaos{b: b, rng: rand.New(rand.NewPCG(seed, 'c'))}
}

// now returns the faults that are switched on.
func (c *chaos) now() *Chaos {
	if set := c.b.chaos.Load(); set != nil {
		return set
	}
	return &c.b.Chaos
}

// roll says with probability p that a fault happens.
func (c *chaos) roll(p float64) bool {
	if p <= 0 || c.float() >= p {
		return false
	}
	c.b.chaosHit.Add(1)
	return true
}

// float returns a number in [0, 1).
func (c *chaos) float() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Float64()
}
