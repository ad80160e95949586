package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

// topic is one of a test's own on the shared Kafka.
type topic struct {
	t    testing.TB
	base string
	name string
	b    *Backend
	ctx  context.Context
}

func newTopic(t testing.TB, partitions int) *topic {
	t.Helper()
	base := shared.Kafka(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	tt := &topic{t: t, base: base, name: "t-" + strings.ToLower(messaging.NewID()), b: &Backend{Logger: logTo(t)}, ctx: ctx}
	o := must(tt.b.parse(tt.url("create=true&partitions=" + fmt.Sprint(partitions))))
	c := newCluster(o)
	defer c.close()
	if err := c.find(ctx); err != nil {
		t.Fatal(err)
	}
	return tt
}

func (tt *topic) address() string { return strings.TrimPrefix(tt.base, "kafka://") }

func (tt *topic) url(query string) *url.URL {
	u, err := url.Parse(strings.TrimSuffix(tt.base, "/") + "/" + tt.name + "?" + query)
	if err != nil {
		panic(err)
	}
	return u
}

func (tt *topic) publisher(query string) *publisher {
	tt.t.Helper()
	p, err := tt.b.OpenPublisher(tt.ctx, tt.url(query))
	if err != nil {
		tt.t.Fatal(err)
	}
	tt.t.Cleanup(func() { p.Close() })
	return p.(*publisher)
}

func (tt *topic) stream(query string) *stream {
	tt.t.Helper()
	s, err := tt.b.OpenStream(tt.ctx, tt.url(query))
	if err != nil {
		tt.t.Fatal(err)
	}
	tt.t.Cleanup(func() { s.Close() })
	return s.(*stream)
}

func (tt *topic) publish(msgs ...messaging.Message) {
	tt.t.Helper()
	p := tt.publisher("")
	if err := p.Publish(tt.ctx, msgs...); err != nil {
		tt.t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		tt.t.Fatal(err)
	}
}

// receive receives n deliveries.
func (tt *topic) receive(s *stream, n int) (ds []*messaging.Delivery) {
	tt.t.Helper()
	for len(ds) < n {
		more, err := s.Receive(tt.ctx, n-len(ds))
		if err != nil {
			tt.t.Fatalf("after %d of %d: %v", len(ds), n, err)
		}
		ds = append(ds, more...)
	}
	return ds
}

// rest receives to the end of the topic as it is now.
func (tt *topic) rest(query string) (bodies []string) {
	tt.t.Helper()
	s := tt.stream("end=now&inflight=1000000&" + query)
	for d, err := range messaging.Deliveries(tt.ctx, s, 100) {
		if err != nil {
			tt.t.Fatal(err)
		}
		bodies = append(bodies, string(d.Body))
	}
	return bodies
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func bodies(ds []*messaging.Delivery) (s []string) {
	for _, d := range ds {
		s = append(s, string(d.Body))
	}
	return s
}

func numbered(from, n int, key string) (msgs []messaging.Message) {
	for i := range n {
		msgs = append(msgs, messaging.Message{Key: key, Body: fmt.Append(nil, from+i)})
	}
	return msgs
}

// logTo returns a Logger whose lines the test shows when it fails, as long as
// it runs.
func logTo(t testing.TB) *slog.Logger {
	w := &testLog{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over = true
	})
	return slog.New(slog.NewTextHandler(w, nil))
}

type testLog struct {
	mu   sync.Mutex
	t    testing.TB
	over bool
}

func (w *testLog) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.t.Log(string(bytes.TrimRight(b, "\n")))
	}
	return len(b), nil
}

// wantError checks that an error is one, and says something.
func wantError(t testing.TB, err, is error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("%v is not %v", err, is)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%v does not say %q", err, s)
		}
	}
}
