package slab

import "testing"

// What is cut is zero, has no room to grow into its neighbour, and shares an
// allocation unless it is a large part of one.
func TestCut(t *testing.T) {
	const most = 64
	var s Of[int]
	for n := range 2 * most {
		for range 3 {
			before := s.Left()
			got := s.Cut(n, most)
			if len(got) != n || cap(got) != n {
				t.Fatalf("cut %d: %d of %d", n, len(got), cap(got))
			}
			if own := n > before && n > most/4; own && s.Left() != before {
				t.Fatalf("cut %d: %d left of %d, want one of its own", n, s.Left(), before)
			}
			for i := range got {
				if got[i] != 0 {
					t.Fatalf("cut %d: not zero", n)
				}
				got[i] = 1
			}
		}
	}
}
