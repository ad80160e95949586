package main

import (
	"strings"
	"testing"
)

func TestFindField(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		n    int
		want string // of the last line
	}{
		"first word":      {"ann 1\nbob 2\nann 3\nbob 4", 1, "bob"},
		"csv":             {"id,date,who\n1,2026-01-01,ann\n2,2026-01-01,bob\n3,2026-01-02,\"ann\"\n4,2026-01-02,bob\n5,2026-01-02,\"ann\"", 3, "ann"},
		"tabs":            {"1\tann b\n2\tbob b\n3\tann b\n4\tbob b", 2, "bob b"},
		"api":             {"pkg a, func X(int, int)\npkg b, const Y\npkg a, type Z\npkg b, var V", 2, "b"},
		"log":             {"2026-01-01T10:00:00Z INFO x\n2026-01-01T10:00:00Z WARN y\n2026-01-01T10:00:01Z INFO z\n2026-01-01T10:00:01Z WARN z", 2, "WARN"},
		"address":         {"10.0.0.1 GET\n10.0.0.2 GET\n10.0.0.1 GET\n10.0.0.2 GET", 1, "10.0.0.2"},
		"nothing repeats": {"a 1\nb 2\nc 3\nd 4", 1, "d"},
		"all the same":    {"a\na\na", 1, "a"},
		"one line":        {"a b c", 1, "a"},
		"spaces":          {"  ann\t 1\n  bob\t 2\n ann 3\n\tbob", 1, "bob"},
		"commas in prose": {"ann, bob and, well\nbob says\nann says\nbob says, so", 1, "bob"},
		"not utf-8":       {"\xff\n\xff\nb\nb\n\xff", 1, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := linesOf(test.text)
			f := findField(lines, 0)
			if got := f.of(lines[len(lines)-1].text); f.n != test.n || got != test.want {
				t.Errorf("field %d, %q; want %d, %q", f.n, got, test.n, test.want)
			}
		})
	}
}

func TestFieldThatIsGiven(t *testing.T) {
	f := findField(linesOf("a 1 x\na 2 x\na 1 x"), 2)
	for text, want := range map[string]string{"a 7 x": "7", "a": "", "": "", "a  [8]": "8", "a " + strings.Repeat("y", 100): strings.Repeat("y", longestKey)} {
		if got := f.of([]byte(text)); got != want {
			t.Errorf("field 2 of %q is %q, want %q", text, got, want)
		}
	}
}

func linesOf(text string) (lines []line) {
	for i, s := range strings.Split(text, "\n") {
		lines = append(lines, line{number: i + 1, text: []byte(s)})
	}
	return lines
}
