// Package kafka is the stream flavour on Apache Kafka, over kafka-go.
//
//	backends := messaging.Backends{"kafka": &kafka.Backend{}}
//	pub, err := backends.OpenPublisher(ctx, "kafka://host:9092/orders")
//	sub, err := backends.OpenStream(ctx, "kafka://host:9092/orders?group=billing")
//
// Of kafka-go v0.4.51 it uses the messages of the protocol, the errors, SASL
// and the codecs, and what [Backend].Transport says about connections. Its
// Writer, Reader and ConsumerGroup it does not use: the Writer is not
// idempotent, so that a retry duplicates and reorders; the Reader commits for
// partitions that it has lost, delivers what was aborted, and stops at
// compacted tails; the group stops all of its partitions at every rebalance.
//
// # URLs
//
// kafka://HOST:PORT/TOPIC names a topic; several brokers to begin with have
// commas between them. With a user and a password before the host it logs in
// by SASL. The parameters, each with the field of Backend that is its default:
//
//	seed=HOST:PORT,...  further brokers to begin with (Seeds)
//	tls=true            encrypt connections (TLS)
//	sasl=plain          or scram-sha-256, scram-sha-512 (SASL)
//	client=NAME         what the broker logs (Client)
//	timeout=30s         of a Publish whose context has no deadline (Timeout)
//	retry=none          Publish tries once (NoRetry)
//	compression=none    or gzip, snappy, lz4, zstd (Compression)
//	create=true         create a topic that is missing (Create)
//	partitions=N        of a topic that is created (Partitions)
//	replication=N       of a topic that is created (Replication)
//	group=NAME          consumer group; without, the topic is read alone (Group)
//	session=10s         when a dead subscriber's partitions are free (Session)
//	handover=10s        how long a partition that moves waits (Handover)
//	inflight=1024       the window of each partition (Inflight)
//	start=WHERE         earliest, latest, an RFC 3339 time, an offset (Start)
//	end=WHERE           now, an RFC 3339 time, an offset, exclusive (End)
//	partition=N         read this one, without group= (Partition)
//	trimmed=skip        go on where the partition begins (Trimmed)
//
// The parameters of another role are accepted and do nothing, an unknown one
// is an error. envelope= does nothing: nothing needs one here.
//
// # Publishing
//
// The publisher is an idempotent producer (KIP-98) with acks=all. What is
// published while a batch is under way makes up the next: nothing waits for a
// timer. Of each partition one batch is under way at a time, and after a lost
// answer the same bytes go again, so the broker stores them once and in order.
// That holds for the retries of one Publish; a Publish that is called again
// with the same id stores the message again.
//
// A batch that is given up without an answer is [messaging.ErrUncertain], and
// the partition goes on under the next producer epoch, so that the broker
// refuses the batch where it arrives after what came later.
//
// Messages with a key go to the partition that the Java client gives them
// (murmur2), those without to one partition a batch, in turn. Adding
// partitions moves keys.
//
// A batch above the topic's max.message.bytes is cut in two and sent again; a
// message that is above it alone is [messaging.ErrTooLarge]. With compression
// that is so for the compressed message.
//
// A topic that is deleted is [messaging.ErrNotFound] after a second in which no
// broker knew it.
//
// # Delivery
//
// Records are read committed: those of transactions that were aborted, or are
// not decided, are not delivered. Offsets have gaps where Kafka has them:
// markers of transactions, records that were compacted away.
//
// Attempt is 0: streams do not count. Redelivered is true where the offset may
// have been delivered in the group before: by this subscriber, or, in a
// partition that it took over, below the end that the partition had then.
//
// Published is the record's timestamp: the producer's clock, unless the topic
// has message.timestamp.type=LogAppendTime.
//
// A batch whose checksum is wrong is read again, three times; then Receive
// returns an error that names its offset, and goes no further.
//
// # Groups
//
// Members share partitions out as the Java client's CooperativeStickyAssignor
// does, and can share a group with it: what stays is read on during a
// rebalance, and only what moves is let go, in order. A member reports every
// twentieth of its session, at least every second, and hears of a rebalance
// then. Leaving is told at once; a dead member is noticed at the end of its
// session.
//
// A group begins, in all partitions, where its first subscriber's start= says,
// and opening returns when that is committed: with start=latest nothing that
// is published later is missed, also when the subscriber dies before its first
// commit. Partitions that are added are read from their beginning. The leader
// of the group looks for them every three seconds. The broker forgets the
// cursors of a group without members after offsets.retention.minutes (seven
// days): then it begins anew.
//
// Lease.Epoch is the generation in which the partition was assigned. A commit
// carries the member and its generation, and the broker refuses those of a
// superseded owner. When the coordinator cannot be reached for a session, the
// leases are lost without asking.
//
// Retention that overtook a cursor is [messaging.ErrTrimmed], and so is a
// cursor beyond the end: the topic was deleted and made anew, or an unclean
// leader election lost its tail. With trimmed=skip both go on at what is
// there, and the Logger hears it.
//
// # On the wire
//
// Key is the record's key, Body its value, Headers are its headers, in order,
// with duplicates. The id travels as header messaging-id, Subject as
// messaging-subject; the first of each is taken out on receipt. A nil Body is
// a null value, a tombstone, both ways, and an empty one an empty value. A key
// that is "" is sent as null; whether a received one was null or empty is in
// [Record].NullKey. A record without messaging-id gets the id
// TOPIC/PARTITION/OFFSET.
//
// # Limits
//
// MaxMessage is the topic's max.message.bytes, or its default where the user
// may not ask for it; it counts the record with the batch around it (61 bytes)
// and the headers that are added. Brokers are from Kafka 0.11 on; zstd needs
// 2.1. Records of message formats before 0.11, which are still in old logs, are
// an error.
//
// A subscriber reads ahead 32 MiB, and one batch of each partition more at
// most; the window is 8 MiB a partition and 64 MiB in all. Deliveries are
// copies and share allocations of 32 KiB at most.
//
// # Raw
//
// [messaging.Delivery].Raw points to a [Record].
//
// # Operator
//
// Rights, where the cluster has ACLs: WRITE and DESCRIBE on the topic to
// publish, READ on topic and group to subscribe, DESCRIBE_CONFIGS on the topic
// for MaxMessage, CREATE for create=true. acks=all promises as much as the
// topic's min.insync.replicas: with fewer in sync Publish waits, and returns
// the broker's error when its time is over.
//
// The Logger hears rebalances, assigned and lost partitions, connections that
// broke, and what was skipped.
package kafka
