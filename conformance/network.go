package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Network is what lies between clients and the servers of a broker: every
// connection goes through it, and it can cut them (F1), swallow what is on its
// way (F2, F3) and be slow (F4). It is a proxy in this process, for TCP, and
// knows nothing of what it carries.
//
// Clients reach a server at the address that [Network.Address] returns or, where
// the broker tells them addresses of its own, by dialling with
// [Network.DialContext]. A target with a Network in [Target.Network] is given
// the faults by the suite; tests of one's own use its methods. They may be
// called from several goroutines.
type Network struct {
	mu       sync.Mutex
	fronts   map[string]*front // by the server's address
	links    []*link           // in the order in which they began
	begin    func(*link)       // what becomes of a new one; nil: nothing
	delay    func() time.Duration
	delayed  int
	closed   bool
	pumping  sync.WaitGroup
	closing  chan struct{}
	shutdown context.Context // ends with Close
	cancel   context.CancelFunc
}

// front is where clients reach a server.
type front struct {
	server   string
	listener net.Listener
}

// NewNetwork returns a network without faults.
func NewNetwork() *Network {
	n := &Network{fronts: map[string]*front{}, closing: make(chan struct{})}
	n.shutdown, n.cancel = context.WithCancel(context.Background())
	return n
}

// Address returns an address of 127.0.0.1 at which a server, host:port, is
// reached through the network. It is the same each time, also while the server
// is down: then connections are reset.
func (n *Network) Address(server string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch f := n.fronts[server]; {
	case n.closed:
		return "", fmt.Errorf("conformance: network: address of %s: %w", server, net.ErrClosed)
	case f != nil:
		return f.listener.Addr().String(), nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("conformance: network: address of %s: %w", server, err)
	}
	f := &front{server, l}
	n.fronts[server] = f
	n.pumping.Go(func() { n.accept(f) })
	return l.Addr().String(), nil
}

// DialContext connects to a server, host:port, through the network. It is what
// a client wants that is told the servers' addresses by the broker.
func (n *Network) DialContext(ctx context.Context, network, server string) (net.Conn, error) {
	address, err := n.Address(server)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Connections returns how many connections there are.
func (n *Network) Connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// Close cuts everything, and returns when nothing of the network is left.
func (n *Network) Close() error {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		close(n.closing)
		n.cancel()
	}
	var errs []error
	for _, f := range n.fronts {
		errs = append(errs, f.listener.Close())
	}
	clear(n.fronts)
	links := slices.Clone(n.links)
	n.mu.Unlock()
	for _, l := range links {
		l.cut()
	}
	n.pumping.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("conformance: close network: %w", err)
	}
	return nil
}

// accept links each client of a front to its server.
func (n *Network) accept(f *front) {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			select {
			case <-n.closing:
				return
			case <-time.After(10 * time.Millisecond): // such as too many open files
				continue
			}
		}
		n.pumping.Go(func() { n.connect(f, c.(*net.TCPConn)) })
	}
}

// connect links a client to the server, and carries until one of them is gone.
func (n *Network) connect(f *front, client *net.TCPConn) {
	s, err := new(net.Dialer).DialContext(n.shutdown, "tcp", f.server)
	if err != nil {
		_ = client.SetLinger(0) // as from a server that is down
		client.Close()
		return
	}
	l := &link{network: n, client: client, server: s.(*net.TCPConn), gone: make(chan struct{})}
	if !n.add(l) {
		l.cut()
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.carry(l.server, l.client, false) })
	pumps.Go(func() { l.carry(l.client, l.server, true) })
	pumps.Wait()
	n.remove(l)
}

func (n *Network) add(l *link) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.links = append(n.links, l)
	if n.begin != nil {
		n.begin(l)
	}
	return true
}

func (n *Network) remove(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.links, l); i >= 0 {
		n.links = slices.Delete(n.links, i, i+1)
	}
}
