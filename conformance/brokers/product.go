package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/container"
	"github.com/fa5182d2/messaging/conformance/brokers/internal/native"
)

// ErrUnavailable is in the chain of the error of a broker that cannot be
// started, because there is neither an engine for its container nor the broker
// itself.
var ErrUnavailable = errors.New("not available")

// StartRabbitMQ starts a RabbitMQ for a program that is no test, with so many
// nodes, which form a cluster. It waits until each node answers; user and
// password are guest.
func StartRabbitMQ(ctx context.Context, nodes int) (*Broker, error) {
	return rabbitMQ().start(ctx, nodes)
}

// StartKafka starts a Kafka for a program that is no test, with so many
// servers, as [OwnKafka] does. It waits until each server answers.
func StartKafka(ctx context.Context, servers int) (*Broker, error) {
	return kafka().start(ctx, servers)
}

// product is one kind of broker.
type product struct {
	name     string
	variable string
	install  string // how to, by hand
	scheme   string
	user     *url.Userinfo
	has      func() error // what is missing to run it as a process
	native   func(ctx context.Context, servers int) (*native.Broker, error)

	container func(ctx context.Context, servers int) (*container.Broker, error)
}

func rabbitMQ() *product {
	return &product{
		name: "RabbitMQ", variable: RabbitMQVariable, install: "install rabbitmq-server", scheme: "amqp",
		user: url.UserPassword("guest", "guest"), has: native.HasRabbitMQ, native: native.RabbitMQ,
		container: container.RabbitMQ,
	}
}

func kafka() *product {
	return &product{
		name: "Kafka", variable: KafkaVariable, install: "install Java and let the command above get Kafka's jars",
		scheme: "kafka", has: native.HasKafka, native: native.Kafka,
		container: container.Kafka,
	}
}

// start starts a broker in the first way that there is.
func (p *product) start(ctx context.Context, servers int) (*Broker, error) {
	if servers < 1 {
		return nil, fmt.Errorf("brokers: start %s: %d servers: want at least one", p.name, servers)
	}
	var reasons []error
	failed := false
	for _, w := range ways() {
		if err := w.has(ctx, p); err != nil {
			reasons = append(reasons, fmt.Errorf("as a %s: %w", w.name, err))
			continue
		}
		b, err := w.start(ctx, p, servers)
		if err == nil {
			return b, nil
		}
		// An engine may answer where no image can be had.
		failed = true
		reasons = append(reasons, fmt.Errorf("as a %s: %w", w.name, err))
		if ctx.Err() != nil {
			break
		}
	}
	if failed {
		return nil, fmt.Errorf("brokers: start %s: %w", p.name, errors.Join(reasons...))
	}
	return nil, fmt.Errorf("brokers: start %s: %w: %w", p.name, ErrUnavailable, errors.Join(reasons...))
}
