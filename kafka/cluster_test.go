package kafka

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance/brokers"
)

// Three servers, of which each is killed once, while it is published and
// consumed: leaders move, and with them the group's coordinator. Nothing is
// lost, nothing of what was retried is stored twice, and keys keep their order.
func TestLeadersMove(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers: leave out -short")
	}
	broker := brokers.OwnKafka(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var seeds []string
	for _, n := range broker.Nodes {
		seeds = append(seeds, n.Address)
	}
	b := &Backend{Logger: logTo(t), Seeds: seeds}
	at := func(query string) *url.URL {
		return must(url.Parse("kafka://" + seeds[0] + "/moves?" + query))
	}
	p := must(b.OpenPublisher(ctx, at("create=true&partitions=6&timeout=2m")))
	defer p.Close()
	s := must(b.OpenStream(ctx, at("group=g&session=3s")))
	defer s.Close()

	stop := make(chan struct{})
	var sent [4]int
	var publishers sync.WaitGroup
	for c := range sent {
		publishers.Go(func() {
			for more := true; more; {
				select {
				case <-stop:
					more = false
				default:
				}
				if err := p.Publish(ctx, numbered(sent[c], 3, fmt.Sprint("key", c))...); err != nil {
					t.Error(err)
					return
				}
				sent[c] += 3
			}
		})
	}
	seen := map[string]bool{}
	total := make(chan int, 1)
	done := make(chan struct{})
	consuming, finish := context.WithCancel(ctx)
	go func() {
		defer close(done)
		want := -1
		for want < 0 || len(seen) < want {
			ds, err := s.Receive(consuming, 100)
			select {
			case want = <-total:
			default:
			}
			if errors.Is(err, context.Canceled) {
				consuming = ctx
				continue
			}
			if err != nil {
				t.Errorf("with %d of %d: %v", len(seen), want, err)
				return
			}
			for _, d := range ds {
				seen[d.Key+"/"+string(d.Body)] = true
			}
			if err := s.Commit(ctx, ds...); err != nil && !errors.Is(err, messaging.ErrLost) {
				t.Errorf("commit: %v", err)
			}
		}
	}()
	for i, n := range broker.Nodes {
		if err := n.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("server %d was killed and is back", i)
		inSync(ctx, t, b, at("")) // or the next would take the only copy with it
	}
	close(stop)
	publishers.Wait()
	all := 0
	for _, n := range sent {
		all += n
	}
	total <- all
	finish()
	<-done
	stored := map[string]int{}
	replay := must(b.OpenStream(ctx, at("end=now&inflight=1000000")))
	defer replay.Close()
	for d, err := range messaging.Deliveries(ctx, replay, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(stored[d.Key]); string(d.Body) != want {
			t.Fatalf("%s: %s is stored where %s belongs", d.Key, d.Body, want)
		}
		stored[d.Key]++
	}
	for c, n := range sent {
		if got := stored[fmt.Sprint("key", c)]; got != n {
			t.Errorf("key%d: %d are stored, %d were acknowledged", c, got, n)
		}
	}
	t.Logf("%d messages", all)
	notEnoughReplicas(ctx, t, b, broker, at)
}

// inSync waits until every partition has all of its replicas in sync.
func inSync(ctx context.Context, t *testing.T, b *Backend, u *url.URL) {
	client, end := admin(b.Seeds[0])
	defer end()
	client.Addr = kafkago.TCP(b.Seeds...)
	for ; ; pause(ctx, t, 250*time.Millisecond) {
		m, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{strings.TrimPrefix(u.Path, "/")}})
		if err != nil || len(m.Topics) == 0 {
			continue
		}
		all := len(m.Topics[0].Partitions) > 0
		for _, p := range m.Topics[0].Partitions {
			all = all && len(p.Isr) == len(p.Replicas)
		}
		if all {
			return
		}
	}
}

// notEnoughReplicas publishes to a topic that wants three in sync when there
// are two.
func notEnoughReplicas(ctx context.Context, t *testing.T, b *Backend, broker *brokers.Broker, at func(string) *url.URL) {
	client, end := admin(b.Seeds[0])
	defer end()
	r, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{
		Topic: "three", NumPartitions: 1, ReplicationFactor: 3,
		ConfigEntries: []kafkago.ConfigEntry{{ConfigName: "min.insync.replicas", ConfigValue: "3"}},
	}}})
	if err := errors.Join(err, r.Errors["three"]); err != nil {
		t.Fatal(err)
	}
	u := at("timeout=6s")
	u.Path = "/three"
	p := must(b.OpenPublisher(ctx, u))
	defer p.Close()
	if err := p.Publish(ctx, numbered(0, 1, "")...); err != nil {
		t.Fatal(err)
	}
	if err := broker.Nodes[2].Kill(ctx); err != nil {
		t.Fatal(err)
	}
	// The first ones may find the third still in sync, and wait for it.
	for try := 0; ; try++ {
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err = p.Publish(bounded, numbered(1, 1, "")...); errors.Is(err, kafkago.NotEnoughReplicas) && !errors.Is(err, messaging.ErrUncertain) || try == 10 {
			break
		}
	}
	wantError(t, err, context.DeadlineExceeded, "min.insync.replicas")
	u.RawQuery = "retry=none"
	once := must(b.OpenPublisher(ctx, u))
	defer once.Close()
	err = once.Publish(ctx, numbered(3, 1, "")...)
	wantError(t, err, nil, "in sync", "retry=none")
	if errors.Is(err, messaging.ErrUncertain) && errors.Is(err, kafkago.NotEnoughReplicas) {
		t.Errorf("it is certain that it is not stored: %v", err)
	}
}
