package messaging

import "slices"

// Header is one key and value of a message's metadata. Both hold any bytes.
type Header struct{ Key, Value string }

// Headers are a message's metadata. They keep their order and their
// duplicates. Keys are compared exactly. *Headers has the methods of
// OpenTelemetry's TextMapCarrier. Not safe for concurrent use with Set.
type Headers []Header

// Get returns the value of the first header with that key, "" if there is
// none.
func (h Headers) Get(key string) string {
	for i := range h {
		if h[i].Key == key {
			return h[i].Value
		}
	}
	return ""
}

// Set gives the first header with that key the value and drops the others
// with it; without one it appends. It always makes a new slice, so that
// messages that share their headers do not see it.
func (h *Headers) Set(key, value string) {
	set := make(Headers, 0, len(*h)+1)
	found := false
	for _, kv := range *h {
		switch {
		case kv.Key != key:
			set = append(set, kv)
		case !found:
			found = true
			set = append(set, Header{key, value})
		}
	}
	if !found {
		set = append(set, Header{key, value})
	}
	*h = slices.Clip(set) // or appends to two copies of it would meet
}

// Keys returns the keys in their order, each once.
func (h Headers) Keys() []string {
	keys := make([]string, 0, len(h))
	seen := make(map[string]bool, len(h))
	for i := range h {
		if key := h[i].Key; !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}
