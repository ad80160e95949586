package conformance

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable returns s, shortened, with everything escaped that is not to be
// seen: a broker's texts may hold what a terminal obeys, and what turns
// around the direction of a page.
func printable(s string) string {
	const longest = 400
	s = clip(s, longest)
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }
