package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestRoundTrip(t *testing.T) {
	tt := newTopic(t, 3)
	sent := messaging.Message{
		ID: "the id", Key: "a key", Subject: "order.eu.created", Body: []byte("body \x00\xff"),
		Headers: messaging.Headers{{Key: "h", Value: "1"}, {Key: "h", Value: "\xff"}, {Key: "", Value: ""}, {Key: subjectHeader, Value: "no subject"}, {Key: idHeader, Value: "no id"}},
	}
	before := time.Now().Add(-time.Second)
	tt.publish(sent)
	d := tt.receive(tt.stream(""), 1)[0]
	if d.ID != sent.ID || d.Key != sent.Key || d.Subject != sent.Subject || !bytes.Equal(d.Body, sent.Body) || !slices.Equal(d.Headers, sent.Headers) {
		t.Errorf("%+v, want %+v", d.Message, sent)
	}
	if d.Published.Before(before) || d.Published.After(time.Now().Add(time.Second)) {
		t.Errorf("published at %v", d.Published)
	}
	if want := fmt.Sprint(partitionOf(sent.Key, 3)); d.Partition != want || d.Offset != "0" || d.Attempt != 0 || d.Redelivered {
		t.Errorf("partition %s offset %s attempt %d redelivered %v", d.Partition, d.Offset, d.Attempt, d.Redelivered)
	}
}

// A tombstone is a nil body, an empty one is not, and no id or subject is
// invented that was not sent.
func TestTombstoneAndEmpty(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(messaging.Message{Key: "k"}, messaging.Message{Key: "k", Body: []byte{}}, messaging.Message{})
	ds := tt.receive(tt.stream(""), 3)
	if ds[0].Body != nil || ds[1].Body == nil || len(ds[1].Body) > 0 {
		t.Errorf("bodies %#v and %#v, want nil and empty", ds[0].Body, ds[1].Body)
	}
	if !ds[2].Raw.(*Record).NullKey || ds[1].Raw.(*Record).NullKey {
		t.Error("no key is not a null key, or a key is")
	}
	if len(ds[0].ID) != len(messaging.NewID()) || ds[0].ID == ds[1].ID || ds[0].Subject != "" || ds[0].Headers != nil {
		t.Errorf("ids %q and %q, subject %q, headers %v", ds[0].ID, ds[1].ID, ds[0].Subject, ds[0].Headers)
	}
}

func TestGroupGoesOnWhereItCommitted(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 120, "")...)
	s := tt.stream("group=g")
	ds := tt.receive(s, 110)
	if err := s.Commit(tt.ctx, ds[99], ds[3]); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(tt.ctx, ds[50]); err != nil {
		t.Errorf("a commit below the committed offset: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(tt.ctx, ds[100]); !errors.Is(err, messaging.ErrClosed) {
		t.Errorf("commit after close: %v", err)
	}
	if err := s.Release(tt.ctx, ds[100]); err != nil {
		t.Errorf("release after close: %v", err)
	}
	again := tt.receive(tt.stream("group=g"), 20)
	if got := string(again[0].Body); got != "100" || !again[0].Redelivered {
		t.Errorf("first again is %s, redelivered %v", got, again[0].Redelivered)
	}
}

func TestReleaseSetsBack(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 20, "")...)
	for _, query := range []string{"", "group=g"} {
		s := tt.stream(query)
		ds := tt.receive(s, 15)
		if err := s.Commit(tt.ctx, ds[4]); err != nil {
			t.Fatal(err)
		}
		if err := s.Release(tt.ctx, ds[9], ds[7], ds[12]); err != nil {
			t.Fatal(err)
		}
		err := s.Commit(tt.ctx, ds[7], ds[6], ds[14])
		if !errors.Is(messaging.ErrorAt(err, 0), messaging.ErrLost) || messaging.ErrorAt(err, 1) != nil || !errors.Is(messaging.ErrorAt(err, 2), messaging.ErrLost) {
			t.Errorf("%q: commit of what was set back: %v", query, err)
		}
		if s.Release(tt.ctx, ds[0]) != nil { // below the committed offset: not further back
			t.Error("a release below the committed offset fails")
		}
		again := tt.receive(s, 13)
		if got := bodies(again); got[0] != "7" || got[12] != "19" || !again[0].Redelivered || again[12].Redelivered {
			t.Errorf("%q: again: %v, redelivered %v and %v", query, got, again[0].Redelivered, again[12].Redelivered)
		}
		if err := s.Commit(tt.ctx, again...); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

func TestWindowHoldsBackOnlyItsPartition(t *testing.T) {
	tt := newTopic(t, 2)
	var keys [2]string
	for i := 0; keys[0] == "" || keys[1] == ""; i++ {
		key := fmt.Sprint("k", i)
		keys[partitionOf(key, 2)] = key
	}
	tt.publish(append(numbered(0, 30, keys[0]), numbered(100, 30, keys[1])...)...)
	s := tt.stream("group=g&inflight=10")
	held := tt.receive(s, 20)
	ctx, cancel := context.WithTimeout(tt.ctx, 300*time.Millisecond)
	defer cancel()
	if ds, err := s.Receive(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("beyond the window: %v, %v", bodies(ds), err)
	}
	var free *messaging.Delivery
	for _, d := range held {
		if d.Partition == "1" {
			free = d
		}
	}
	if err := s.Commit(tt.ctx, free); err != nil {
		t.Fatal(err)
	}
	for _, d := range tt.receive(s, 10) {
		if d.Partition != "1" {
			t.Errorf("%s of partition %s is beyond its window", d.Body, d.Partition)
		}
	}
}

func TestReplay(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 10, "")...)
	middle := tt.receive(tt.stream("start=5&partition=0"), 1)[0]
	if string(middle.Body) != "5" {
		t.Errorf("start=5 begins with %s", middle.Body)
	}
	if got := tt.rest("partition=0"); len(got) != 10 || got[9] != "9" {
		t.Errorf("to end=now: %v", got)
	}
	s := tt.stream("partition=0&start=2&end=4")
	if got := bodies(tt.receive(s, 2)); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("from 2 to 4: %v", got)
	}
	if _, err := s.Receive(tt.ctx, 1); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestTimes(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 5, "")...)
	last := tt.receive(tt.stream(""), 5)[4].Published
	for !time.Now().After(last.Add(5 * time.Millisecond)) {
	}
	tt.publish(numbered(5, 5, "")...)
	at := url5(tt.receive(tt.stream(""), 10)[5].Published)
	if got := bodies(tt.receive(tt.stream("start="+at), 5)); got[0] != "5" {
		t.Errorf("from the time of 5: %v", got)
	}
	s := tt.stream("end=" + at)
	if got := bodies(tt.receive(s, 5)); got[4] != "4" {
		t.Errorf("to the time of 5: %v", got)
	}
	if _, err := s.Receive(tt.ctx, 1); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	// A time to come: what is there by then.
	s = tt.stream("end=" + url5(time.Now().Add(time.Second)))
	if got := tt.receive(s, 10); len(got) != 10 {
		t.Errorf("%d before a time to come", len(got))
	}
	if _, err := s.Receive(tt.ctx, 1); err != io.EOF {
		t.Errorf("when the time has come: %v", err)
	}
}

// url5 is a time as a URL has it.
func url5(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999999999Z") }

// start=latest is fixed by the first open, also for a subscriber that dies
// before it commits.
func TestLatestIsFixedByTheFirstOpen(t *testing.T) {
	tt := newTopic(t, 4)
	tt.publish(numbered(0, 20, "")...)
	s := tt.stream("group=g&start=latest&session=1s")
	for i := range 20 {
		tt.publish(numbered(100+i, 1, fmt.Sprint(i))...)
	}
	if err := crash(s); err != nil {
		t.Fatal(err)
	}
	got := bodies(tt.receive(tt.stream("group=g&start=latest&session=1s"), 20))
	slices.Sort(got)
	if got[0] != "100" || got[19] != "119" {
		t.Errorf("after latest: %v", got)
	}
}

func TestOneReceiver(t *testing.T) {
	tt := newTopic(t, 1)
	s := tt.stream("group=g")
	ctx, cancel := context.WithCancel(tt.ctx)
	first := make(chan error)
	go func() { _, err := s.Receive(ctx, 1); first <- err }()
	for !s.receiving.Load() {
	}
	if _, err := s.Receive(tt.ctx, 1); !errors.Is(err, errReceiving) {
		t.Errorf("a second receiver: %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	if _, err := s.Receive(tt.ctx, 0); err == nil {
		t.Error("max 0 is accepted")
	}
	go func() { _, err := s.Receive(tt.ctx, 1); first <- err }()
	for !s.receiving.Load() {
	}
	s.Close()
	if err := <-first; !errors.Is(err, messaging.ErrClosed) {
		t.Errorf("closed while it waits: %v", err)
	}
}

func TestForeignDeliveries(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(numbered(0, 2, "")...)
	s, other := tt.stream("group=g"), tt.stream("")
	d := tt.receive(s, 1)[0]
	copied := *d
	raw := *d.Raw.(*Record)
	copied.Raw = &raw
	for _, bad := range []*messaging.Delivery{nil, {}, {Raw: 1}, {Raw: (*Record)(nil)}, {Raw: new(Record)}, tt.receive(other, 1)[0], &copied} {
		for _, settle := range []func(context.Context, ...*messaging.Delivery) error{s.Commit, s.Release} {
			if err := settle(tt.ctx, bad); err == nil {
				t.Errorf("%+v is accepted", bad)
			}
		}
		if err := s.Commit(tt.ctx, bad, d); messaging.ErrorAt(err, 0) == nil || messaging.ErrorAt(err, 1) != nil {
			t.Errorf("beside %+v: %v", bad, err)
		}
	}
}
