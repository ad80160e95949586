package rabbitmq

import (
	"net"
	"sync"
	"testing"
)

// proxy stands between client and broker. It cuts connections, and can keep
// back what the broker says.
type proxy struct {
	addr string

	mu      sync.Mutex
	conns   map[net.Conn]bool
	deaf    bool // what the broker says is dropped
	refuse  bool // new connections are closed at once
	stalled chan struct{}
	opened  int
}

// forward serves l until the test ends, each connection to server.
func forward(t *testing.T, l net.Listener, server string, p *proxy) *proxy {
	if p == nil {
		p = &proxy{}
	}
	p.addr, p.conns = l.Addr().String(), map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", server)
			p.mu.Lock()
			if err != nil || p.refuse {
				p.mu.Unlock()
				_ = client.Close()
				if err == nil {
					_ = broker.Close()
				}
				continue
			}
			p.opened++
			p.conns[client], p.conns[broker] = true, true
			p.mu.Unlock()
			wg.Go(func() { p.copy(broker, client, false) })
			wg.Go(func() { p.copy(client, broker, true) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.release()
		p.cut()
		wg.Wait()
	})
	return p
}

// copy copies until one of the two ends, and then ends the other.
func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			deaf, stalled := p.deaf && answers, p.stalled
			p.mu.Unlock()
			if stalled != nil && !answers {
				<-stalled
			}
			if !deaf {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// newProxy puts a proxy before the broker and returns it with the URL's host
// replaced.
func newProxy(t *testing.T, raw string) (*proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	u := parsed(t, raw)
	p := forward(t, l, u.Host, nil)
	u.Host = p.addr
	return p, u.String()
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// set changes what happens from now on.
func (p *proxy) set(deaf, refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.refuse = deaf, refuse
}

// stall keeps back what clients say, until release.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}
