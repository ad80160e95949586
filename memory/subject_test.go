package memory

import (
	"slices"
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{"", "a", "a.b", "."}, nil},
		{"#", []string{"", "a", "a.b", "."}, nil},
		{"#.#", []string{"", "a", "a.b"}, nil},
		{"*", []string{"a", "order", "#"}, []string{"", "a.b", "."}},
		{"order", []string{"order"}, []string{"", "orders", "order.", "order.eu", ".order"}},
		{"order.*", []string{"order.eu", "order."}, []string{"order", "order.eu.created", "orders.eu", "order.eu."}},
		{"order.#", []string{"order", "order.eu", "order.eu.created", "order."}, []string{"", "orders", "eu.order"}},
		{"#.created", []string{"created", "order.created", "order.eu.created"}, []string{"", "order.created.x", "created.order"}},
		{"order.#.created", []string{"order.created", "order.eu.created", "order.a.b.created", "order.created.created"}, []string{"order", "created", "order.createdx", "order.eu"}},
		{"*.#", []string{"a", "a.b", "a.b.c", "."}, []string{""}},
		{"#.*", []string{"a", "a.b", "a.b.c"}, []string{""}},
		{"*.#.*", []string{"a.b", "a.b.c", "."}, []string{"", "a"}},
		{"#.a.#.b.#", []string{"a.b", "x.a.x.b.x", "a.a.b", "a.x.a.b"}, []string{"b.a", "a", "x.a"}},
		{"a..b", []string{"a..b"}, []string{"a.b", "a.x.b"}},
		{"a.*.b", []string{"a..b", "a.*.b", "a.#.b"}, []string{"a.b"}},
		{".", []string{"."}, []string{"", "a", ".."}},
		{"ordér.*", []string{"ordér.ü"}, []string{"order.ü"}},
	} {
		p, err := parsePattern(test.pattern)
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		for _, s := range test.yes {
			if !p.match(s) {
				t.Errorf("%q does not match %q", test.pattern, s)
			}
		}
		for _, s := range test.no {
			if p.match(s) {
				t.Errorf("%q matches %q", test.pattern, s)
			}
		}
	}
}

func TestPatternThatIsNone(t *testing.T) {
	for _, text := range []string{"ord*er", "a.#b", "**", "##", "a.*#.b", "*a", "a.b#"} {
		if _, err := parsePattern(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}

// naive matches as the definition reads, without a thought for speed.
func naive(pattern, subject []string) bool {
	switch {
	case len(pattern) == 0:
		return len(subject) == 0
	case pattern[0] == "#":
		for i := range len(subject) + 1 {
			if naive(pattern[1:], subject[i:]) {
				return true
			}
		}
		return false
	case len(subject) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == subject[0]) && naive(pattern[1:], subject[1:])
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

func FuzzPattern(f *testing.F) {
	f.Add("order.#.created", "order.eu.created")
	f.Add("#.a.#.b", "a.b.a.b")
	f.Add("*.#.*", "..")
	f.Add("", "")
	f.Add("a.#b", "a")
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		if strings.Count(pattern, "#") > 4 || len(subject) > 40 {
			return // the oracle would take for ever
		}
		p, err := parsePattern(pattern)
		mixed := slices.ContainsFunc(words(pattern), func(w string) bool { return len(w) > 1 && strings.ContainsAny(w, "*#") })
		if (err != nil) != mixed {
			t.Fatalf("%q: error is %v", pattern, err)
		}
		if err != nil {
			return
		}
		if pattern == "" {
			pattern = "#"
		}
		if got, want := p.match(subject), naive(words(pattern), words(subject)); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, subject, got, want)
		}
	})
}

func TestManyWildcardsDoNotBlowUp(t *testing.T) {
	p, err := parsePattern(strings.Repeat("#.a.", 50) + "b")
	if err != nil {
		t.Fatal(err)
	}
	subject := strings.TrimSuffix(strings.Repeat("a.", 2000), ".")
	if p.match(subject) { // trying all combinations would take for ever
		t.Error("matches")
	}
	if n := testing.AllocsPerRun(10, func() { p.match(subject) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
