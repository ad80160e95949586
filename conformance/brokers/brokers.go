package brokers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// The environment variables that this package reads.
const (
	// RabbitMQVariable names a RabbitMQ that tests may share, by its URL, such
	// as amqp://guest:guest@127.0.0.1:5672/.
	RabbitMQVariable = "MESSAGING_RABBITMQ_URL"

	// KafkaVariable names a Kafka that tests may share, by one of its servers,
	// such as kafka://127.0.0.1:9092.
	KafkaVariable = "MESSAGING_KAFKA_URL"

	// RequireVariable, set to 1, makes a failure of a test that would be
	// skipped because its broker cannot be had.
	RequireVariable = "MESSAGING_REQUIRE_BROKERS"

	// WayVariable, set to container or process, allows only that way to start
	// a broker.
	WayVariable = "MESSAGING_BROKERS"
)

// startBound is how long a broker may take until it answers, an image that has
// to be pulled included.
const startBound = 5 * time.Minute

// RabbitMQ returns the URL of a RabbitMQ that tests share. Without
// [RabbitMQVariable] it starts one that ends with t: tests of one package
// share a [Shared] instead.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	return once(t, (*Shared).RabbitMQ)
}

// Kafka returns the URL of one server of a Kafka that tests share,
// kafka://host:port. Without [KafkaVariable] it starts one that ends with t:
// tests of one package share a [Shared] instead.
func Kafka(t testing.TB) string {
	t.Helper()
	return once(t, (*Shared).Kafka)
}

func once(t testing.TB, get func(*Shared, testing.TB) string) string {
	t.Helper()
	s := new(Shared)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return get(s, t)
}

// OwnRabbitMQ starts a RabbitMQ for t alone, which ends with t. Several nodes
// form a cluster. User and password are guest. When t fails, it gets what the
// nodes said last.
func OwnRabbitMQ(t testing.TB, nodes int) *Broker {
	t.Helper()
	return own(t, rabbitMQ(), nodes)
}

// OwnKafka starts a Kafka for t alone, which ends with t. Each server is
// broker and controller; with three, topics have three replicas, of which two
// must be in sync, unless they are made otherwise. Topics are not made by
// being used.
func OwnKafka(t testing.TB, servers int) *Broker {
	t.Helper()
	return own(t, kafka(), servers)
}

func own(t testing.TB, p *product, servers int) *Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startBound)
	defer cancel()
	b, err := p.start(ctx, servers)
	if err != nil {
		missing(t, p, err)
	}
	t.Cleanup(func() {
		for _, n := range b.Nodes {
			if t.Failed() {
				t.Logf("%s said last:\n%s", n.Name, n.Log(context.Background()))
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// missing ends a test that has no broker: skipped where there is none to be
// had, failed where it should be there or did not start.
func missing(t testing.TB, p *product, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	message := fmt.Sprintf("%v\nrun the tests with\n\tgo run github.com/fa5182d2/messaging/conformance/brokers/run -- go test ./...\n"+
		"which gets what is missing, start a container engine, %s, or set %s to the URL of one that tests may use", err, p.install, p.variable)
	if os.Getenv(RequireVariable) == "1" {
		t.Fatalf("%s (%s=1 makes this a failure)", message, RequireVariable)
	}
	t.Skip(message)
}
