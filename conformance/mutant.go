package conformance

import "slices"

// Mutant is a deliberately broken target, or a broken Consume, that the suite
// has to catch. It is made from exported names alone, so that anybody can
// write one.
type Mutant struct {
	Name    string // short, with dashes: "loses-1-in-500"
	Breaks  string // the rule that is to catch it
	About   string // how it is broken, in a sentence
	Flavour Flavour

	// Target breaks an honest target in place: it wraps its Backend or its
	// hooks. A subscriber that it wraps has a method Unwrap, which returns the
	// inner one, so that hooks find what they know. Nil for a broken Consume.
	Target func(*Target)

	// Consume is the broken Consume. Nil for a broken target.
	Consume ConsumeFunc
}

// Mutants returns all mutants.
func Mutants() []Mutant {
	return slices.Concat(
		publishMutants(),
		queueMutants(),
		streamMutants(),
		consumeMutants(),
		lifecycleMutants(),
		wireMutants(),
	)
}
