package memory

import (
	crand "crypto/rand"
	"math/rand/v2"
	"strings"
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

// write appends a new id to b, and returns it.
func (s *ids) write(b *strings.Builder) string {
	if s.rng == nil {
		var seed [32]byte
		_, _ = crand.Read(seed[:]) // never fails
		s.rng = rand.NewChaCha8(seed)
	}
	var id [idLength]byte
	var random uint64
	for i := range id {
		if i%12 == 0 { // there are 5 bits in each, and 64 at a time
			random = s.rng.Uint64()
		}
		id[i] = idLetters[random%32]
		random /= 32
	}
	start := b.Len()
	b.Write(id[:])
	return b.String()[start:]
}
