package kafka

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// What a ListOffsets request asks for instead of a time.
const (
	latestOffset   = -1
	earliestOffset = -2
)

// Isolation levels: whether the end is what is written, or what is decided.
const (
	uncommitted = 0
	committed   = 1
)

// listOffsets asks the leaders for the first offset at or after a time, of each
// partition: below 0 where there is none. It tries until ctx ends.
func (c *cluster) listOffsets(ctx context.Context, times map[int32]int64, isolation int8) (map[int32]int64, error) {
	found := map[int32]int64{}
	for try := 1; ; try++ {
		var missing []int32
		for p := range times {
			if _, ok := found[p]; !ok {
				missing = append(missing, p)
			}
		}
		if len(missing) == 0 {
			return found, nil
		}
		led, without := byLeader(c.layout(), missing)
		err := fmt.Errorf("partitions %v have no leader", without)
		for id, partitions := range led {
			if e := c.listFrom(ctx, id, partitions, times, isolation, found); e != nil {
				err = e
			}
		}
		if len(found) == len(times) {
			return found, nil
		}
		if permanent(err) {
			return nil, err
		}
		if e := c.wait(ctx, backoff(try)); e != nil {
			return nil, fmt.Errorf("%w: %w", e, err)
		}
		if err := c.refresh(ctx, time.Now()); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
}

// listFrom asks one broker for the offsets of partitions that it leads.
func (c *cluster) listFrom(ctx context.Context, id int32, partitions []int32, times map[int32]int64, isolation int8, found map[int32]int64) error {
	slices.Sort(partitions)
	topic := listoffsets.RequestTopic{Topic: c.o.topic}
	for _, p := range partitions {
		topic.Partitions = append(topic.Partitions, listoffsets.RequestPartition{Partition: p, CurrentLeaderEpoch: -1, Timestamp: times[p]})
	}
	r, err := c.call(ctx, id, c.layout().brokers[id], &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: isolation, Topics: []listoffsets.RequestTopic{topic},
	})
	if err != nil {
		return err
	}
	for _, t := range r.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				err = codeError(p.ErrorCode)
				continue
			}
			if _, asked := times[p.Partition]; asked {
				found[p.Partition] = p.Offset
			}
		}
	}
	return err
}

// resolve returns where a start lies in each of some partitions.
func (c *cluster) resolve(ctx context.Context, start position, partitions []int32) (map[int32]int64, error) {
	switch start.kind {
	case atEnd:
		return c.listAll(ctx, partitions, latestOffset, committed)
	case atTime:
		return c.since(ctx, partitions, upMillis(start.at))
	case atOffset:
		return c.fromOffset(ctx, start.offset, partitions)
	}
	return c.listAll(ctx, partitions, earliestOffset, committed)
}

func (c *cluster) listAll(ctx context.Context, partitions []int32, at int64, isolation int8) (map[int32]int64, error) {
	times := make(map[int32]int64, len(partitions))
	for _, p := range partitions {
		times[p] = at
	}
	return c.listOffsets(ctx, times, isolation)
}

// since returns the first offsets of that time or later, and where there is
// none, the ends.
func (c *cluster) since(ctx context.Context, partitions []int32, millis int64) (map[int32]int64, error) {
	// The ends first: what is published in between is after them.
	ends, err := c.listAll(ctx, partitions, latestOffset, committed)
	if err != nil {
		return nil, err
	}
	found, err := c.listAll(ctx, partitions, max(0, millis), committed)
	if err != nil {
		return nil, err
	}
	for p, offset := range found {
		if offset >= 0 {
			ends[p] = offset
		}
	}
	return ends, nil
}

// fromOffset begins the partition of partition= at an offset, which has to be
// there or be the next one, and the others with what they have.
func (c *cluster) fromOffset(ctx context.Context, offset int64, partitions []int32) (map[int32]int64, error) {
	from, err := c.listAll(ctx, partitions, earliestOffset, committed)
	if err != nil {
		return nil, err
	}
	ends, err := c.listAll(ctx, []int32{c.o.only}, latestOffset, uncommitted)
	if err != nil {
		return nil, err
	}
	if end := ends[c.o.only]; offset > end {
		return nil, fmt.Errorf("start=%d lies beyond the end of partition %d, whose next offset is %d", offset, c.o.only, end)
	}
	from[c.o.only] = offset
	return from, nil
}

// all returns the partitions that the topic has.
func (m *metadata) all() []int32 {
	partitions := make([]int32, len(m.leaders))
	for i := range partitions {
		partitions[i] = int32(i)
	}
	return partitions
}
