package kafka

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	api "github.com/segmentio/kafka-go/protocol/metadata"
)

// refresh asks for the metadata, unless it was asked for after since. Nothing
// of it is guessed: a broker that knows the topic no longer says so.
func (c *cluster) refresh(ctx context.Context, since time.Time) error {
	select {
	case <-c.refreshing:
		defer func() { c.refreshing <- struct{}{} }()
	case <-ctx.Done():
		return cause(ctx)
	case <-c.done:
		return net.ErrClosed
	}
	if m := c.meta.Load(); m != nil && m.at.After(since) {
		return nil
	}
	at := time.Now()
	r, err := c.any(ctx, &api.Request{TopicNames: []string{c.o.topic}})
	if err != nil {
		return err
	}
	m := layoutOf(r.(*api.Response), c.o.topic)
	m.at = at
	if old := c.meta.Load(); old != nil && m.code != 0 && passing(m.code) {
		m.leaders = noLeaders(len(old.leaders)) // it had them
	}
	c.meta.Store(m)
	return nil
}

// layoutOf turns a response into what is needed of it.
func layoutOf(r *api.Response, topic string) *metadata {
	m := &metadata{brokers: map[int32]string{}, controller: r.ControllerID, code: int16(kafkago.UnknownTopicOrPartition)}
	for _, b := range r.Brokers {
		m.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	for _, t := range r.Topics {
		if t.Name != topic {
			continue
		}
		m.code = t.ErrorCode
		m.leaders = noLeaders(len(t.Partitions))
		for _, p := range t.Partitions {
			if i := int(p.PartitionIndex); i >= 0 && i < len(m.leaders) {
				m.leaders[i] = p.LeaderID
			}
		}
	}
	return m
}

func noLeaders(n int) []int32 {
	leaders := make([]int32, n)
	for i := range leaders {
		leaders[i] = -1
	}
	return leaders
}

// leader returns the broker that leads a partition, below 0 where none is
// known.
func (m *metadata) leader(partition int32) int32 {
	if partition < 0 || int(partition) >= len(m.leaders) {
		return -1
	}
	id := m.leaders[partition]
	if _, ok := m.brokers[id]; !ok {
		return -1
	}
	return id
}

// isMissing says whether a topic's error is that it does not exist.
func isMissing(code int16) bool { return kafkago.Error(code) == kafkago.UnknownTopicOrPartition }

// create creates the topic and waits until it can be used.
func (c *cluster) create(ctx context.Context) error {
	topic := createtopics.RequestTopic{
		Name: c.o.topic, NumPartitions: orDefault(c.o.partitions), ReplicationFactor: int16(orDefault(c.o.replication)),
	}
	for try := 1; ; try++ {
		m := c.layout()
		r, err := c.call(ctx, m.controller, m.brokers[m.controller], &createtopics.Request{
			Topics: []createtopics.RequestTopic{topic}, TimeoutMs: int32(requestTimeout / time.Millisecond),
		})
		if err != nil {
			return fmt.Errorf("create topic %q: %w", c.o.topic, err)
		}
		for _, t := range r.(*createtopics.Response).Topics {
			switch code := kafkago.Error(t.ErrorCode); {
			case code == 0, code == kafkago.TopicAlreadyExists:
				return c.ready(ctx)
			case !passing(t.ErrorCode):
				return fmt.Errorf("create topic %q: %w: %s", c.o.topic, codeError(t.ErrorCode), t.ErrorMessage)
			}
		}
		if err := c.wait(ctx, backoff(try)); err != nil {
			return err
		}
		if err := c.refresh(ctx, time.Now()); err != nil {
			return err
		}
	}
}

// ready waits until each partition of a topic that was created has a leader.
func (c *cluster) ready(ctx context.Context) error {
	for try := 1; ; try++ {
		if err := c.refresh(ctx, time.Now()); err != nil {
			return err
		}
		m := c.layout()
		led := len(m.leaders) > 0
		for i := range m.leaders {
			led = led && m.leader(int32(i)) >= 0
		}
		if led {
			return nil
		}
		if err := c.wait(ctx, backoff(try)); err != nil {
			return fmt.Errorf("topic %q was created and has no leaders yet: %w", c.o.topic, err)
		}
	}
}

// orDefault is what stands for the broker's own setting (KIP-464).
func orDefault(n int) int32 {
	if n == 0 {
		return -1
	}
	return int32(n)
}

// defaultMaxBatch is the broker's default for max.message.bytes, the largest
// batch that a topic takes.
const defaultMaxBatch = 1048588

// maxBatch asks for the largest batch that the topic takes. It is the default
// where the user may not know.
func (c *cluster) maxBatch(ctx context.Context) int {
	const topicResource = 2
	r, err := c.any(ctx, &describeconfigs.Request{Resources: []describeconfigs.RequestResource{{
		ResourceType: topicResource, ResourceName: c.o.topic, ConfigNames: []string{"max.message.bytes"},
	}}})
	if err != nil {
		return defaultMaxBatch
	}
	for _, res := range r.(*describeconfigs.Response).Resources {
		for _, entry := range res.ConfigEntries {
			if n, err := strconv.Atoi(entry.ConfigValue); err == nil && entry.ConfigName == "max.message.bytes" && n > 0 {
				return n
			}
		}
	}
	return defaultMaxBatch
}

// byLeader shares partitions out to the brokers that lead them.
func byLeader(m *metadata, partitions []int32) (led map[int32][]int32, without []int32) {
	led = map[int32][]int32{}
	for _, p := range partitions {
		if id := m.leader(p); id >= 0 {
			led[id] = append(led[id], p)
		} else {
			without = append(without, p)
		}
	}
	return led, without
}
