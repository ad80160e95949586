package memory

import "crypto/rand"

// ids makes the ids that Publish assigns: those of messaging.NewID, of which
// so many at a time cost as much as one. The zero value is ready. Not safe for
// concurrent use.
type ids struct{ made string }

const (
	idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // base 32, of RFC 4648
	idLength  = 26                                 // 130 bits
	idsAtOnce = 16
)

// next returns a new id.
func (s *ids) next() string {
	if s.made == "" {
		var random [idsAtOnce * idLength]byte
		_, _ = rand.Read(random[:]) // never fails
		for i, b := range random {
			random[i] = idLetters[b%byte(len(idLetters))]
		}
		s.made = string(random[:])
	}
	id := s.made[:idLength]
	s.made = s.made[idLength:]
	return id
}
