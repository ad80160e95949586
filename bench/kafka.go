package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/kafka"
)

// kafkaVariable names the broker that the Kafka cases run on, such as
// kafka://127.0.0.1:9092. Without it there are none.
const kafkaVariable = "MESSAGING_KAFKA_URL"

// kafkaBench is the broker, and what the contenders of a group share.
type kafkaBench struct {
	url     string // of the broker
	address string
}

// kafkaCases put ours beside franz-go, kafka-go and Watermill, on a real
// broker, with acks=all and without compression. The peers' records carry a
// header of the size of our id, so that all write the same bytes.
func kafkaCases() []group {
	u, err := url.Parse(os.Getenv(kafkaVariable))
	if err != nil || u.Host == "" {
		return nil
	}
	k := &kafkaBench{url: "kafka://" + u.Host, address: u.Host}
	var groups []group
	for _, size := range []int{128, 1024} {
		for _, partitions := range []int{1, 4} {
			groups = append(groups, k.publishGroups(size, partitions)...)
			groups = append(groups, k.consumeGroup(size, partitions))
		}
	}
	return groups
}

// callersOf is who publishes: so many callers, so many messages a call, and how
// many messages in all.
type callersOf struct {
	callers, slice, messages int
}

func (k *kafkaBench) publishGroups(size, partitions int) []group {
	at := func(what string) string { return fmt.Sprintf("kafka/publish/%s/%dB/%dp", what, size, partitions) }
	of := func(p callersOf, contenders ...contender) group {
		for i := range contenders {
			contenders[i].messages = p.messages
		}
		return group{work: work{Size: size, Producers: p.callers}, contenders: contenders}
	}
	topic := fmt.Sprintf("bench-%d-%d-", size, partitions) + strings.ToLower(messaging.NewID())
	many, crowd := callersOf{64, 1, 30_000}, callersOf{1000, 1, 100_000}
	batches, single := callersOf{1, 500, 100_000}, callersOf{1, 1, 1000}
	g64 := of(many, k.ours(topic, partitions, many), k.franz(topic, many), k.watermill(topic, many))
	g64.rows = []row{
		{at("64 callers"), "ours", []string{"franz-go"}, rate, target{atLeast: 2}},
		{at("64 callers/watermill"), "ours", []string{"watermill"}, rate, target{atLeast: 2.5}},
	}
	g1000 := of(crowd, k.ours(topic, partitions, crowd), k.franz(topic, crowd))
	g1000.rows = []row{{at("1000 callers"), "ours", []string{"franz-go"}, rate, target{atLeast: 1.5}}}
	g500 := of(batches, k.ours(topic, partitions, batches), k.franz(topic, batches))
	slow := k.watermill(topic, batches)
	g500.contenders = append(g500.contenders, slow)
	g500.contenders[2].messages = 2000
	g500.rows = []row{
		{at("slices of 500"), "ours", []string{"franz-go"}, rate, target{atLeast: 1}},
		{at("slices of 500/watermill"), "ours", []string{"watermill"}, rate, target{atLeast: 20}},
	}
	g1 := of(single, k.ours(topic, partitions, single), k.writer(topic, single))
	g1.rows = []row{{at("one caller"), "ours", []string{"kafka-go Writer"}, cost, target{atMost: 1}}}
	return []group{g64, g1000, g500, g1}
}

// consumeGroup consumes what was published before, with commits.
func (k *kafkaBench) consumeGroup(size, partitions int) group {
	const records = 200_000
	topic := fmt.Sprintf("bench-consume-%d-%d-", size, partitions) + strings.ToLower(messaging.NewID())
	filled := sync.OnceValue(func() error { return k.fill(topic, partitions, size, records) })
	at := fmt.Sprintf("kafka/consume/%dB/%dp", size, partitions)
	g := group{
		work: work{Size: size, Consumers: 1},
		contenders: []contender{
			k.receive(topic, filled), k.consume(topic, filled), k.franzGroup(topic, filled), k.reader(topic, filled),
		},
		rows: []row{
			{at + "/Receive", "ours", []string{"franz-go"}, rate, target{atLeast: 1}},
			{at + "/Consume", "ours Consume", []string{"franz-go"}, rate, target{atLeast: 0.7}},
			{at + "/Receive/CPU", "ours", []string{"franz-go"}, cpu, target{atMost: 1.2}},
			{at + "/Reader", "ours", []string{"kafka-go Reader"}, rate, target{atLeast: 2}},
		},
	}
	for i := range g.contenders {
		g.contenders[i].messages = records
	}
	return g
}

// benchKey is one of a hundred keys of ten bytes.
func benchKey(i int) string { return fmt.Sprintf("key-%06d", i%100) }

// publishAll has the callers publish their parts, each in slices, and measures
// it from the first to the last acknowledgement.
func publishAll(ctx context.Context, w work, m *meter, p callersOf, warm func() error, publish func(ctx context.Context, first, n int) error) error {
	if err := warm(); err != nil {
		return err
	}
	errs := make([]error, p.callers)
	part := max(1, w.Messages/p.callers)
	m.start()
	var wg sync.WaitGroup
	for c := range p.callers {
		wg.Go(func() {
			for i := 0; i < part && errs[c] == nil; i += p.slice {
				errs[c] = publish(ctx, c*part+i, min(p.slice, part-i))
			}
		})
	}
	wg.Wait()
	m.stop(part * p.callers)
	return errors.Join(errs...)
}

func (k *kafkaBench) ours(topic string, partitions int, p callersOf) contender {
	return one("ours", func(ctx context.Context, w work, m *meter) error {
		b := messaging.Backends{"kafka": &kafka.Backend{}}
		pub, err := b.OpenPublisher(ctx, fmt.Sprintf("%s/%s?create=true&partitions=%d", k.url, topic, partitions))
		if err != nil {
			return err
		}
		body := w.body()
		publish := func(ctx context.Context, first, n int) error {
			if n == 1 {
				return pub.Publish(ctx, messaging.Message{Key: benchKey(first), Body: body})
			}
			msgs := make([]messaging.Message, n)
			for i := range msgs {
				msgs[i] = messaging.Message{Key: benchKey(first + i), Body: body}
			}
			return pub.Publish(ctx, msgs...)
		}
		err = publishAll(ctx, w, m, p, func() error { return publish(ctx, 0, 1) }, publish)
		return errors.Join(err, pub.Close())
	})
}

func (k *kafkaBench) fill(topic string, partitions, size, records int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m := meter{}
	c := k.ours(topic, partitions, callersOf{1, 500, records})
	return c.variants[0].run(ctx, work{Messages: records, Size: size}, &m)
}

// subscribe opens a subscriber of a new group on a topic that is filled. Its
// window has room for what arrives while a commit is under way: with the usual
// 1024 its round trips bound the rate.
func (k *kafkaBench) subscribe(ctx context.Context, topic string, filled func() error) (messaging.StreamSubscriber, error) {
	if err := filled(); err != nil {
		return nil, err
	}
	b := messaging.Backends{"kafka": &kafka.Backend{}}
	return b.OpenStream(ctx, k.url+"/"+topic+"?inflight=100000&group="+messaging.NewID())
}

// receive is a loop of Receive and Commit. One Commit is under way at a time,
// and takes the last of each partition of all that came meanwhile.
func (k *kafkaBench) receive(topic string, filled func() error) contender {
	return one("ours", func(ctx context.Context, w work, m *meter) error {
		sub, err := k.subscribe(ctx, topic, filled)
		if err != nil {
			return err
		}
		received := make(chan []*messaging.Delivery, 1024)
		committed := make(chan error, 1)
		go func() { committed <- commitAll(ctx, sub, received) }()
		m.start()
		n := 0
		for n < w.Messages && err == nil {
			var ds []*messaging.Delivery
			if ds, err = sub.Receive(ctx, 1000); err == nil {
				n += len(ds)
				received <- ds
			}
		}
		close(received)
		err = errors.Join(err, <-committed)
		m.stop(n)
		return errors.Join(err, sub.Close())
	})
}

func commitAll(ctx context.Context, sub messaging.StreamSubscriber, received <-chan []*messaging.Delivery) error {
	last := map[string]*messaging.Delivery{}
	note := func(ds []*messaging.Delivery) {
		for _, d := range ds {
			last[d.Partition] = d
		}
	}
	for ds := range received {
		note(ds)
		for range len(received) {
			note(<-received) // nil when it is closed
		}
		if err := sub.Commit(ctx, slices.Collect(maps.Values(last))...); err != nil {
			return err
		}
		clear(last)
	}
	return nil
}

func (k *kafkaBench) consume(topic string, filled func() error) contender {
	return one("ours Consume", func(ctx context.Context, w work, m *meter) error {
		sub, err := k.subscribe(ctx, topic, filled)
		if err != nil {
			return err
		}
		ctx, done := context.WithCancel(ctx)
		defer done()
		n := 0 // one handler at a time
		m.start()
		err = messaging.Consume(ctx, sub, func(context.Context, *messaging.Delivery) error {
			if n++; n == w.Messages {
				done()
			}
			return nil
		}, &messaging.ConsumeOptions{Concurrency: 1})
		m.stop(n)
		return errors.Join(err, sub.Close())
	})
}
