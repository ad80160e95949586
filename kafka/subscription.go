package kafka

import (
	"errors"
)

// What the members of a group tell each other, in the format that all clients
// share (org.apache.kafka.clients.consumer.internals.ConsumerProtocol).

// strategy is the name of the way in which partitions are shared out: that of
// the Java client's CooperativeStickyAssignor, with which it can share a group.
// Partitions that stay are read on during a rebalance (KIP-429).
const strategy = "cooperative-sticky"

// subscription is what a member tells the leader.
type subscription struct {
	topics     []string
	owned      map[string][]int32
	generation int32 // of what is owned; -1 for unknown
}

// encode writes version 2, the first with the generation.
func (s *subscription) encode() []byte {
	var e encoder
	e.int16(2)
	e.int32(int32(len(s.topics)))
	for _, t := range s.topics {
		e.string(t)
	}
	e.nullBytes()
	e.partitions(s.owned)
	e.int32(s.generation)
	return e
}

// partitions writes partitions by topic.
func (e *encoder) partitions(by map[string][]int32) {
	e.int32(int32(len(by)))
	for topic, partitions := range by {
		e.string(topic)
		e.int32(int32(len(partitions)))
		for _, p := range partitions {
			e.int32(p)
		}
	}
}

// partitions reads partitions by topic.
func (d *decoder) partitions() map[string][]int32 {
	by := map[string][]int32{}
	for range d.count(6) {
		topic := d.string()
		for range d.count(4) {
			by[topic] = append(by[topic], d.int32())
		}
	}
	return by
}

// decodeSubscription reads any version: later ones only add to the end.
func decodeSubscription(b []byte) (s subscription, err error) {
	d := decoder{b: b}
	version := d.int16()
	for range d.count(2) {
		s.topics = append(s.topics, d.string())
	}
	data := d.bytes()
	s.generation = -1
	if version >= 1 {
		s.owned = d.partitions()
	}
	if version >= 2 {
		s.generation = d.int32()
	} else if own := (decoder{b: data}); len(data) >= 4 {
		s.generation = own.int32() // where the Java client of version 1 has it
	}
	if d.bad {
		return s, errors.New("a member's subscription: " + errMalformed.Error())
	}
	return s, nil
}

// encodeAssignment writes what the leader tells a member.
func encodeAssignment(by map[string][]int32) []byte {
	var e encoder
	e.int16(1)
	e.partitions(by)
	e.nullBytes()
	return e
}

// decodeAssignment reads any version.
func decodeAssignment(b []byte) (map[string][]int32, error) {
	if len(b) == 0 {
		return nil, nil
	}
	d := decoder{b: b}
	d.int16()
	by := d.partitions()
	return by, d.err()
}
