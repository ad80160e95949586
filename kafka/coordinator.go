package kafka

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
)

// coordinator is the broker that a group is kept by.
type coordinator struct {
	c     *cluster
	group string

	mu    sync.Mutex
	known bool
	id    int32
	addr  string
}

// call sends a request to the coordinator, which may take its time with the
// answer. After an error it is looked for anew.
func (k *coordinator) call(ctx context.Context, m protocol.Message, patience time.Duration) (protocol.Message, error) {
	id, addr, err := k.find(ctx)
	if err != nil {
		return nil, err
	}
	r, err := k.c.callFor(ctx, id, addr, m, patience)
	if err != nil {
		k.forget()
	}
	return r, err
}

// find returns where the coordinator is.
func (k *coordinator) find(ctx context.Context) (id int32, addr string, err error) {
	k.mu.Lock()
	known, id, addr := k.known, k.id, k.addr
	k.mu.Unlock()
	if known {
		return id, addr, nil
	}
	r, err := k.c.any(ctx, &findcoordinator.Request{Key: k.group})
	if err != nil {
		return 0, "", err
	}
	at := r.(*findcoordinator.Response)
	if at.ErrorCode != 0 {
		return 0, "", codeError(at.ErrorCode)
	}
	id, addr = at.NodeID, net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known, k.id, k.addr = true, id, addr
	return id, addr, nil
}

// forget has the coordinator looked for anew.
func (k *coordinator) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = false
}

// heed forgets the coordinator where a code says that it is another one.
func (k *coordinator) heed(code int16) error {
	switch kafkago.Error(code) {
	case kafkago.NotCoordinatorForGroup, kafkago.GroupCoordinatorNotAvailable:
		k.forget()
	}
	return codeError(code)
}

// cursors returns the group's committed offsets of all partitions, those that
// it has.
func (k *coordinator) cursors(ctx context.Context) (map[int32]int64, error) {
	topic := offsetfetch.RequestTopic{Name: k.c.o.topic, PartitionIndexes: k.c.layout().all()}
	r, err := k.call(ctx, &offsetfetch.Request{GroupID: k.group, Topics: []offsetfetch.RequestTopic{topic}}, requestTimeout)
	if err != nil {
		return nil, err
	}
	answer := r.(*offsetfetch.Response)
	if kafkago.Error(answer.ErrorCode) == kafkago.GroupIdNotFound {
		return map[int32]int64{}, nil
	}
	if err := k.heed(answer.ErrorCode); err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := k.heed(p.ErrorCode); err != nil {
				return nil, err
			}
			if p.CommittedOffset >= 0 && t.Name == k.c.o.topic {
				offsets[p.PartitionIndex] = p.CommittedOffset
			}
		}
	}
	return offsets, nil
}

// commit commits offsets as a member of a generation, and returns what the
// broker says of each partition.
func (k *coordinator) commit(ctx context.Context, member string, generation int32, offsets map[int32]int64) (map[int32]int16, error) {
	topic := offsetcommit.RequestTopic{Name: k.c.o.topic}
	for p, offset := range offsets {
		topic.Partitions = append(topic.Partitions, offsetcommit.RequestPartition{PartitionIndex: p, CommittedOffset: offset, CommittedLeaderEpoch: -1})
	}
	r, err := k.call(ctx, &offsetcommit.Request{
		GroupID: k.group, GenerationID: generation, MemberID: member, RetentionTimeMs: -1, Topics: []offsetcommit.RequestTopic{topic},
	}, requestTimeout)
	if err != nil {
		return nil, err
	}
	codes := map[int32]int16{}
	for _, t := range r.(*offsetcommit.Response).Topics {
		for _, p := range t.Partitions {
			codes[p.PartitionIndex] = p.ErrorCode
			_ = k.heed(p.ErrorCode)
		}
	}
	if len(codes) < len(offsets) {
		return codes, fmt.Errorf("commit: the answer has %d of %d partitions: %w", len(codes), len(offsets), errMalformed)
	}
	return codes, nil
}
