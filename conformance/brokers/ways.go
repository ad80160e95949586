package brokers

import (
	"context"
	"os"
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

// HasContainers says whether an engine for containers answers.
func HasContainers(context.Context) bool { return false }
