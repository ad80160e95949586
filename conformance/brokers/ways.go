package brokers

import (
	"context"
	"os"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/container"
)

// way is how a broker is started.
type way struct {
	name  string
	has   func(ctx context.Context, p *product) error // why it cannot be
	start func(ctx context.Context, p *product, servers int) (*Broker, error)
}

// ways returns how a broker may be started, the preferred one first.
func ways() []way {
	all := []way{
		{"container", func(ctx context.Context, _ *product) error { return container.Available(ctx) }, startContainer},
		{"process", func(_ context.Context, p *product) error { return p.has() }, startNative},
	}
	only := os.Getenv(WayVariable)
	if only == "" {
		return all
	}
	for _, w := range all {
		if w.name == only {
			return []way{w}
		}
	}
	return nil
}

func startNative(ctx context.Context, p *product, servers int) (*Broker, error) {
	started, err := p.native(ctx, servers)
	if err != nil {
		return nil, err
	}
	b := &Broker{close: started.Close}
	for _, s := range started.Servers {
		b.Nodes = append(b.Nodes, &Node{Address: s.Address, Name: s.Name, product: p, server: s})
	}
	return b, nil
}

func startContainer(ctx context.Context, p *product, servers int) (*Broker, error) {
	started, err := p.container(ctx, servers)
	if err != nil {
		return nil, err
	}
	b := &Broker{close: started.Close}
	for _, s := range started.Servers {
		b.Nodes = append(b.Nodes, &Node{Address: s.Address, Name: s.Name, product: p, server: s})
	}
	return b, nil
}

// Sweep removes the containers that killed processes have left behind, where
// brokers are started as containers.
func Sweep(ctx context.Context) error {
	if !HasContainers(ctx) {
		return nil
	}
	return container.Sweep(ctx)
}

// HasContainers says whether brokers are started as containers: an engine
// answers, and [WayVariable] does not forbid it.
func HasContainers(ctx context.Context) bool {
	for _, w := range ways() {
		if w.name == "container" {
			return w.has(ctx, nil) == nil
		}
	}
	return false
}
