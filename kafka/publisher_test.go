package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
)

// configured makes the topic anew with a configuration.
func (tt *topic) configured(entries ...kafkago.ConfigEntry) {
	tt.t.Helper()
	client, end := admin(tt.address())
	defer end()
	tt.name += "-c"
	r, err := client.CreateTopics(tt.ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{
		Topic: tt.name, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: entries,
	}}})
	if err := errors.Join(err, r.Errors[tt.name]); err != nil {
		tt.t.Fatal(err)
	}
}

// Lost replies are repeated with the same bytes: nothing is stored twice, and
// each key keeps its order.
func TestLostRepliesStoreOnce(t *testing.T) {
	tt := newTopic(t, 3)
	f := &faulty{Backend: Backend{}}
	p := must(f.OpenPublisher(tt.ctx, tt.url("")))
	defer p.Close()
	heal := f.lossy.begin()
	const callers, calls = 4, 200
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				if err := p.Publish(tt.ctx, numbered(2*i, 2, fmt.Sprint("key", c))...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if hits := heal(); hits < 5 {
		t.Fatalf("only %d replies were lost", hits)
	}
	next := map[string]int{}
	for _, d := range tt.receive(tt.stream("end=now&inflight=10000"), callers*calls*2) {
		if want := fmt.Sprint(next[d.Key]); string(d.Body) != want {
			t.Fatalf("%s has %s, want %s", d.Key, d.Body, want)
		}
		next[d.Key]++
	}
	if got := len(tt.rest("")); got != callers*calls*2 {
		t.Errorf("%d are stored, want %d", got, callers*calls*2)
	}
}

// What is not sent when its context ends is not stored; what is under way is
// uncertain, and given up; what comes later is stored in order.
func TestEndedContexts(t *testing.T) {
	tt := newTopic(t, 1)
	f := &faulty{Backend: Backend{Logger: logTo(t)}}
	g := new(gate)
	p := must(f.behind(g).OpenPublisher(tt.ctx, tt.url(""))).(*publisher)
	defer p.Close()
	if err := p.Publish(tt.ctx, numbered(0, 1, "")...); err != nil {
		t.Fatal(err)
	}
	open := g.close()
	ended, cancel := context.WithCancel(tt.ctx)
	first := make(chan error)
	go func() { first <- p.Publish(ended, numbered(1, 1, "")...) }()
	lane := (*p.lanes.Load())[0]
	for onWire := false; !onWire; tick(tt.ctx, t) {
		lane.mu.Lock()
		onWire = lane.onWire
		lane.mu.Unlock()
	}
	second, third := make(chan error), make(chan error)
	waiting := func() int {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		if len(lane.waiting) == 0 {
			return 0
		}
		return lane.waiting[0].n
	}
	go func() { second <- p.Publish(ended, numbered(2, 3, "")...) }()
	for waiting() < 3 {
		tick(tt.ctx, t)
	}
	go func() { third <- p.Publish(tt.ctx, numbered(5, 2, "")...) }()
	for waiting() < 5 {
		tick(tt.ctx, t)
	}
	cancel()
	if err := <-first; !errors.Is(err, messaging.ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("under way: %v", err)
	}
	err := <-second
	for i := range 3 {
		if e := messaging.ErrorAt(err, i); errors.Is(e, messaging.ErrUncertain) || !errors.Is(e, context.Canceled) {
			t.Errorf("not sent: %v", e)
		}
	}
	open()
	if err := <-third; err != nil {
		t.Errorf("behind them: %v", err)
	}
	got := tt.rest("")
	if i := slices.Index(got, "1"); i >= 0 { // it may have arrived
		got = slices.Delete(got, i, i+1)
	}
	if !slices.Equal(got, []string{"0", "5", "6"}) {
		t.Errorf("stored: %v", got)
	}
}

// After a batch that was given up the partition goes on under the next epoch:
// the broker refuses the batch when it comes late.
func TestGivenUpBatchIsFenced(t *testing.T) {
	tt := newTopic(t, 1)
	p := tt.publisher("")
	if err := p.Publish(tt.ctx, numbered(0, 1, "")...); err != nil {
		t.Fatal(err)
	}
	l := (*p.lanes.Load())[0]
	l.mu.Lock()
	late := newBatch()
	late.add(&messaging.Message{Body: []byte("late")}, []byte("id"), time.Now())
	if err := late.stamp(l.who, &p.packer); err != nil {
		t.Fatal(err)
	}
	l.renew() // as when it was given up
	l.mu.Unlock()
	if err := p.Publish(tt.ctx, numbered(1, 1, "")...); err != nil {
		t.Fatal(err)
	}
	s := &sender{p: p, broker: p.c.layout().leader(0), sending: []*lane{l}, batches: []*batch{late}}
	defer func() { p.c.drop(s.conn) }()
	if _, err := s.exchange(); err != nil {
		t.Fatal(err)
	}
	if code, ok := s.codeOf(0); !ok || kafkago.Error(code) != kafkago.InvalidProducerEpoch {
		t.Errorf("the late batch: %v", codeError(code))
	}
	if got := tt.rest(""); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("stored: %v", got)
	}
}

func TestTooLarge(t *testing.T) {
	tt := newTopic(t, 1)
	tt.configured(kafkago.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "20000"})
	p := tt.publisher("")
	msgs := numbered(0, 40, "k")
	for i := range msgs {
		msgs[i].Body = append(msgs[i].Body, bytes.Repeat([]byte{'.'}, 1000)...)
	}
	msgs[17].Body = make([]byte, 30000)
	p.limit.Store(mostBatch) // as if the topic's limit were not known: batches are split
	err := p.Publish(tt.ctx, msgs...)
	for i := range msgs {
		if e := messaging.ErrorAt(err, i); (e != nil) != (i == 17) {
			t.Errorf("message %d: %v", i, e)
		}
	}
	wantError(t, messaging.ErrorAt(err, 17), messaging.ErrTooLarge, "3")
	got := tt.rest("")
	if len(got) != 39 {
		t.Fatalf("%d are stored", len(got))
	}
	for i, body := range got {
		if i >= 17 {
			i++
		}
		if !strings.HasPrefix(body, fmt.Sprint(i, "...")) && !strings.HasPrefix(body, fmt.Sprint(i)+".") {
			t.Fatalf("at %d: %.10s", i, body)
		}
	}
	if got := tt.stream("").Capabilities().MaxMessage; got != 20000 {
		t.Errorf("MaxMessage %d", got)
	}
	if err := p.Publish(tt.ctx, messaging.Message{Body: make([]byte, mostMessage)}); !errors.Is(err, messaging.ErrTooLarge) {
		t.Errorf("what no broker reads: %v", err)
	}
}

func TestCompression(t *testing.T) {
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		tt := newTopic(t, 1)
		p := tt.publisher("compression=" + codec)
		msgs := numbered(0, 300, "k")
		for i := range msgs {
			msgs[i].Body = append(msgs[i].Body, bytes.Repeat([]byte("abc "), 100)...)
		}
		if err := p.Publish(tt.ctx, msgs...); err != nil {
			t.Fatal(codec, err)
		}
		if err := p.Publish(tt.ctx, messaging.Message{Body: []byte("short")}); err != nil {
			t.Fatal(codec, err)
		}
		got := tt.receive(tt.stream(""), 301)
		for i, d := range got[:300] {
			if !bytes.Equal(d.Body, msgs[i].Body) {
				t.Fatalf("%s: %d: %.20s", codec, i, d.Body)
			}
		}
	}
}

func TestDeletedTopic(t *testing.T) {
	tt := newTopic(t, 2)
	p, s := tt.publisher(""), tt.stream("group=g")
	if err := p.Publish(tt.ctx, numbered(0, 1, "k")...); err != nil {
		t.Fatal(err)
	}
	d := tt.receive(s, 1)[0]
	if err := deleteTopic(tt.ctx, tt.address(), tt.name); err != nil {
		t.Fatal(err)
	}
	err := p.Publish(tt.ctx, numbered(1, 1, "k")...)
	wantError(t, err, messaging.ErrNotFound)
	if errors.Is(err, messaging.ErrUncertain) {
		t.Error(err)
	}
	if _, err := s.Receive(tt.ctx, 1); !errors.Is(err, messaging.ErrNotFound) {
		t.Errorf("receive: %v", err)
	}
	if err := s.Commit(tt.ctx, d); !errors.Is(err, messaging.ErrLost) {
		t.Errorf("commit: %v", err)
	}
	for _, open := range []func() error{
		func() error { _, err := tt.b.OpenPublisher(tt.ctx, tt.url("")); return err },
		func() error { _, err := tt.b.OpenStream(tt.ctx, tt.url("group=g")); return err },
	} {
		wantError(t, open(), messaging.ErrNotFound, "create=true")
	}
}

func TestClosePublisher(t *testing.T) {
	tt := newTopic(t, 1)
	g := new(gate)
	p := must((&faulty{}).behind(g).OpenPublisher(tt.ctx, tt.url(""))).(*publisher)
	if err := p.Publish(tt.ctx, numbered(0, 1, "")...); err != nil {
		t.Fatal(err)
	}
	open := g.close()
	under, behind := make(chan error), make(chan error)
	go func() { under <- p.Publish(tt.ctx, numbered(1, 1, "")...) }()
	lane := (*p.lanes.Load())[0]
	for onWire := false; !onWire; tick(tt.ctx, t) {
		lane.mu.Lock()
		onWire = lane.onWire
		lane.mu.Unlock()
	}
	go func() { behind <- p.Publish(tt.ctx, numbered(2, 1, "")...) }()
	for p.calls.Load() < 2 {
	}
	start := time.Now()
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	if err := <-behind; !errors.Is(err, messaging.ErrClosed) || errors.Is(err, messaging.ErrUncertain) {
		t.Errorf("not sent: %v", err)
	}
	if err := <-under; !errors.Is(err, messaging.ErrUncertain) {
		t.Errorf("under way: %v", err)
	}
	open() // the test's gate holds writes, which a real socket's Close ends
	if err := <-closed; err == nil {
		t.Error("close says nothing of what it gave up")
	}
	if took := time.Since(start); took > closeBound+2*time.Second {
		t.Errorf("close took %v", took)
	}
	if err := p.Publish(tt.ctx, numbered(3, 1, "")...); !errors.Is(err, messaging.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
