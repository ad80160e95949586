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

// chaos makes the decisions of one channel from its seed.
type chaos struct {
	Chaos
	mu  sync.Mutex
	rng *rand.Rand
}

func newChaos(c Chaos, seed uint64) *chaos {
	return &chaos{Chaos: c, rng: rand.New(rand.NewPCG(seed, 'c'))}
}

// roll says yes with probability p.
func (c *chaos) roll(p float64) bool {
	return p > 0 && c.float() < p
}

// float returns a number in [0, 1).
func (c *chaos) float() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Float64()
}
