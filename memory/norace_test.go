//go:build !race

package memory

// raced says whether the race detector is on.
const raced = false
