package messaging_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fa5182d2/messaging"
)

func TestHeadersGet(t *testing.T) {
	h := messaging.Headers{{"a", "1"}, {"A", "2"}, {"a", "3"}, {"", "empty"}, {"\xff\x00", "bytes\xfe"}}
	for key, want := range map[string]string{"a": "1", "A": "2", "b": "", "": "empty", "\xff\x00": "bytes\xfe"} {
		if got := h.Get(key); got != want {
			t.Errorf("Get(%q) = %q, want %q", key, got, want)
		}
	}
	if got := messaging.Headers(nil).Get("a"); got != "" {
		t.Errorf("Get of nil Headers = %q", got)
	}
}

func TestHeadersSet(t *testing.T) {
	tests := map[string]struct{ before, after messaging.Headers }{
		"nil":             {nil, messaging.Headers{{"k", "v"}}},
		"appends":         {messaging.Headers{{"a", "1"}}, messaging.Headers{{"a", "1"}, {"k", "v"}}},
		"replaces":        {messaging.Headers{{"k", "0"}, {"a", "1"}}, messaging.Headers{{"k", "v"}, {"a", "1"}}},
		"drops the rest":  {messaging.Headers{{"a", "1"}, {"k", "0"}, {"b", "2"}, {"k", "3"}, {"k", "4"}}, messaging.Headers{{"a", "1"}, {"k", "v"}, {"b", "2"}}},
		"keys are exact":  {messaging.Headers{{"K", "0"}}, messaging.Headers{{"K", "0"}, {"k", "v"}}},
		"others keep two": {messaging.Headers{{"a", "1"}, {"a", "2"}}, messaging.Headers{{"a", "1"}, {"a", "2"}, {"k", "v"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, original := tt.before, slices.Clone(tt.before)
			got.Set("k", "v")
			if !slices.Equal(got, tt.after) {
				t.Errorf("Set gave %q, want %q", got, tt.after)
			}
			if !slices.Equal(tt.before, original) {
				t.Errorf("Set changed the slice that it was given: %q, was %q", tt.before, original)
			}
		})
	}
}

// Two messages that share their headers do not see each other's Set, nor
// appends after it.
func TestHeadersSetIsNotShared(t *testing.T) {
	shared := make(messaging.Headers, 0, 8)
	shared = append(shared, messaging.Header{Key: "k", Value: "0"}, messaging.Header{Key: "k", Value: "1"})

	a, b := shared, shared
	a.Set("k", "a")
	b.Set("k", "b")
	b.Set("n", "b")
	if a.Get("k") != "a" || b.Get("k") != "b" || shared.Get("k") != "0" || a.Get("n") != "" {
		t.Errorf("a = %q, b = %q, shared = %q", a, b, shared)
	}

	c, d := append(a, messaging.Header{Key: "x", Value: "c"}), append(a, messaging.Header{Key: "x", Value: "d"})
	if c.Get("x") != "c" || d.Get("x") != "d" {
		t.Errorf("appends after Set met: %q and %q", c, d)
	}
}

func TestHeadersKeys(t *testing.T) {
	h := messaging.Headers{{"b", "1"}, {"a", "2"}, {"b", "3"}, {"", "4"}, {"B", "5"}, {"a", "6"}}
	if got, want := h.Keys(), []string{"b", "a", "", "B"}; !slices.Equal(got, want) {
		t.Errorf("Keys() = %q, want %q", got, want)
	}
	if got := messaging.Headers(nil).Keys(); len(got) != 0 {
		t.Errorf("Keys of nil Headers = %q", got)
	}
}

func TestHeadersAllocate(t *testing.T) {
	var kept messaging.Headers
	small := messaging.Headers{{"a", "1"}, {"k", "2"}, {"k", "3"}}
	for name, tt := range map[string]struct {
		want float64
		do   func()
	}{
		"literal": {1, func() { kept = messaging.Headers{{"a", "1"}, {"b", "2"}, {"c", "3"}} }},
		"Get":     {0, func() { _ = small.Get("k") }},
		"Set new": {1, func() { kept = small; kept.Set("n", "v") }},
		"Set old": {1, func() { kept = small; kept.Set("k", "v") }},
	} {
		if got := testing.AllocsPerRun(100, tt.do); got != tt.want {
			t.Errorf("%s: %v allocations, want %v", name, got, tt.want)
		}
	}
	_ = kept
}

// Headers are judged by what they mean: a list of pairs of which Set keeps the
// first place.
func FuzzHeaders(f *testing.F) {
	f.Add("a=1 b=2 a=3", "a", "v")
	f.Add("", "", "")
	f.Add("=1 = a=", "", "\xff")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		h := headersOf(text)
		before := slices.Clone(h)
		got := h
		got.Set(key, value)

		if !slices.Equal(h, before) {
			t.Fatalf("Set changed what was shared: %q, was %q", h, before)
		}
		isKey := func(kv messaging.Header) bool { return kv.Key == key }
		if got.Get(key) != value {
			t.Errorf("Get after Set = %q, want %q", got.Get(key), value)
		}
		at := slices.IndexFunc(before, isKey)
		if at < 0 {
			at = len(before)
		}
		if i := slices.IndexFunc(got, isKey); i != at || slices.ContainsFunc(got[i+1:], isKey) {
			t.Errorf("after Set %q is at %d of %q, want once, at %d", key, i, got, at)
		}
		others := func(h messaging.Headers) messaging.Headers { return slices.DeleteFunc(slices.Clone(h), isKey) }
		if !slices.Equal(others(got), others(before)) {
			t.Errorf("Set changed others: %q, was %q", got, before)
		}

		keys := got.Keys()
		for i, k := range keys {
			if slices.Contains(keys[:i], k) {
				t.Errorf("Keys has %q twice: %q", k, keys)
			}
			if !slices.ContainsFunc(got, func(kv messaging.Header) bool { return kv.Key == k }) {
				t.Errorf("Keys has %q, which is not in %q", k, got)
			}
		}
		for _, kv := range got {
			if !slices.Contains(keys, kv.Key) {
				t.Errorf("Keys lacks %q: %q", kv.Key, keys)
			}
		}
	})
}

// headersOf reads "k=v k=v".
func headersOf(text string) messaging.Headers {
	var h messaging.Headers
	for pair := range strings.SplitSeq(text, " ") {
		key, value, _ := strings.Cut(pair, "=")
		h = append(h, messaging.Header{Key: key, Value: value})
	}
	return h
}
