package conformance

import (
	"net"
	"sync"
	"time"
)

// link is a connection through a network.
type link struct {
	network        *Network
	client, server *net.TCPConn
	gone           chan struct{} // closed when it is cut or has ended
	once           sync.Once

	mu     sync.Mutex
	hole   chan struct{} // what it carries waits until this is closed; nil: it does not
	losing func()        // replies are swallowed, and this is called with the first; nil: they are not
	lost   bool          // one was
}

// carry takes what comes from one end to the other, until the link is gone.
// Its two directions are called at the same time.
func (l *link) carry(to, from *net.TCPConn, request bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && l.wait() && !l.swallow(request) {
			if _, err := to.Write(buf[:n]); err != nil {
				l.cut()
			}
		}
		switch {
		case err == nil:
			continue
		case l.wait(): // what ends in a black hole, ends for nobody else
			l.end(err)
		}
		return
	}
}

// wait lets the network be slow, and a black hole keep what it has. It says
// false when the link is gone.
func (l *link) wait() bool {
	if d := l.network.slowness(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-l.gone:
			return false
		}
	}
	for {
		l.mu.Lock()
		hole := l.hole
		l.mu.Unlock()
		if hole == nil {
			select {
			case <-l.gone:
				return false
			default:
				return true
			}
		}
		select {
		case <-hole:
		case <-l.gone:
			return false
		}
	}
}

// swallow says whether what is carried is a reply that gets lost.
func (l *link) swallow(request bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if request || l.losing == nil {
		return false
	}
	if !l.lost {
		l.lost = true
		l.losing()
	}
	return true
}

// end closes both ends, since one is closed: in order, or by a reset.
func (l *link) end(err error) {
	if err.Error() != "EOF" {
		l.cut()
		return
	}
	l.once.Do(func() {
		close(l.gone)
		l.client.Close()
		l.server.Close()
	})
}

// cut resets the connection at both ends.
func (l *link) cut() {
	l.once.Do(func() {
		close(l.gone)
		for _, c := range []*net.TCPConn{l.client, l.server} {
			_ = c.SetLinger(0)
			c.Close()
		}
	})
}

// vanish makes the link a black hole, unless it is one.
func (l *link) vanish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hole == nil {
		l.hole = make(chan struct{})
	}
}

// appear lets a black hole give out what it has, and go on.
func (l *link) appear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hole != nil {
		close(l.hole)
		l.hole = nil
	}
}

// lose has replies swallowed from now on, and calls f when the first was;
// nil ends that.
func (l *link) lose(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lost {
		l.losing = f
	}
}

// slowness returns how long the next piece takes.
func (n *Network) slowness() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.delay == nil {
		return 0
	}
	n.delayed++
	return n.delay()
}
