package memory

import (
	"fmt"
	"strings"
)

// pattern selects subjects, as the binding keys of an AMQP topic exchange do.
// Both are words with dots between them. In a pattern "*" stands for exactly
// one word and "#" for zero or more, anywhere. As there, the empty subject has
// no words, and otherwise nothing between two dots is a word, the empty one,
// which "*" matches. The zero value matches the empty subject only.
type pattern struct {
	text  string
	all   bool // "#": nothing needs to be compared
	exact bool // no wildcard: comparing the text is enough
	words []string
}

// parsePattern returns the pattern of text; "" is "#". A word that has a
// wildcard among other characters is an error: it would match nothing that
// its author has in mind.
func parsePattern(text string) (pattern, error) {
	if text == "" {
		text = "#"
	}
	p := pattern{text: text, words: strings.Split(text, "."), all: true, exact: true}
	for _, word := range p.words {
		p.all = p.all && word == "#"
		switch {
		case word == "*" || word == "#":
			p.exact = false
		case strings.ContainsAny(word, "*#"):
			return pattern{}, fmt.Errorf(`subject %q: %q is no wildcard: "*" and "#" stand alone between dots, as in order.*.created or order.#`, text, word)
		}
	}
	return p, nil
}

// match reports whether subject matches. It does not allocate, and takes at
// most time proportional to the product of both lengths.
func (p *pattern) match(subject string) bool {
	switch {
	case p.all:
		return true
	case p.exact:
		return p.text == subject
	}
	return p.matchWords(subject)
}

// matchWords compares word by word. At a mismatch only the latest "#" needs to
// take one word more: what an earlier one could take instead, the later one
// can take as well. So there is no recursion, and no blow-up.
func (p *pattern) matchWords(subject string) bool {
	rest, more := subject, subject != ""
	i, many := 0, -1 // the word to match, and the latest "#"
	var manyRest string
	var manyMore bool
	for {
		if i < len(p.words) && p.words[i] == "#" {
			many, manyRest, manyMore = i, rest, more
			i++
			continue
		}
		if !more && i == len(p.words) {
			return true
		}
		if more && i < len(p.words) {
			if word, after, dot := strings.Cut(rest, "."); p.words[i] == "*" || p.words[i] == word {
				rest, more = after, dot
				i++
				continue
			}
		}
		if many < 0 || !manyMore {
			return false
		}
		_, manyRest, manyMore = strings.Cut(manyRest, ".")
		i, rest, more = many+1, manyRest, manyMore
	}
}
