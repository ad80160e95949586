package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// field is a place in a line, the one that becomes a message's key.
type field struct {
	n         int    // from 1
	separator string // "" is white space
	example   string
}

const (
	mostFields  = 20
	mostText    = 4 << 10 // bytes of a line that are looked at
	longestKey  = 64      // bytes
	longestShow = 20
	punctuation = "\"'`,:;()[]"
)

// times are the beginnings of dates and times, which say when and not what.
var times = regexp.MustCompile(`^\d{1,4}[-/:]\d{1,2}[-/:]\d`)

// findField looks at some lines for their separator and, where n is 0, for
// the first field whose values repeat and are no times: at least two different
// ones, each twice on average. Without such a field it is the first.
func findField(sample []line, n int) field {
	f := field{n: n, separator: findSeparator(sample)}
	for i := 1; f.n == 0 && i <= mostFields; i++ {
		if repeats(sample, field{n: i, separator: f.separator}) {
			f.n = i
		}
	}
	f.n = max(f.n, 1)
	f.example = f.of(sample[len(sample)/2].text) // the first may be a heading
	return f
}

func repeats(sample []line, f field) bool {
	values := map[string]bool{}
	filled := 0
	for i := range sample {
		if v := f.of(sample[i].text); v != "" && !times.MatchString(v) {
			values[v] = true
			filled++
		}
	}
	return len(values) >= 2 && 2*len(values) <= filled && 2*filled > len(sample)
}

// findSeparator returns the separator of a table: one that most lines have
// equally often. Without such a one it is white space.
func findSeparator(sample []line) string {
	for _, s := range []string{"\t", ",", ";"} {
		lines := map[int]int{} // by how often they have it
		for i := range sample {
			text := sample[i].text
			lines[bytes.Count(text[:min(len(text), mostText)], []byte(s))]++
		}
		delete(lines, 0)
		for _, n := range lines {
			if 5*n >= 4*len(sample) {
				return s
			}
		}
	}
	return ""
}

// of returns the field of a line, without the punctuation around it: "" where
// the line has no such field. It is valid UTF-8 and short, as some brokers
// want their keys.
func (f field) of(text []byte) string {
	value := f.cut(text[:min(len(text), mostText)])
	value = bytes.Trim(bytes.TrimSpace(value), punctuation)
	value = value[:min(len(value), longestKey)]
	return strings.ToValidUTF8(string(value), "?")
}

// cut returns the field as it stands in the line.
func (f field) cut(text []byte) []byte {
	for range f.n - 1 {
		if f.separator == "" {
			text = bytes.TrimLeft(text, " \t")
			i := bytes.IndexAny(text, " \t")
			if i < 0 {
				return nil
			}
			text = text[i:]
			continue
		}
		var found bool
		if _, text, found = bytes.Cut(text, []byte(f.separator)); !found {
			return nil
		}
	}
	if f.separator == "" {
		text = bytes.TrimLeft(text, " \t")
		return text[:end(text, " \t")]
	}
	return text[:end(text, f.separator)]
}

// end returns where the first of chars is in text, or its length.
func end(text []byte, chars string) int {
	if i := bytes.IndexAny(text, chars); i >= 0 {
		return i
	}
	return len(text)
}

func (f field) String() string {
	return fmt.Sprintf("field %d of each line, such as %q", f.n, f.example[:min(len(f.example), longestShow)])
}
