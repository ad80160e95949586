package conformance

import (
	"cmp"
	"context"
	"slices"

	"github.com/fa5182d2/messaging"
)

// Native is the client that the broker's users have without a backend: what it
// reads and writes shows what a message is on the wire (I01, I02). Each of its
// functions may be nil, where there is no such thing.
type Native struct {
	// Write publishes a message to a channel, each part of it in the field that
	// the broker has for it, as the backend documents. It leaves out what has no
	// such field, and returns what it wrote.
	Write func(ctx context.Context, channel string, m messaging.Message) (written messaging.Message, err error)

	// Read returns n messages that were published to a channel, in any order,
	// each with what is in those fields. It is called once for a channel, before
	// anybody else reads from it, and it may take them out of the default
	// subscription of a queue.
	Read func(ctx context.Context, channel string, n int) ([]messaging.Message, error)
}

// sorted returns m with its headers in an order of their own: not every product
// has one.
func sorted(m messaging.Message) messaging.Message {
	m.Headers = slices.SortedFunc(slices.Values(m.Headers), func(a, b messaging.Header) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	return m
}

const (
	nativeRead  = "native read"
	nativeWrite = "native write"
)

// wireRules are I01 and I02.
func wireRules() []*Rule {
	return []*Rule{
		{
			ID: "I01", Name: "NativeReads", Flavour: ForBoth,
			Sentence: "A message that we publish is readable by the broker's own client: its body, key, subject, headers and id are where the broker has a place for them, or where the documents say.",
			Cells:    map[string]Evidence{"none": {"read": 60}},
			check:    func(v *View, f *Finding) { checkWire(v, f, nativeRead, "read") },
		},
		{
			ID: "I02", Name: "NativeWrites", Flavour: ForBoth,
			Sentence: "A message that the broker's own client published is received with its body, key, subject and headers, and with its id; one without has an id that is the same at each delivery and of no other message, or none.",
			Cells:    map[string]Evidence{"none": {"received": 20, "received again": 20}},
			check:    func(v *View, f *Finding) { checkWire(v, f, nativeWrite, "received") },
		},
	}
}

// checkWire looks at what was compared.
func checkWire(v *View, f *Finding, text, count string) {
	for i := range v.Events {
		e := &v.Events[i]
		if e.Kind != Note || e.Text != text {
			continue
		}
		if e.Redelivered {
			f.count(count+" again", 1)
		} else {
			f.count(count, 1)
		}
		if e.Diff != "" {
			f.violate([]int{i}, "what the broker's own client has to do with it is not the same: %s", e.Diff)
		}
	}
	for _, i := range v.notes(text + ": missing") {
		f.violate([]int{i}, "%s", v.Events[i].Text)
	}
}
