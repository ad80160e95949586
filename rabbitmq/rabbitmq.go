package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/params"
)

// Backend opens publishers and queues on RabbitMQ. Its fields are the
// defaults, a URL's parameters override them; the zero value is ready. It is
// copied when something is opened, so it may be changed afterwards, though not
// while something is being opened.
type Backend struct {
	// Config is the native configuration of each connection: Dial,
	// TLSClientConfig, SASL, Properties, FrameSize, ChannelMax and so on. The
	// URL's user, password and vhost apply where SASL is nil and Vhost empty.
	// TLSClientConfig is used with amqps:// only; its ServerName is the URL's
	// host where it is empty, and its MinVersion TLS 1.2. Dial returns the bare
	// connection, without TLS. Recovery must be nil: this package replaces
	// connections, since what amqp091 recovers acknowledges the wrong message.
	Config amqp.Config

	// Exchange is where messages are published to, and what a queue is bound to
	// when it is created, exchange= in a URL. "" is the default exchange, which
	// leads to Queue alone.
	Exchange string

	// Queue is the queue of the default subscription, queue= in a URL.
	Queue string

	// Group is the queue of a subscription beside that, group= in a URL. A
	// subscriber takes its messages from Group or, where that is empty, from
	// Queue.
	Group string

	// Subject is what Create binds Group with, or Queue where there is no Group,
	// subject= in a URL. "" means what it is bound with already, and "#",
	// everything, for a new queue.
	Subject string

	// Create declares what is missing, create=true in a URL: the exchange,
	// Queue, Group and their bindings.
	Create bool

	// Type is the type of the queues: "quorum" or "classic", type= in a URL. It
	// is what Create declares, and says what there is where nothing is declared:
	// AMQP does not tell. "" means "quorum".
	Type string

	// NoDelay makes a Nack give back at once, delay=none in a URL: no delay
	// queues are declared.
	NoDelay bool

	// Inflight is the window of a subscriber, inflight= in a URL: the prefetch.
	// 0 means 256.
	Inflight int

	// MaxMessage is the largest body that a publisher sends, in bytes, and
	// max= in a URL. 0 means as much as the broker takes, whose limit shows only
	// when it has refused something.
	MaxMessage int

	// Timeout bounds a Publish whose context has no deadline, timeout= in a
	// URL. 0 means 30 s.
	Timeout time.Duration

	// NoRetry makes Publish try once, retry=none in a URL.
	NoRetry bool

	// NoEnvelope leaves out the header messaging-headers, envelope=none in a
	// URL: see the package's documentation.
	NoEnvelope bool

	// Heartbeat is how often each side shows that it is there, heartbeat= in a
	// URL, in whole seconds: a connection without a sign for three of them is
	// over. 0 means 5 s.
	Heartbeat time.Duration

	// Logger hears lost connections, why others cannot be opened, and when the
	// broker holds publishers back. Nil is silent.
	Logger *slog.Logger
}

var _ messaging.QueueBackend = (*Backend)(nil)

// OpenPublisher opens a publisher to the exchange that u names, or to its
// queue where it names no exchange. It waits for the broker's answer, until
// ctx ends. What is missing is ErrNotFound, unless create=true.
func (b *Backend) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	p, err := b.openPublisher(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: open publisher %s: %w", params.Redacted(u), err)
	}
	return p, nil
}

// OpenQueue opens a subscriber to the queue that u names. It waits for the
// broker's answer, until ctx ends. What is missing is ErrNotFound, unless
// create=true. Nothing is delivered to it before the first Receive.
func (b *Backend) OpenQueue(ctx context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	q, err := b.openQueue(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: open queue %s: %w", params.Redacted(u), err)
	}
	return q, nil
}

func (b *Backend) openPublisher(ctx context.Context, u *url.URL) (*publisher, error) {
	o, err := b.parse(u)
	if err != nil {
		return nil, err
	}
	if o.exchange == "" && o.queue == "" {
		return nil, errors.New("the url names neither exchange= nor queue=")
	}
	c, err := o.dialer.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.prepare(ctx, c, ""); err != nil {
		c.close()
		return nil, err
	}
	p := newPublisher(o, c)
	if err := p.pipe.begin(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

func (b *Backend) openQueue(ctx context.Context, u *url.URL) (*queue, error) {
	o, err := b.parse(u)
	if err != nil {
		return nil, err
	}
	if o.source() == "" {
		return nil, errors.New("the url names neither group= nor queue=")
	}
	c, err := o.dialer.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.prepare(ctx, c, o.group); err != nil {
		c.close()
		return nil, err
	}
	return newQueue(ctx, o, c)
}
