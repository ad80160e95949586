package brokers

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
)

// Shared are the brokers that the tests of a package share. The zero value is
// ready; each broker is started when the first test asks for it, and lives
// until Close. It is safe for concurrent use.
//
//	var shared brokers.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Tests(m)) }
//
//	func TestOrders(t *testing.T) { url := shared.RabbitMQ(t); ... }
type Shared struct {
	rabbitMQ, kafka shared
}

// shared is one broker, started once.
type shared struct {
	mu     sync.Mutex
	url    string
	broker *Broker
	err    error
}

// RabbitMQ returns the URL of a RabbitMQ, which nobody may kill. Tests keep to
// names of their own.
func (s *Shared) RabbitMQ(t testing.TB) string {
	t.Helper()
	return s.rabbitMQ.get(t, rabbitMQ())
}

// Kafka returns the URL of one server of a Kafka, kafka://host:port, which
// nobody may kill. Tests keep to names of their own.
func (s *Shared) Kafka(t testing.TB) string {
	t.Helper()
	return s.kafka.get(t, kafka())
}

// Close ends what was started.
func (s *Shared) Close() error {
	return errors.Join(s.rabbitMQ.close(), s.kafka.close())
}

// Tests returns a test run that ends with Close, for TestMain.
func (s *Shared) Tests(m interface{ Run() int }) interface{ Run() int } { return &tests{s, m} }

type tests struct {
	shared *Shared
	m      interface{ Run() int }
}

// Run runs the tests, and closes what they shared.
func (t *tests) Run() int {
	code := t.m.Run()
	if err := t.shared.Close(); err != nil {
		os.Stderr.WriteString("brokers: " + err.Error() + "\n")
		code = max(code, 1)
	}
	return code
}

func (s *shared) get(t testing.TB, p *product) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.url == "" && s.err == nil {
		s.url, s.broker, s.err = p.shared(t.Context())
	}
	if s.err != nil {
		missing(t, p, s.err)
	}
	return s.url
}

// shared returns the broker that the environment names, or starts one.
func (p *product) shared(ctx context.Context) (string, *Broker, error) {
	if u := os.Getenv(p.variable); u != "" {
		return u, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	b, err := p.start(ctx, 1)
	if err != nil {
		return "", nil, err
	}
	return b.URL(), b, nil
}

func (s *shared) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broker == nil {
		return nil
	}
	b := s.broker
	s.broker, s.url = nil, ""
	return b.Close()
}
