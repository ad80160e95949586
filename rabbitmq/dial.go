package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// connection is one connection to the broker. It is never repaired: when it
// ends, a link opens another one.
type connection struct {
	conn *amqp.Connection
	wire *wire
	over chan struct{} // closed when it has ended and cause is set
	wg   sync.WaitGroup

	trouble atomic.Bool // a channel of it was closed by the broker, and nothing went well since

	mu      sync.Mutex
	cause   error         // why it ended; nil when close did it
	blocked chan struct{} // not nil while the broker takes nothing; closed when it does again
}

// closeWait bounds an orderly end.
const closeWait = 2 * time.Second

func (c *connection) ended() <-chan struct{} { return c.over }

// why returns what ended the connection.
func (c *connection) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		return errWireClosed
	}
	return c.cause
}

// close ends the connection, and waits for its goroutines.
func (c *connection) close() {
	_ = c.conn.CloseDeadline(time.Now().Add(closeWait))
	_ = c.wire.Close()
	c.wg.Wait()
}

// unblocked returns nil, or a channel that is closed when the broker, which
// has an alarm of memory or disk, takes messages again.
func (c *connection) unblocked() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked
}

// watch follows what amqp091 tells of the connection.
func (c *connection) watch(closed <-chan *amqp.Error, blockings <-chan amqp.Blocking, say func(string, ...any)) {
	for {
		select {
		case b, ok := <-blockings:
			if !ok {
				blockings = nil
				continue
			}
			c.mu.Lock()
			switch {
			case b.Active && c.blocked == nil:
				c.blocked = make(chan struct{})
			case !b.Active && c.blocked != nil:
				close(c.blocked)
				c.blocked = nil
			}
			c.mu.Unlock()
			if b.Active {
				say("rabbitmq: the broker holds publishers back", "reason", b.Reason)
			} else {
				say("rabbitmq: the broker takes messages again")
			}
		case err := <-closed:
			c.mu.Lock()
			if err != nil {
				c.cause = judged(err)
			}
			if c.blocked != nil {
				close(c.blocked)
				c.blocked = nil
			}
			c.mu.Unlock()
			close(c.over)
			return
		}
	}
}

// dialer opens connections to one broker.
type dialer struct {
	config    amqp.Config // complete, with the virtual host and the credentials
	addr      string
	host      string
	tls       *tls.Config // nil without TLS
	say       func(msg string, args ...any)
	loginLost atomic.Int32 // how many logins in a row were cut off as bad ones are
	frame     atomic.Int64 // the largest frame that the latest connection agreed on; 0 is any
}

// mostLoginsLost is from how many on they count as refused. RabbitMQ answers
// bad credentials by closing the socket without a word, seconds later, unless
// the client says that it understands an answer, which amqp091 does not. A
// network that fails can look like that, but not every time.
const (
	mostLoginsLost = 3
	loginSilence   = 900 * time.Millisecond
)

// dial opens a connection. What it says before ctx ends decides.
func (d *dialer) dial(ctx context.Context) (*connection, error) {
	conn, err := d.socket(ctx)
	if err != nil {
		return nil, ended(ctx, judged(err))
	}
	// Nothing in a handshake obeys a context.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	spy := &silence{Conn: conn}
	w := newWire(spy)
	config := d.config
	config.Properties = maps.Clone(config.Properties) // amqp091 writes to it
	opened, err := amqp.Open(w, config)
	if err != nil {
		w.abandon()
		_ = w.Close()
		return nil, ended(ctx, d.loginErr(err, spy))
	}
	d.loginLost.Store(0)
	d.frame.Store(int64(opened.Config.FrameSize))
	c := &connection{conn: opened, wire: w, over: make(chan struct{})}
	closed := opened.NotifyClose(make(chan *amqp.Error, 1))
	blockings := opened.NotifyBlocked(make(chan amqp.Blocking, 16))
	c.wg.Go(func() { c.watch(closed, blockings, d.say) })
	if !stop() && ctx.Err() != nil {
		c.close()
		return nil, ctx.Err()
	}
	return c, nil
}

// socket connects, with TLS where the URL says so.
func (d *dialer) socket(ctx context.Context) (net.Conn, error) {
	var conn net.Conn
	var err error
	if d.config.Dial != nil {
		conn, err = dialNative(ctx, d.config.Dial, d.addr)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	}
	if err != nil || d.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, d.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			err = fmt.Errorf("%w: is this a port for TLS? amqp:// has none", err)
		}
		return nil, err
	}
	return secured, nil
}

// dialNative calls a Dial function, which knows no context, in a goroutine
// that may outlive it.
func dialNative(ctx context.Context, dial func(network, addr string) (net.Conn, error), addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		conn, err := dial("tcp", addr)
		select {
		case done <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// loginErr judges a failed handshake. Without an answer amqp091 says that the
// credentials are bad, also where the network was cut.
func (d *dialer) loginErr(err error, spy *silence) error {
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || e.Server || (e != amqp.ErrCredentials && e != amqp.ErrVhost) {
		d.loginLost.Store(0)
		return judged(err)
	}
	if e == amqp.ErrVhost || !spy.silent() {
		d.loginLost.Store(0)
		return errors.New("the connection was cut during the login")
	}
	err = fmt.Errorf("the broker ended the login without a word, as it does when user or password are wrong: %w", err)
	if d.loginLost.Add(1) < mostLoginsLost {
		return err
	}
	return &refusal{err}
}

// ended is ctx's error where it has ended, which is what cut off whatever was
// under way.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && !isRefusal(err) {
		return fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
	return err
}

// silence sees whether the peer ended a connection, and how long after our last
// word.
type silence struct {
	net.Conn
	mu    sync.Mutex
	spoke time.Time
	quiet bool
}

func (s *silence) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.spoke = time.Now()
	s.mu.Unlock()
	return s.Conn.Write(p)
}

func (s *silence) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if timeout, ok := errors.AsType[net.Error](err); err != nil && !errors.Is(err, net.ErrClosed) && (!ok || !timeout.Timeout()) {
		s.mu.Lock()
		s.quiet = !s.spoke.IsZero() && time.Since(s.spoke) >= loginSilence
		s.mu.Unlock()
	}
	return n, err
}

func (s *silence) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quiet
}
