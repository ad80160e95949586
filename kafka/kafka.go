package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/params"
)

// Backend is how Kafka is reached, and the defaults of what is opened: a URL's
// parameters override its fields. The zero value is ready. Set the fields
// before the first call. Its methods are safe for concurrent use.
type Backend struct {
	// Transport is kafka-go's own configuration of connections: its Dial,
	// DialTimeout, TLS, SASL, ClientID and Resolver are used. Its pool of
	// connections is not: each publisher and subscriber has connections of its
	// own, which Close ends. Nil is the zero Transport.
	Transport *kafkago.Transport

	// Logger hears reconnects, rebalances, lost leases, and what was read over.
	// Nil is silent.
	Logger *slog.Logger

	// Seeds are further brokers to begin with, as host:port, besides the URL's
	// host: seed= in a URL, with commas between them.
	Seeds []string

	// TLS encrypts connections, tls=true in a URL for the zero Config. A
	// ServerName that is empty is the host's. Nil is what Transport says.
	TLS *tls.Config

	// SASL is the mechanism that User and Password log in with, sasl= in a URL:
	// "plain", "scram-sha-256" or "scram-sha-512". "" is "plain". Without a
	// User, which the URL has before the host, it is what Transport says.
	SASL, User, Password string

	// Client is the name by which the broker logs this program, client= in a
	// URL. "" is what Transport says, or "messaging".
	Client string

	// Compression is how batches are compressed, compression= in a URL: "none",
	// "gzip", "snappy", "lz4" or "zstd". "" is "none".
	Compression string

	// Timeout bounds a Publish whose context has no deadline, timeout= in a
	// URL. 0 means 30 s.
	Timeout time.Duration

	// NoRetry makes Publish try once, retry=none in a URL.
	NoRetry bool

	// Create makes opening create the topic where it is missing, create=true in
	// a URL, with Partitions partitions, partitions=, and Replication replicas,
	// replication=. 0 of them means what the broker is configured for.
	Create                  bool
	Partitions, Replication int

	// Session is after how long without a sign of life the broker gives the
	// partitions of a subscriber to others, session= in a URL. 0 means 10 s.
	// Brokers refuse less than 6 s unless they are configured otherwise
	// (group.min.session.timeout.ms).
	Session time.Duration

	// Handover is how long a partition that moves in order waits for what its
	// former owner has in hand, handover= in a URL. 0 means 10 s.
	Handover time.Duration

	// Inflight is the window: the most unsettled deliveries of each partition,
	// inflight= in a URL. 0 means 1024.
	Inflight int

	// Group, Partition, Start, End and Trimmed are the URL's group=,
	// partition=, start=, end= and trimmed=.
	Group, Partition, Start, End, Trimmed string
}

var _ messaging.StreamBackend = (*Backend)(nil)

// OpenPublisher opens a publisher to the topic that u names,
// kafka://host:9092/orders. It asks the cluster for the topic, once, bounded
// by ctx: a topic that does not exist is [messaging.ErrNotFound], unless
// create=true.
func (b *Backend) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	c, o, err := b.open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("kafka: open publisher %s: %w", params.Redacted(u), err)
	}
	return newPublisher(ctx, c, o), nil
}

// OpenStream opens a subscriber to the topic that u names. It asks the cluster
// for the topic and, with group=, for the group's cursors, once, bounded by
// ctx. Where the group has none, it returns when they are fixed, as start=
// says, for all partitions: what is published later is not missed.
func (b *Backend) OpenStream(ctx context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	c, o, err := b.open(ctx, u)
	if err == nil {
		var s *stream
		if s, err = openStream(ctx, c, o); err == nil {
			return s, nil
		}
		c.close()
	}
	return nil, fmt.Errorf("kafka: open stream %s: %w", params.Redacted(u), err)
}

// open parses u and connects to its cluster.
func (b *Backend) open(ctx context.Context, u *url.URL) (*cluster, *options, error) {
	if u == nil {
		return nil, nil, errors.New("the url is nil: want kafka://HOST:9092/TOPIC")
	}
	o, err := b.parse(u)
	if err := errors.Join(err, b.check()); err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	c := newCluster(o)
	if err := c.find(ctx); err != nil {
		c.close()
		return nil, nil, err
	}
	return c, o, nil
}

func (b *Backend) logger() *slog.Logger {
	if b.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return b.Logger
}
