package conformance

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/fa5182d2/messaging"
)

// wireScenarios are the runs for wireRules.
func wireScenarios() []*scenario {
	return []*scenario{
		{
			name: "native-reads", flavour: ForBoth, fault: "none", rules: []string{"I01"}, drive: driveNativeReads,
			needs: func(t *Target) string {
				return missing(t.Native == nil || t.Native.Read == nil, "there is no native reader")
			},
		},
		{
			name: "native-writes", flavour: ForBoth, fault: "none", rules: []string{"I02"}, drive: driveNativeWrites,
			needs: func(t *Target) string {
				return missing(t.Native == nil || t.Native.Write == nil, "there is no native writer")
			},
		},
	}
}

// driveNativeReads publishes messages of every kind, which the native client
// reads.
func driveNativeReads(r *run) {
	const messages = 80
	if r.flavour == ForQueue {
		_ = must[*queue](r)(r.queue(open{})).Close() // so that there is a subscription
	}
	p := must[*publisher](r)(r.publisher(open{}))
	rng := r.random(1)
	sent := 0
	for sent < messages {
		numbers := r.messages(p, rng, 4, shape{keys: 5, subjects: []string{"", "order.created"}, ids: true, size: 200, odd: true})
		ctx, cancel := r.bounded()
		err := p.publish(ctx, numbers)
		cancel()
		if err != nil {
			r.fail("publish: %w", err)
		}
		sent += len(numbers)
	}
	ctx, cancel := r.bounded()
	defer cancel()
	var ms []messaging.Message
	err := guarded(func() (err error) { ms, err = r.target.Native.Read(ctx, r.channel, sent); return err })
	if err != nil || len(ms) < sent {
		r.note("%s: missing: %d of %d messages came: %v", nativeRead, len(ms), sent, err)
	}
	for _, m := range ms {
		r.compareRead(m)
	}
}

// compareRead notes what differs between a message and what the native client
// has read.
func (r *run) compareRead(m messaging.Message) {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	n, diff := r.identify(m)
	if n > 0 {
		diff = difference(sorted(r.published[n-1]), sorted(m))
	}
	r.addLocked(Event{Kind: Note, Text: nativeRead, Message: n, Diff: diff})
}

// foreign are messages as others write them.
func foreign() []messaging.Message {
	return []messaging.Message{
		{ID: "an-id", Key: "a-key", Subject: "order.created", Headers: messaging.Headers{{Key: "h", Value: "v"}}, Body: []byte("all there is")},
		{Body: []byte("nothing but a body")},
		{ID: "empty", Body: []byte{}},
		{Key: "only-a-key"},
		{Key: "k", Body: []byte("\x00\xff\xfe not UTF-8")},
		{Key: "\xff\x00k", Body: []byte("a key that is not UTF-8")},
		{Headers: messaging.Headers{{Key: "h", Value: "\xff\x00"}, {Key: "ünï", Value: "ключ"}}, Body: []byte("headers that are not UTF-8")},
		{Headers: messaging.Headers{{Key: "h", Value: "1"}, {Key: "h", Value: "2"}, {Key: "h", Value: "1"}}, Body: []byte("the same header three times")},
		{Headers: messaging.Headers{{Key: "h", Value: ""}}, Body: []byte("an empty header")},
		{ID: "two words", Subject: "a.b.c", Body: slices.Repeat([]byte("long "), 10_000)},
	}
}

// driveNativeWrites has the native client write each of foreign twice, to a
// channel of its own, receives both, gives them back and receives them again.
func driveNativeWrites(r *run) {
	for i, m := range foreign() {
		channel := r.channel + "-" + strconv.Itoa(i)
		o := open{channel: channel}
		if r.flavour == ForStream {
			o.params = params("group", "g")
		}
		s := r.subscriber(o)
		var written []messaging.Message
		for copy := range 2 {
			if m.ID != "" {
				m.ID = fmt.Sprintf("%s %d", foreign()[i].ID, copy)
			}
			ctx, cancel := r.bounded()
			w, err := r.target.Native.Write(ctx, channel, m)
			cancel()
			if err != nil {
				r.fail("the native client's write: %w", err)
			}
			written = append(written, w)
		}
		first := r.receiveForeign(s, written, false)
		r.giveBack(s, first)
		again := r.receiveForeign(s, written, true)
		r.compareIDs(written, first, again)
		if err := done(r.ctx, s, again...); err != nil {
			r.note("settle what a native client wrote: %v", err)
		}
		_ = s.Close()
	}
}

func (r *run) giveBack(s messaging.Subscriber, ds []*messaging.Delivery) {
	ctx, cancel := r.bounded()
	defer cancel()
	var err error
	if q, ok := s.(*queue); ok && r.rng.IntN(2) == 0 {
		err = q.Nack(ctx, 0, ds...)
	} else {
		err = s.Release(ctx, ds...)
	}
	if err != nil {
		r.note("give back what a native client wrote: %v", err)
	}
}

// receiveForeign receives what was written, and notes what differs.
func (r *run) receiveForeign(s messaging.Subscriber, written []messaging.Message, again bool) (got []*messaging.Delivery) {
	ctx, cancel := context.WithTimeout(r.ctx, r.timing.Operation+r.timing.Reconnect)
	defer cancel()
	for len(got) < len(written) {
		ds, err := s.Receive(ctx, len(written)-len(got))
		if err != nil {
			r.note("%s: missing: %d of %d messages came: %v", nativeWrite, len(got), len(written), err)
			return got
		}
		got = append(got, ds...)
	}
	for _, d := range got {
		r.add(Event{Kind: Note, Text: nativeWrite, Redelivered: again, Diff: foreignDifference(written, d.Message)})
	}
	return got
}

// foreignDifference says how a message differs from each of those that were
// written: one has to be the same.
func foreignDifference(written []messaging.Message, m messaging.Message) (diff string) {
	for _, w := range written {
		got := m
		if w.ID == "" { // what it may be is looked at elsewhere
			w.ID, got.ID = "-", "-"
		}
		if diff = difference(sorted(w), sorted(got)); diff == "" {
			return ""
		}
	}
	return diff
}

// compareIDs notes where the ids of messages that were written without are
// not what they may be: none, or for each its own, the same again.
func (r *run) compareIDs(written []messaging.Message, first, again []*messaging.Delivery) {
	ids := func(ds []*messaging.Delivery) (ids []string) {
		for _, d := range ds {
			ids = append(ids, d.ID)
		}
		slices.Sort(ids)
		return ids
	}
	a, b := ids(first), ids(again)
	var diff string
	switch {
	case written[0].ID != "" || len(a) < len(written) || len(b) < len(written):
		return
	case !slices.Equal(a, b):
		diff = fmt.Sprintf("ids %q of messages that have none, and %q when they came again", a, b)
	case a[0] != "" && len(slices.Compact(a)) < len(b):
		diff = fmt.Sprintf("the id %q of two messages that have none: it is made of what is in them", b[0])
	}
	r.add(Event{Kind: Note, Text: nativeWrite, Diff: diff})
}
