package memory

import (
	crand "crypto/rand"
	"math/rand/v2"
)

// ids makes the ids that Publish assigns: letters like those of
// messaging.NewID, from a generator that crypto/rand seeds. Asking crypto/rand
// for each would be a quarter of what Publish costs. The zero value is ready.
// Not safe for concurrent use.
type ids struct{ rng *rand.ChaCha8 }

const (
	idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // base 32 of RFC 4648
	idLength  = 26                                 // 130 bits
)

// make makes a new id.
func (s *ids) make(id *[idLength]byte) {
	if s.rng == nil {
		var seed [32]byte
		_, _ = crand.Read(seed[:]) // never fails
		s.rng = rand.NewChaCha8(seed)
	}
	// 5 bits a letter: 12 letters of each of two numbers, and 2 of a third.
	x, y, z := s.rng.Uint64(), s.rng.Uint64(), s.rng.Uint64()
	for i := range 12 {
		id[i], id[12+i] = idLetters[x%32], idLetters[y%32]
		x, y = x/32, y/32
	}
	id[24], id[25] = idLetters[z%32], idLetters[z/32%32]
}
