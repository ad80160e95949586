package memory

import "math/rand/v2"

// shuffled is how many entries of an unordered queue change places with each
// other. Small, so that none waits for long behind later ones; there at all,
// because a program that only works in order would fail on a real broker.
const shuffled = 16

// pool is entries that are ready.
type pool struct {
	deque[entry]
	block int // how many at the front are still to be shuffled among themselves
}

// shuffle brings a random one of the current block to the front. A new block
// begins only when the last one is used up: an entry is passed by fewer than
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
