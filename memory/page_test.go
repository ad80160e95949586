package memory

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

// The memory of messages is used again while others are read: what a Receive
// has taken stays as it was, although its lease ends before it gets to copy
// it, and somebody else acknowledges it meanwhile.
func TestPageIsNotWrittenToWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&order=key&inflight=1000")
		other := openQueue(t, b, "mem://q?inflight=1000")
		turn := func(body string) {
			t.Helper()
			for range 100 {
				if err := pub.Publish(t.Context(), messaging.Message{Body: bytes.Repeat([]byte(body), 1000)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := other.Ack(t.Context(), receive(t, other, 100)...); err != nil {
				t.Fatal(err)
			}
		}
		turn("before ")
		publish(t, pub, "k", "the message")
		slow := &waiter{q: sub.(*queue), signal: make(chan struct{}, 1)}
		if err := slow.q.take(slow, 1); err != nil {
			t.Fatal(err)
		}
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
		turn("after ") // the message among them
		turn("later ")
		d := slow.fill()[0]
		if string(d.Body) != "the message" || d.ID != "the message" || d.Key != "k" || !lost(d) {
			t.Errorf("received %.30q, key %q, lost %v", d.Body, d.Key, lost(d))
		}
	})
}

// What is delivered is the receiver's own, whatever becomes of the memory that
// it came from.
func TestDeliveryOutlivesItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		kept := map[string]*messaging.Delivery{}
		for i := range 3000 {
			id := fmt.Sprint("id", i)
			body := strings.Repeat(id, 1+i%50*(i%7)*(i%5))
			m := messaging.Message{ID: id, Key: "key" + id, Subject: "subject." + id, Body: []byte(body), Headers: messaging.Headers{{Key: "h" + id, Value: "v" + id}}}
			if err := pub.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			d := receive(t, sub, 1)[0]
			if err := sub.Ack(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			kept[body] = d
		}
		for body, d := range kept {
			id := d.ID
			if string(d.Body) != strings.Repeat(id, len(body)/len(id)) || string(d.Body) != body || d.Key != "key"+id || d.Subject != "subject."+id ||
				len(d.Headers) != 1 || d.Headers[0] != (messaging.Header{Key: "h" + id, Value: "v" + id}) {
				t.Fatalf("%s was changed: %+v", id, d.Message)
			}
			if r := d.Raw.(*Receipt); fmt.Sprint("id", r.Sequence-1) != id {
				t.Errorf("%s has sequence %d", id, r.Sequence)
			}
		}
	})
}

// A page is used again when all that hold something of it have let go: each
// group, and the default subscription before it is opened.
func TestPagesAreUsedAgain(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://q?kind=queue&retain=1000")
	subs := []messaging.QueueSubscriber{openQueue(t, b, "mem://q?group=a&subject=a.%23"), openQueue(t, b, "mem://q?group=b"), openQueue(t, b, "mem://q?group=c&order=key")}
	g := &subs[0].(*queue).s.c.pages
	pages := map[*page]int{}
	for i := range 20_000 {
		if i == 10_000 {
			subs = append(subs, openQueue(t, b, "mem://q"))
			if err := subs[3].Ack(t.Context(), receive(t, subs[3], 1)...); err != nil {
				t.Fatal(err)
			}
		}
		if err := pub.Publish(t.Context(), messaging.Message{Subject: "a.b", Key: "k", Body: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
		for _, sub := range subs {
			d := receive(t, sub, 1)[0]
			if i%3 == 0 {
				if err := sub.Nack(t.Context(), 0, d); err != nil {
					t.Fatal(err)
				}
				d = receive(t, sub, 1)[0]
			}
			if err := sub.Ack(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		pages[g.open]++
	}
	// The garbage collector takes some, and the race detector too: 20 MB would
	// be more than 600.
	if len(pages) > 400 {
		t.Errorf("%d pages", len(pages))
	}
	if n := g.reading.Load(); n != 0 {
		t.Errorf("%d are still reading", n)
	}
}

// Groups do not each have a copy.
func TestGroupsShareMemory(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://q?kind=queue")
	one, two := openQueue(t, b, "mem://q?group=1").(*queue).s, openQueue(t, b, "mem://q?group=2").(*queue).s
	publish(t, pub, "", "a")
	if *one.fresh.at(0) != *two.fresh.at(0) {
		t.Error("two copies")
	}
}

// What was lent for the call is given back, also what dedup= has refused.
func TestPublishKeepsNothing(t *testing.T) {
	var p press
	seen := newRecent(time.Hour)
	for _, ids := range [][]string{{"a"}, {"a", "b", "a"}} {
		for _, id := range ids {
			p.add(&messaging.Message{ID: id, Body: []byte("body")})
		}
		if n := len(seen.fresh(p.recs)); n != 1 {
			t.Errorf("%d are new", n)
		}
		p.clear()
	}
	for _, r := range p.own {
		if r.id != "" || r.body != nil {
			t.Errorf("keeps %q", r.body)
		}
	}
}

func TestQueueAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates; run it without -race")
	}
	for _, size := range []int{0, 128, 1024} {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		msgs := []messaging.Message{{Body: make([]byte, size)}}
		n := testing.AllocsPerRun(2000, func() {
			if err := pub.Publish(t.Context(), msgs...); err != nil {
				t.Fatal(err)
			}
			ds, err := sub.Receive(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			if err := sub.Ack(t.Context(), ds...); err != nil {
				t.Fatal(err)
			}
		})
		if n > 1 {
			t.Errorf("%v allocations for a message of %d bytes", n, size)
		}
	}
}

// Nothing of a message that is larger than a page is shared.
func TestLargeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		start := time.Now()
		for _, size := range []int{mostPage/4 - 100, mostPage / 4, mostPage, 1 << 20, defaultMaxMessage} {
			body := bytes.Repeat([]byte{'x'}, size)
			if err := pub.Publish(t.Context(), messaging.Message{Body: body}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				d := receive(t, sub, 1)[0]
				if !bytes.Equal(d.Body, body) || !d.Published.Equal(start) {
					t.Errorf("%d bytes came, want %d", len(d.Body), size)
				}
				if err := sub.Nack(t.Context(), 0, d); err != nil {
					t.Fatal(err)
				}
			}
			if err := sub.Ack(t.Context(), receive(t, sub, 1)...); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A Receive of very many is no reason to keep memory for as many.
func TestLargeBatchIsNotPreparedFor(t *testing.T) {
	pub, sub := open(t, new(Backend), "mem://q?kind=queue&inflight=10000")
	if err := pub.Publish(t.Context(), make([]messaging.Message, 5000)...); err != nil {
		t.Fatal(err)
	}
	w := &waiter{q: sub.(*queue), signal: make(chan struct{}, 1)}
	if err := w.q.take(w, 10_000); err != nil {
		t.Fatal(err)
	}
	if n := len(w.fill()); n != 5000 {
		t.Errorf("received %d", n)
	}
	w.prepare()
	kept := len(w.parcels) + cap(w.taken)
	for _, p := range w.stock {
		kept += len(p)
	}
	if kept > 2*mostPrepared {
		t.Errorf("keeps memory for %d deliveries", kept)
	}
}

// TestPagesOfACall: what one subscription is done with, while the call that
// published it has yet to be given to another, is not written over.
func TestPagesOfACall(t *testing.T) {
	b := new(Backend)
	// The default subscription, which nobody opens, keeps only the last KiB.
	pub, sub := open(t, b, "mem://q?kind=queue&group=g&retain=1024&inflight=1000")
	body := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%03d", i), 300) }
	for call := range 2 {
		msgs := make([]messaging.Message, 500)
		for i := range msgs {
			n := call*len(msgs) + i
			msgs[i] = messaging.Message{ID: strconv.Itoa(n), Body: body(n)}
		}
		if err := pub.Publish(t.Context(), msgs...); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, d := range receive(t, sub, 1000) {
		if i, err := strconv.Atoi(d.ID); err != nil || seen[d.ID] || !bytes.Equal(d.Body, body(i)) {
			t.Fatalf("%q, seen before: %v, is %.30q", d.ID, seen[d.ID], d.Body)
		}
		seen[d.ID] = true
	}
}
