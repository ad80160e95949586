package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance/brokers"
	"github.com/fa5182d2/messaging/memory"
)

// A broker that has lived before this run, and lives on.

func TestLeftoversOfAnEarlierRun(t *testing.T) {
	mem := &memory.Backend{}
	b := messaging.Backends{"mem": mem}
	synctest.Test(t, func(t *testing.T) {
		sub := must(b.OpenQueue(t.Context(), "mem://x?group=quickstart"))
		stream := must(b.OpenStream(t.Context(), "mem://x?group=quickstart"))
		pub := must(b.OpenPublisher(t.Context(), "mem://x"))
		old := messaging.Message{Headers: messaging.Headers{{Key: runHeader, Value: "old"}, {Key: lineHeader, Value: "1"}}}
		if err := pub.Publish(t.Context(), old, old, old); err != nil {
			t.Fatal(err)
		}
		sub.Close()
		stream.Close()
		pub.Close()
	})
	r := show(t, program{stdin: strings.NewReader("a\nb\n"), backends: b}, "-url", "mem://x")
	r.mustBe(t, 0, "3 more were left by earlier runs", "in all       2 published", "followed     2 of 2", "replayed     2 of 2")
}

// Also when one more failure would make such a message a dead letter.
func TestMessagesOfOthersAreLeftAlone(t *testing.T) {
	for failures := range maxAttempts + 1 {
		b := messaging.Backends{"mem": &memory.Backend{}}
		synctest.Test(t, func(t *testing.T) {
			sub := must(b.OpenQueue(t.Context(), "mem://x?group=quickstart"))
			defer sub.Close()
			pub := must(b.OpenPublisher(t.Context(), "mem://x"))
			defer pub.Close()
			must(0, pub.Publish(t.Context(), messaging.Message{Body: []byte("important")}))
			for range failures {
				must(0, sub.Nack(t.Context(), 0, must(sub.Receive(t.Context(), 1))...))
			}
		})
		r := show(t, program{stdin: strings.NewReader("a\nb\n"), backends: b}, "-url", "mem://x?kind=queue")
		r.mustBe(t, exitFailed, errOthers.Error())
		synctest.Test(t, func(t *testing.T) {
			sub := must(b.OpenQueue(t.Context(), "mem://x?group=quickstart"))
			defer sub.Close()
			patience, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for d, err := range messaging.Deliveries(patience, sub, 10) {
				if err != nil {
					t.Fatalf("after %d failures: %v", failures, err)
				}
				if string(d.Body) == "important" {
					if d.Attempt != failures+1 {
						t.Errorf("attempt %d, want %d: this program's was to be none", d.Attempt, failures+1)
					}
					return
				}
			}
		})
	}
}

// Brokers that do what they should not: the summary must not hide it.

// brokenBackend is memory with another publisher.
type brokenBackend struct {
	*memory.Backend
	wrap func(messaging.Publisher) messaging.Publisher
}

func (b brokenBackend) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	pub, err := b.Backend.OpenPublisher(ctx, u)
	if err != nil {
		return nil, err
	}
	return b.wrap(pub), nil
}

// publisherFunc publishes in its own way.
type publisherFunc struct {
	messaging.Publisher
	publish func(ctx context.Context, to messaging.Publisher, msgs []messaging.Message) error
}

func (p publisherFunc) Publish(ctx context.Context, msgs ...messaging.Message) error {
	return p.publish(ctx, p.Publisher, msgs)
}

func showBroken(t *testing.T, publish func(context.Context, messaging.Publisher, []messaging.Message) error) result {
	t.Helper()
	mem := &memory.Backend{}
	broken := brokenBackend{mem, func(pub messaging.Publisher) messaging.Publisher { return publisherFunc{pub, publish} }}
	p := program{stdin: strings.NewReader("k 1\nk 2\nk 3\nj 4\n"), backends: messaging.Backends{"mem": mem, "broken": broken}}
	return show(t, p, "-url", "broken://x")
}

func TestLostMessageIsMissed(t *testing.T) {
	r := showBroken(t, func(ctx context.Context, to messaging.Publisher, msgs []messaging.Message) error {
		return to.Publish(ctx, msgs[1:]...)
	})
	r.mustBe(t, exitFailed, "nothing has come for 30s: 1 of 4 messages are missing", "in all       4 published = 3 handled + 0 dead letters + 1 left")
}

func TestDisorderIsSeen(t *testing.T) {
	r := showBroken(t, func(ctx context.Context, to messaging.Publisher, msgs []messaging.Message) error {
		msgs[1], msgs[2] = msgs[2], msgs[1]
		return to.Publish(ctx, msgs...)
	})
	r.mustBe(t, exitFailed, "came after a later one of their key", "1 message out of order")
}

func TestPublishThatFails(t *testing.T) {
	r := showBroken(t, func(ctx context.Context, to messaging.Publisher, msgs []messaging.Message) error {
		if err := to.Publish(ctx, msgs[:2]...); err != nil {
			return err
		}
		errs := make([]error, len(msgs))
		errs[2], errs[3] = messaging.ErrUncertain, errors.New("no route to host")
		return &messaging.BatchError{Errs: errs}
	})
	r.mustBe(t, exitFailed, "publish line 3: messaging: outcome uncertain", "4 lines of standard input, not published: 2 failed or uncertain", "in all       2 published")
}

func TestReplayThatDiffersIsSeen(t *testing.T) {
	tr := &tour{runID: "r"}
	read := func(bodies ...string) *reading {
		r := tr.newReading()
		for i, body := range bodies {
			m := messaging.Message{Body: []byte(body), Headers: messaging.Headers{{Key: runHeader, Value: "r"}, {Key: lineHeader, Value: "1"}}}
			r.add(&messaging.Delivery{Message: m, Partition: "0", Offset: messaging.Offset(rune('0' + i))})
		}
		return r
	}
	if !read("a", "b").sameAs(read("a", "b")) {
		t.Error("the same is different")
	}
	for _, other := range [][]string{{"a"}, {"a", "c"}, {"a", "b", "b"}, {}} {
		if read("a", "b").sameAs(read(other...)) {
			t.Errorf("%q is the same as a, b", other)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// playVar makes this test binary be the program, with a broker that the
// variable names.
const playVar = "QUICKSTART_TEST_BROKER"

func play() {
	mem := &memory.Backend{}
	p := program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: func(string) string { return "" }, patience: time.Hour,
		backends: messaging.Backends{"mem": mem},
	}
	if os.Getenv(playVar) == "hangs" {
		p.backends["mem"] = brokenBackend{mem, func(pub messaging.Publisher) messaging.Publisher {
			return publisherFunc{pub, func(context.Context, messaging.Publisher, []messaging.Message) error {
				fmt.Fprintln(os.Stderr, "publishing")
				select {}
			}}
		}}
	}
	os.Exit(p.main(nil))
}

// The whole program on RabbitMQ, which has no streams.
func TestQuickstartOnRabbitMQ(t *testing.T) {
	broker := brokers.RabbitMQ(t) + "?exchange=quickstart-" + messaging.NewID() + "&group=quickstart-" + messaging.NewID()
	var out, problems strings.Builder
	p := program{
		stdin: strings.NewReader(strings.Repeat("a 1\nb 2\nc 3\n", 50)), stdout: &out, stderr: &problems,
		getenv: func(string) string { return "" }, backends: backends(), patience: 20 * time.Second,
	}
	if status := p.run(t.Context(), []string{"-url", broker, "-"}); status != 0 {
		t.Fatalf("status %d\n%s%s", status, out.String(), problems.String())
	}
	for _, want := range []string{"150 published = 149 handled + 1 dead letter + 0 left", "stream: left out"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}
