package conformance

import "strings"

// matches says whether a subject matches a pattern of dotted words, in which
// "*" is one word and "#" any number of them. It is the plain definition, and
// not the code of any backend.
func matches(pattern, subject string) bool {
	if pattern == "" || pattern == "#" {
		return true
	}
	words := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ".")
	}
	subjectWords := words(subject)
	// reach[i] says that the pattern so far matches the first i words.
	reach := make([]bool, len(subjectWords)+1)
	reach[0] = true
	for _, p := range words(pattern) {
		next := make([]bool, len(reach))
		for i := range reach {
			switch {
			case p == "#":
				next[i] = reach[i] || i > 0 && next[i-1]
			case i > 0:
				next[i] = reach[i-1] && (p == "*" || p == subjectWords[i-1])
			}
		}
		reach = next
	}
	return reach[len(subjectWords)]
}
