package kafka

import (
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
)

// What a lane does with the answer to a request, or with its absence.

// action is what a lane needs next.
type action uint8

const (
	goOn   action = iota // its next batch, if there is one
	repeat               // the batch under way goes again, when that has a chance
	locate               // the same, and where its leader is has to be asked for
)

// mostRenewals is how often a batch gets another identity before the broker's
// refusal is believed.
const mostRenewals = 5

// answered takes the broker's answer for the batch under way.
func (l *lane) answered(code int16) action {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onWire = false
	l.last = codeError(code)
	b := l.inFlight
	switch kafkago.Error(code) {
	case 0, kafkago.DuplicateSequenceNumber:
		l.stored()
		return goOn
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge:
		l.p.shrink(len(b.wire))
		if b.n > 1 {
			l.halve()
		} else {
			l.refused(fmt.Errorf("a batch of this message alone has %d bytes: %w", len(b.wire), codeError(int16(kafkago.MessageSizeTooLarge))))
		}
		return goOn
	case kafkago.OutOfOrderSequenceNumber, kafkago.InvalidProducerEpoch, kafkago.UnknownProducerId, kafkago.InvalidProducerIDMapping, kafkago.ProducerFenced:
		return l.estranged(code)
	case kafkago.RequestTimedOut, kafkago.NotEnoughReplicasAfterAppend:
		b.unknown = true // it is in the leader's log
	case kafkago.InvalidMessage: // its checksum: on the way, perhaps
		if b.tries > 3 {
			l.refused(codeError(code))
			return goOn
		}
	case kafkago.UnknownTopicOrPartition:
		if !l.p.o.retry {
			break
		}
		return locate // the metadata say whether that is so
	default:
		if !passing(code) {
			l.giveUp(codeError(code))
			return goOn
		}
	}
	if !l.p.o.retry {
		l.giveUp(fmt.Errorf("%w (%w)", codeError(code), errOnce))
		return goOn
	}
	switch kafkago.Error(code) {
	case kafkago.RequestTimedOut, kafkago.NotEnoughReplicasAfterAppend, kafkago.NotEnoughReplicas, kafkago.InvalidMessage:
		return repeat
	}
	return locate
}

// estranged takes the broker's answer that it knows the producer otherwise. With
// one batch under way at a time that cannot be a duplicate: the broker has lost
// earlier batches, or knows of a later epoch. The batch is not stored, and goes
// under another identity. mu is held.
func (l *lane) estranged(code int16) action {
	b := l.inFlight
	l.p.c.o.log.Warn("kafka: the broker knows the producer otherwise; it goes on under another epoch", "partition", l.partition, "error", codeError(code))
	if b.renewals++; b.renewals > mostRenewals {
		l.refused(codeError(code))
		return goOn
	}
	l.renew()
	b.stamped, b.unknown = false, false
	return repeat
}

// lost takes it that there was no answer; sent says whether the request may
// have arrived.
func (l *lane) lost(err error, sent bool) action {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onWire = false
	l.last = err
	l.inFlight.unknown = l.inFlight.unknown || sent
	if !l.p.o.retry || permanent(err) {
		l.giveUp(err)
		return goOn
	}
	return locate
}

// giveUp ends the batch under way: refused, or uncertain where an earlier
// attempt had no answer. mu is held.
func (l *lane) giveUp(err error) {
	if l.inFlight.unknown {
		l.abandon(err)
	} else {
		l.refused(err)
	}
}

// fail ends all batches of the lane.
func (l *lane) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head() != nil {
		l.giveUp(err)
	}
}

// resume does what a lane needs next.
func (p *publisher) resume(l *lane, a action) {
	if a == goOn {
		l.mu.Lock()
		l.queued = l.inFlight != nil || len(l.waiting) > 0
		more := l.queued
		l.mu.Unlock()
		if more {
			p.schedule(l)
		}
		return
	}
	if a == locate {
		p.mender.stale.Store(true)
	}
	p.mender.add(l)
}

var errGone = fmt.Errorf("the topic, or the partition, is no more: %w", messaging.ErrNotFound)
