package container

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"

	engine "github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/native"
)

// rabbitImage is the official one.
const rabbitImage = "rabbitmq:4-management"

// RabbitMQ starts a RabbitMQ of so many nodes, which form a cluster. User and
// password are guest.
func RabbitMQ(ctx context.Context, nodes int) (*Broker, error) {
	b, err := newBroker(ctx)
	if err != nil {
		return nil, fmt.Errorf("container: start RabbitMQ: %w", err)
	}
	if err := b.startRabbitMQ(ctx, nodes); err != nil {
		b.Close()
		return nil, fmt.Errorf("container: start RabbitMQ: %w", err)
	}
	return b, nil
}

func (b *Broker) startRabbitMQ(ctx context.Context, nodes int) (err error) {
	if b.network, err = network.New(ctx, network.WithLabels(map[string]string{label: b.folder.Path()})); err != nil {
		return fmt.Errorf("make a network: %w", err)
	}
	cookie := rand.Text()
	for i := range nodes {
		if err := b.startRabbitNode(ctx, i+1, cookie); err != nil {
			return err
		}
	}
	for _, s := range b.Servers[1:] {
		for _, args := range [][]string{{"stop_app"}, {"join_cluster", b.Servers[0].Name}, {"start_app"}} {
			if _, err := s.Tool(ctx, args...); err != nil {
				return err
			}
		}
		if err := s.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) startRabbitNode(ctx context.Context, number int, cookie string) error {
	port, err := b.folder.Port()
	if err != nil {
		return err
	}
	host := "node" + strconv.Itoa(number)
	s := &Server{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Name: "rabbit@" + host}
	s.tool = []string{"rabbitmqctl", "--node", s.Name, "--erlang-cookie", cookie, "--silent"}
	s.ready = func(ctx context.Context) error { return native.HandshakeAMQP(ctx, s.Address) }
	return b.run(ctx, s, rabbitImage, 5672,
		testcontainers.WithConfigModifier(func(c *engine.Config) { c.Hostname = host }),
		network.WithNetwork([]string{host}, b.network),
		testcontainers.WithEnv(map[string]string{"RABBITMQ_NODENAME": s.Name, "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-setcookie " + cookie}),
	)
}
