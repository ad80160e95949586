package main

import (
	"context"
	"errors"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/fa5182d2/messaging"
)

// The peers on Kafka.

const benchID = "messaging-id" // the header that ours has

func (k *kafkaBench) franz(topic string, p callersOf) contender {
	return one("franz-go", func(ctx context.Context, w work, m *meter) error {
		c, err := kgo.NewClient(kgo.SeedBrokers(k.address), kgo.DefaultProduceTopic(topic),
			kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(kgo.NoCompression()))
		if err != nil {
			return err
		}
		defer c.Close()
		body, id := w.body(), []byte(messaging.NewID())
		record := func(i int) *kgo.Record {
			return &kgo.Record{Key: []byte(benchKey(i)), Value: body, Headers: []kgo.RecordHeader{{Key: benchID, Value: id}}}
		}
		publish := func(ctx context.Context, first, n int) error {
			if n == 1 {
				return c.ProduceSync(ctx, record(first)).FirstErr()
			}
			records := make([]*kgo.Record, n)
			for i := range records {
				records[i] = record(first + i)
			}
			return c.ProduceSync(ctx, records...).FirstErr()
		}
		return publishAll(ctx, w, m, p, func() error { return publish(ctx, 0, 1) }, publish)
	})
}

func (k *kafkaBench) watermill(topic string, p callersOf) contender {
	return one("watermill", func(ctx context.Context, w work, m *meter) error {
		config := wkafka.DefaultSaramaSyncPublisherConfig()
		config.Producer.RequiredAcks = sarama.WaitForAll
		pub, err := wkafka.NewPublisher(wkafka.PublisherConfig{
			Brokers: []string{k.address}, OverwriteSaramaConfig: config,
			Marshaler: wkafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) {
				return m.Metadata.Get("key"), nil
			}),
		}, watermill.NopLogger{})
		if err != nil {
			return err
		}
		body, id := w.body(), messaging.NewID()
		publish := func(_ context.Context, first, n int) error {
			msgs := make([]*message.Message, n)
			for i := range msgs {
				msgs[i] = message.NewMessage(id, body)
				msgs[i].Metadata.Set("key", benchKey(first+i))
			}
			return pub.Publish(topic, msgs...)
		}
		err = publishAll(ctx, w, m, p, func() error { return publish(ctx, 0, 1) }, publish)
		return errors.Join(err, pub.Close())
	})
}

// writer is kafka-go's Writer as fast as it is for one message at a time.
func (k *kafkaBench) writer(topic string, p callersOf) contender {
	return one("kafka-go Writer", func(ctx context.Context, w work, m *meter) error {
		transport := &kafkago.Transport{}
		defer transport.CloseIdleConnections()
		wr := &kafkago.Writer{
			Addr: kafkago.TCP(k.address), Topic: topic, BatchSize: 1, RequiredAcks: kafkago.RequireAll,
			Balancer: kafkago.Murmur2Balancer{}, Transport: transport,
		}
		body, id := w.body(), []byte(messaging.NewID())
		publish := func(ctx context.Context, first, n int) error {
			return wr.WriteMessages(ctx, kafkago.Message{Key: []byte(benchKey(first)), Value: body, Headers: []kafkago.Header{{Key: benchID, Value: id}}})
		}
		err := publishAll(ctx, w, m, p, func() error { return publish(ctx, 0, 1) }, publish)
		return errors.Join(err, wr.Close())
	})
}

// franzGroup is franz-go's group consumer at its defaults, which commits what
// was polled every five seconds, and here at the end.
func (k *kafkaBench) franzGroup(topic string, filled func() error) contender {
	return one("franz-go", func(ctx context.Context, w work, m *meter) error {
		if err := filled(); err != nil {
			return err
		}
		c, err := kgo.NewClient(kgo.SeedBrokers(k.address), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(messaging.NewID()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			return err
		}
		defer c.Close()
		// Joining is not measured: ours has joined when it is opened.
		fetches := c.PollRecords(ctx, 1)
		m.start()
		n := 0
		for ; ; fetches = c.PollFetches(ctx) {
			if err := fetches.Err(); err != nil {
				return err
			}
			fetches.EachRecord(func(*kgo.Record) { n++ })
			if n >= w.Messages {
				break
			}
		}
		err = c.CommitUncommittedOffsets(ctx)
		m.stop(n)
		return err
	})
}

// reader is kafka-go's Reader in a group, which commits once a second.
func (k *kafkaBench) reader(topic string, filled func() error) contender {
	return one("kafka-go Reader", func(ctx context.Context, w work, m *meter) error {
		if err := filled(); err != nil {
			return err
		}
		r := kafkago.NewReader(kafkago.ReaderConfig{
			Brokers: []string{k.address}, Topic: topic, GroupID: messaging.NewID(), StartOffset: kafkago.FirstOffset,
			MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 500e6, QueueCapacity: 1000, CommitInterval: 1e9,
		})
		first, err := r.FetchMessage(ctx)
		m.start()
		n := 0
		for msg := first; err == nil; msg, err = r.FetchMessage(ctx) {
			if err = r.CommitMessages(ctx, msg); err != nil {
				break
			}
			if n++; n >= w.Messages {
				break
			}
		}
		m.stop(n)
		return errors.Join(err, r.Close())
	})
}
