package container

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	engine "github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/native"
)

// kafkaImage is the official one.
const kafkaImage = "apache/kafka:" + native.KafkaVersion

// Kafka starts a Kafka of so many servers, each of them broker and controller.
func Kafka(ctx context.Context, servers int) (*Broker, error) {
	b, err := newBroker(ctx)
	if err != nil {
		return nil, fmt.Errorf("container: start Kafka: %w", err)
	}
	if err := b.startKafka(ctx, servers); err != nil {
		b.Close()
		return nil, fmt.Errorf("container: start Kafka: %w", err)
	}
	return b, nil
}

func (b *Broker) startKafka(ctx context.Context, servers int) (err error) {
	if b.network, err = network.New(ctx, network.WithLabels(map[string]string{label: b.folder.Path()})); err != nil {
		return fmt.Errorf("make a network: %w", err)
	}
	var voters []string
	for i := range servers {
		voters = append(voters, fmt.Sprintf("%d@kafka%d:9093", i+1, i+1))
	}
	started := make(chan error, servers)
	all := make([]*Server, servers)
	for i := range servers {
		port, err := b.folder.Port()
		if err != nil {
			return err
		}
		all[i] = kafkaServer(i+1, port)
	}
	// Each waits for the others: a controller alone is none.
	for i, s := range all {
		go func() { started <- b.startKafkaServer(ctx, s, i+1, voters) }()
	}
	for range all {
		if failed := <-started; failed != nil && err == nil {
			err = failed
		}
	}
	slices.SortFunc(b.Servers, func(x, y *Server) int { return strings.Compare(x.Name, y.Name) })
	return err
}

func kafkaServer(id, port int) *Server {
	s := &Server{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Name: "kafka" + strconv.Itoa(id)}
	s.tool = []string{"java", "-cp", "/opt/kafka/libs/*"}
	s.ready = func(ctx context.Context) error { return native.HandshakeKafka(ctx, s.Address, id) }
	return s
}

// startKafkaServer starts a server that is told clients' address, and has
// another listener for the servers among themselves. Any setting in the
// environment replaces the image's whole configuration.
func (b *Broker) startKafkaServer(ctx context.Context, s *Server, id int, voters []string) error {
	_, port, _ := net.SplitHostPort(s.Address)
	inside, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	env := map[string]string{"CLUSTER_ID": "bWVzc2FnaW5nLWJyb2tlcg"}
	listeners := fmt.Sprintf("PLAINTEXT://:%s,INSIDE://:9094,CONTROLLER://:9093", port)
	advertised := fmt.Sprintf("PLAINTEXT://%s,INSIDE://%s:9094", s.Address, s.Name)
	for line := range strings.Lines(native.KafkaSettings(id, listeners, advertised, "INSIDE", voters)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env["KAFKA_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_"))] = value
		}
	}
	return b.run(ctx, s, kafkaImage, inside,
		testcontainers.WithConfigModifier(func(c *engine.Config) { c.Hostname = s.Name }),
		network.WithNetwork([]string{s.Name}, b.network),
		testcontainers.WithEnv(env),
	)
}
