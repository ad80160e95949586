package brokers

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// A Broker is one that was started for a test alone, or by a program. Who did
// it closes it.
type Broker struct {
	// Nodes are its servers, in the order in which they were started.
	Nodes []*Node

	close func() error
}

// Close ends the nodes and removes their data.
func (b *Broker) Close() error { return b.close() }

// URL returns the URL of its first node.
func (b *Broker) URL() string { return b.Nodes[0].URL() }

// Leader returns the node on which the leader of a RabbitMQ's quorum queue is,
// in the default virtual host. For a classic queue it is the node that has it.
func (b *Broker) Leader(ctx context.Context, queue string) (*Node, error) {
	var failed error
	for _, n := range b.Nodes {
		out, err := n.Tool(ctx, "list_queues", "--no-table-headers", "name", "leader", "pid")
		if err != nil {
			failed = err // it may be down
			continue
		}
		for line := range strings.Lines(out) {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[0] != queue {
				continue
			}
			for _, n := range b.Nodes {
				if strings.Contains(fields[1], n.Name) {
					return n, nil
				}
			}
		}
		return nil, fmt.Errorf("brokers: find the leader of queue %q: no node says it has it: %s", queue, out)
	}
	return nil, fmt.Errorf("brokers: find the leader of queue %q: %w", queue, failed)
}

// A Node is one server of a [Broker]. Its methods may be called from several
// goroutines, but one waits for the other.
type Node struct {
	// Address is where clients connect to, host:port, the same after a restart.
	Address string

	// Name is what the broker itself calls it, such as rabbit1@localhost.
	Name string

	product *product
	server
}

// server is what runs a node.
type server interface {
	Start(ctx context.Context) error
	Kill(ctx context.Context) error
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	Tool(ctx context.Context, args ...string) (string, error)
	Log(ctx context.Context) string
}

// URL returns the node's URL, with the password that it was started with, and
// with no path but the root.
func (n *Node) URL() string { return n.product.url(n.Address) }

func (p *product) url(address string) string {
	u := url.URL{Scheme: p.scheme, User: p.user, Host: address}
	if p.user != nil {
		u.Path = "/"
	}
	return u.String()
}

// Kill ends the node at once, with SIGKILL, and returns when it is gone.
//
// A quorum queue that was declared at the only node of a RabbitMQ 3.10.8 less
// than some second and a half before does not come back (measured: at once it
// is lost, after 1.5 s it is there): the node keeps in memory for so long where
// the queue's log is. Kill later than that.
func (n *Node) Kill(ctx context.Context) error { return n.server.Kill(ctx) }

// Start starts a node that was killed, on the same port with the same data, and
// returns when a client's handshake succeeds.
func (n *Node) Start(ctx context.Context) error { return n.server.Start(ctx) }

// Restart kills the node and starts it again.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Kill(ctx); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Pause stops the node, and returns when nothing in it runs any more: its
// sockets stay open and answer nothing.
func (n *Node) Pause(ctx context.Context) error { return n.server.Pause(ctx) }

// Resume lets a paused node go on.
func (n *Node) Resume(ctx context.Context) error { return n.server.Resume(ctx) }

// Tool runs the broker's own command line tool against the node and returns
// what it says. For RabbitMQ the arguments are those of rabbitmqctl, for Kafka
// the first one is the class, such as org.apache.kafka.tools.ConsoleConsumer,
// and nothing but the arguments tells it the node's address.
func (n *Node) Tool(ctx context.Context, args ...string) (string, error) {
	return n.server.Tool(ctx, args...)
}

// Log returns the last lines of what the node has said.
func (n *Node) Log(ctx context.Context) string { return n.server.Log(ctx) }
