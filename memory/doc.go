// Package memory is a broker in this process, with the semantics of real
// ones: leases, attempts, delays, groups, subjects, partitions with owners,
// commits and replay. It is for tests that are to predict production, and for
// programs that need no broker yet. Nothing survives the process.
//
//	backend := new(memory.Backend)
//	backends := messaging.Backends{"mem": backend}
//	pub, err := backends.OpenPublisher(ctx, "mem://orders")
//	sub, err := backends.OpenQueue(ctx, "mem://orders?group=billing")
//
// It waits only on channels and timers, so it runs inside testing/synctest,
// where a lease of 30 s takes no time.
//
// # URLs
//
// mem://NAME names a channel of the [Backend] value; the name is everything up
// to the question mark. Opening creates what is missing, unless create=false.
// The parameters, each with the field of Backend that is its default:
//
//	kind=queue|stream   new channels keep no log, or have no queue (Kind)
//	group=NAME          subscription, or consumer group (Group)
//	subject=PATTERN     what a new queue subscription takes (Subject)
//	order=unordered|key what a new queue subscription promises (Order)
//	lease=30s           how long a subscriber that died holds on (Lease)
//	hold=1h             how long a queue's subscriber may keep a message (Hold)
//	inflight=256        the window; 1024 a partition for a stream (Inflight)
//	dedup=5m            ids stored within are not stored again (Dedup)
//	retain=BYTES        what a log keeps of what was committed (Retain)
//	seed=N              for everything random (Seed)
//	timeout=30s         of a Publish whose context has no deadline (Timeout)
//	retry=none          Publish tries once (NoRetry)
//	create=false        what does not exist is ErrNotFound (NoCreate)
//
// and for streams
//
//	partitions=4        how many a new channel's stream has (Partitions)
//	partition=N         read this one, without group= (Partition)
//	start=WHERE         earliest, latest, an RFC 3339 time, an offset (Start)
//	end=WHERE           now, an RFC 3339 time, an offset, exclusive (End)
//	handover=10s        how long a partition that moves waits (Handover)
//	trimmed=skip        go on behind what retention removed (Trimmed)
//
// The parameters of another role are accepted and do nothing, an unknown one
// is an error. envelope= does nothing: nothing needs one here.
//
// # Channels
//
// A channel is a stream and a queue at once, unless kind= says otherwise: what
// is published goes to the log, and to each queue subscription whose pattern
// matches. The queue without group= is one subscription that is there from the
// channel's creation: whoever opens it first decides its subject= and order=,
// and gets what was published before, too. One with group= gets what is
// published after it was opened first. Both stay when their subscribers close.
// Opening one that exists with another subject= or order= is an error, and
// without takes what it has.
//
// Patterns are those of an AMQP topic exchange: words with dots between them,
// "*" is one word and "#" zero or more, anywhere. As there, an empty subject
// has no words and "a..b" has three, of which the second is empty. Unlike
// there, a wildcard inside a word, as in "ord*er", is an error.
//
// # Delivery
//
// A queue is unordered, on purpose: up to 16 messages that wait change places,
// by the seed. Messages that come again (nacked, released, expired) take turns
// with those that were never delivered, so neither can starve the other. With
// order=key, messages of one key are delivered in the order in which they were
// published, one at a time: the next one comes when the one before is
// acknowledged, whatever happens to it until then. Messages without a key do
// not wait for each other.
//
// Receivers that wait are served in the order in which they came. When several
// wait, each takes an even part of what is there, up to its max.
//
// Each delivery has a lease of its own, which the subscriber keeps until hold=
// has passed since Receive; then Lost fires, its place in the window is free,
// and the message comes again, not before the time of Receive plus lease=.
// What a crashed or frozen subscriber holds comes again lease= after the
// crash. Attempt counts exactly: a Nack, a lost lease and a crash count,
// Release and Close do not. Redelivered is true whenever the message had been
// delivered before.
//
// Bodies and headers are copies, when published and at each delivery, so
// nobody sees what another does to them. IDs, keys, subjects, and header keys
// and values are strings.
//
// # Streams
//
// A stream has partitions "0", "1" and so on. Messages with one key go to one
// of them, by a hash that is the same in every process; those without a key go
// to each in turn. Offsets count from 0 in each partition, without gaps.
//
// With group= a subscriber is a member of a consumer group, whose partitions
// are spread evenly over its members; when members come and go as few as
// possible move. A partition moves in order: Ending fires, nothing more of it
// is delivered, and as soon as nothing of it is unsettled, or handover= has
// passed, Lost fires and the new owner goes on at the committed offset. What a
// closed member had moves at once; what a crashed or frozen one had moves when
// lease= has passed since, and a frozen one that thaws finds its leases lost
// and joins again. Epoch counts the owners of a partition in its group.
//
// start= says where a group begins, for all partitions, when it is opened for
// the first time; later it does nothing. An offset needs partition=, and the
// group then begins at the earliest message of the others. Partitions that are
// added later are read from their beginning, also with start=latest. Groups
// last as long as their channel, and retention waits for them. group= with
// end=, or with partition= and no offset, is an error.
//
// Without group= a subscriber reads alone: everything, or partition=. An end=
// of now, or of a time in the past, is fixed when it is opened; a time in the
// future ends what is published by then, which Receive waits for. The lease is
// lost at Close only. Without partition=, what has no end= or one in the future
// includes partitions that are added later. A partition that was split has an end, so partition=
// comes to io.EOF there without end=, too.
//
// Messages of a partition that came of a split are delivered when what it was
// split from is committed, so that a key keeps its order. That is so for those
// who read alone as well: who commits nothing does not get them.
//
// Attempt is 0: streams do not count. Redelivered is true where the group, or
// the subscriber that reads alone, may have been given that offset before.
//
// A stream's windows count a message with some 20 bytes more than it has: how
// it is written to the log. That is so for retain=, too.
//
// # Limits
//
// A message has at most [Backend].MaxMessage bytes (16 MiB): its body, headers,
// key and subject, and its id if the publisher set one.
//
// Memory is bounded by what is outstanding and by retain=, not otherwise: a
// publisher is never held back. A queue keeps a message until it is settled. A
// log keeps it until every group has committed it, one that nobody is in any
// more included, and then longer, up to retain= bytes (256 MiB) and what is left of
// a segment of 64 KiB, or of four messages, in each partition; before anybody
// has opened a subscriber nothing is removed. Its bytes are not looked into by
// the garbage collector.
// A channel with kind=queue keeps no log, only what its default subscription,
// if nobody has opened it yet, would get: everything before there is any
// subscriber, and then the latest retain= bytes. With dedup= a channel keeps
// each id for that time.
//
// Small messages share memory: of 32 KiB at most while a queue keeps them, which
// is used again when all in it are settled, and of 16 KiB at most when they are
// delivered. One that is kept for long keeps that much from being used again.
//
// # Raw
//
// [messaging.Delivery].Raw points to a [Receipt] for a queue, and to an [Entry]
// for a stream.
//
// # Operator
//
// There is nothing to operate. Tests have hooks: [Backend.Delete],
// [Backend.Pause], [Backend.Crash], [Backend.Freeze], [Backend.StepClock] and,
// for streams, [Backend.Trim], [Backend.AddPartitions] and [Backend.Split]; and
// [Chaos], faults that happen by chance, the same for the same seed, which
// [Backend.SetChaos] switches on and off. The Logger hears the seeds of new
// channels where they are random, rebalances and lost leases.
package memory
