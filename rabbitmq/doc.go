// Package rabbitmq is messaging on RabbitMQ: publishers and queues over AMQP
// 0-9-1 (amqp091-go), from 3.10 on.
//
//	backends := messaging.Backends{"amqp": new(rabbitmq.Backend), "amqps": new(rabbitmq.Backend)}
//	pub, err := backends.OpenPublisher(ctx, "amqp://user:password@host/vhost?exchange=events")
//	sub, err := backends.OpenQueue(ctx, "amqp://user:password@host/vhost?exchange=events&group=billing&subject=order.%23&create=true")
//
// # URLs
//
// amqp://USER:PASSWORD@HOST:PORT/VHOST, with guest, guest, 5672 and / where
// they are missing; amqps:// is with TLS, on port 5671. A / in a vhost is
// written %2F. The parameters, each with the field of [Backend] that is its
// default:
//
//	exchange=NAME       where messages go, a topic exchange (Exchange)
//	queue=NAME          the queue of the default subscription (Queue)
//	group=NAME          the queue of a subscription beside it (Group)
//	subject=PATTERN     what the subscriber's queue is bound with (Subject)
//	create=true         declare what is missing (Create)
//	type=quorum|classic the type of the queues (Type)
//	delay=none          Nack gives back at once (NoDelay)
//	inflight=256        the window: the prefetch, at most 65535 (Inflight)
//	max=BYTES           the largest body to send (MaxMessage)
//	timeout=30s         of a Publish whose context has no deadline (Timeout)
//	retry=none          Publish tries once (NoRetry)
//	envelope=none       no header messaging-headers (NoEnvelope)
//	heartbeat=5s        a connection silent for three of these is over (Heartbeat)
//	cacertfile=, certfile=, keyfile=  PEM files, for amqps:// (Config.TLSClientConfig)
//
// A stream's parameters are accepted and do nothing, an unknown one is an
// error.
//
// A publisher publishes to the exchange, with the message's Subject as routing
// key or, without exchange=, to the queue. A subscriber takes from the queue
// that group= names or, without, from that of queue=. Groups are queues, and
// queues belong to the vhost: two exchanges with a group of the same name share
// it.
//
// With create=true opening declares the exchange (topic, durable) and the
// queues that the URL names (durable; a publisher only that of queue=), and
// binds them: what it subscribes to with subject=, and a new queue that has none
// with "#", everything. It adds bindings and never removes one, and a queue that
// is there already keeps what it has where the URL has no subject= for it.
// Without it nothing is declared but delay
// queues, and what is missing is ErrNotFound. What is deleted later is not
// declared again: then Publish, and Receive, are ErrNotFound.
//
// # Publishing
//
// Messages are persistent, mandatory and confirmed, hundreds of them in flight
// at a time; Publish returns when the broker has confirmed its own. What no
// queue is bound for is ErrNotFound, for exactly that message. A message that
// the broker could not store (nack) is repeated, as is all that was in flight
// when a connection was lost, in the order of the call.
//
// The broker ends a channel for one refused message and does not say which. The
// message that it refused is known where it was alone in flight; one message
// goes alone after each pause, and after each refusal. Those that were in flight
// beside it are sent again, and are ErrUncertain where that fails, too.
//
// The order of messages with one key holds as long as the broker stores each
// that it is sent: one that it refuses with a nack is sent again behind those
// that were in flight with it. Queues with overflow=reject-publish do that.
//
// While the broker has an alarm of memory or disk, Publish waits, as long as
// its context allows; no more than some 4 MiB are kept for the network.
//
// # Delivery
//
// Deliveries are unordered: with one subscriber, window 1 and without failures
// they come as they were published. A hold lasts as long as the connection:
// when that ends, its lease is lost, everything unsettled goes to others at
// once, and settling it is ErrLost. Nothing is fetched before the first Receive;
// then the broker sends ahead as much as the window allows, which is not for
// others until it is settled, released or the subscriber closed.
//
// What was sent ahead to a subscriber that dies is marked as redelivered when it
// comes again, although nobody has seen it: Consume at most once settles that
// unhandled. With an inflight= equal to Concurrency the least is lost so.
//
// AMQP has no answer to an acknowledgement. Ack returns when it was written to
// the connection: if that or the broker dies before the broker has read it, the
// message comes again, although Ack was nil. (Waiting for the answer to another
// request behind it would say that the channel has read it, and still not that
// the queue has written it.) In use without faults, and with Close, none is
// lost.
//
// A quorum queue counts: Attempt is one more than the failed deliveries. Before
// RabbitMQ 4.3 a Release, a Close and a lost connection count as failures, from
// then on a Release does not. A classic queue does not count: Attempt is 0.
// Which one it is, says type=.
//
// Nack without a delay gives a message back to its queue. With one, a copy is
// published to a delay queue and the message acknowledged when that is
// confirmed; when the connection is lost in between, both come. Delays are
// rounded up: to 50 ms up to 1 s, and by less than an eighth above; MaxDelay is
// 24 h. The copy has no expiration and no user-id. Where the headers with our
// own added do not fit in a frame, the message comes again at once.
//
// # Wire
//
// The body is the body, ID is message-id, Subject the routing key, a header an
// entry of the headers table, a string. Key travels as the header
// messaging-key and, where the routing key is a queue's name, Subject as
// messaging-subject. A table has no order and has each key once: several values
// of a key are an array of strings. Where headers were not sorted by key, the
// header messaging-headers restores them: an array with each header's key, or,
// where AMQP or RabbitMQ have another use for that key (CC, BCC, x-death and
// others; more than 255 bytes), an array of key and value. With envelope=none it
// is left out: headers come back sorted, and those that need it are refused.
//
// Of a message that another client published, numbers become decimal text,
// times RFC 3339, void is empty, arrays of plain values several headers, tables
// and other arrays JSON (bytes in base64). Without a message-id it has no ID:
// AMQP gives a message no coordinates. Published is always zero: RabbitMQ has no
// time of its own, and the property timestamp, which Raw has, is the
// publisher's.
//
// # Limits
//
// ID and Subject have at most 255 bytes. Headers, key and ID share a frame, 128
// KiB where the broker says nothing else. What is above that is ErrTooLarge.
// The largest message is the broker's setting max_message_size: 128 MiB, and 16
// MiB from 4.0 on, where nobody has changed it. It cannot be asked for: a
// publisher learns it from a refusal, or is told with max=.
//
// # Raw
//
// [messaging.Delivery].Raw points to a [Receipt], whose Delivery is the native
// one.
//
// # Operator
//
// A publisher has one connection, a subscriber one, and a second one as soon as
// it delays. Delay queues are named QUEUE.delay.MILLISECONDS.DAY; they are
// quorum queues, which dead-letter at least once to QUEUE through the default
// exchange, and expire two days after their day. Who delays needs the
// permissions to configure and write them (QUEUE\.delay\..*), and they need
// RabbitMQ 3.10.
//
// Quorum queues that create=true declares have no delivery limit: up to 3.13 by
// saying nothing, from 4.0 on with x-delivery-limit=-1, since the limit is 20
// otherwise, and what reaches a limit without a dead-letter exchange is dropped.
// A policy that sets one does so too, and cannot be seen from here: let
// Consume's MaxAttempts act first. A queue that was declared on 3.13 and lives
// on 4.0 has the limit of 20: opening it with create=true fails and says so.
//
// What a consumer holds for longer than the broker's consumer_timeout (30
// minutes) ends its channel: raise it for handlers that take longer.
//
// The Logger hears of lost connections, of why others cannot be opened, and of
// alarms.
package rabbitmq
