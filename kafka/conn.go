package kafka

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// dialer is how to connect to a broker.
type dialer struct {
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	timeout  time.Duration
	tls      *tls.Config
	sasl     sasl.Mechanism
	resolver kafkago.BrokerResolver
	clientID string
}

const (
	// dialTimeout bounds a connection with its handshakes, as kafka-go's does.
	dialTimeout = 5 * time.Second

	// requestTimeout bounds an answer that needs no waiting. A connection whose
	// answer does not come by then is given up.
	requestTimeout = 5 * time.Second

	// mostResponse is the largest response that is read: above what the broker
	// was asked for by the largest single batch that it may hold.
	mostResponse = 1 << 30

	// mostGreeting is the largest response during the handshakes.
	mostGreeting = 1 << 20
)

// conn is a connection to one broker, with one request under way at a time.
// Only its owner uses it, but anybody may close its socket.
type conn struct {
	net.Conn
	r           *bufio.Reader
	clientID    string
	most        [protocol.AlterUserScramCredentials + 1]int16 // highest versions of the broker, by API
	correlation int32
}

// open connects to a broker, with all handshakes. id is below 0 for a seed.
func (d *dialer) open(ctx context.Context, id int32, addr string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.timeout, dialTimeout))
	defer cancel()
	nc, err := d.connect(ctx, id, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 64<<10), clientID: d.clientID}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = c.greet(ctx, d, addr)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return c, nil
}

// connect makes the connection itself.
func (d *dialer) connect(ctx context.Context, id int32, addr string) (net.Conn, error) {
	dial := d.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	addrs := []string{addr}
	if d.resolver != nil {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("bad address %q: %w", addr, err)
		}
		n, _ := strconv.Atoi(port)
		ips, err := d.resolver.LookupBrokerIPAddr(ctx, kafkago.Broker{Host: host, Port: n, ID: int(id)})
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", addr, err)
		}
		addrs = addrs[:0]
		for _, ip := range ips {
			addrs = append(addrs, net.JoinHostPort(ip.String(), port))
		}
	}
	var nc net.Conn
	err := fmt.Errorf("resolve %s: no address", addr)
	for _, a := range addrs {
		if nc, err = dial(ctx, "tcp", a); err == nil {
			return nc, nil
		}
	}
	return nil, err
}

// greet does what comes before the first request: TLS, versions, SASL.
func (c *conn) greet(ctx context.Context, d *dialer, addr string) error {
	deadline, _ := ctx.Deadline()
	if d.tls != nil {
		if err := c.encrypt(ctx, d.tls, addr); err != nil {
			return err
		}
	}
	if err := c.negotiate(deadline); err != nil {
		return err
	}
	if d.sasl == nil {
		return nil
	}
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return c.authenticate(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: n}), d.sasl)
}

func (c *conn) encrypt(ctx context.Context, config *tls.Config, addr string) error {
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	t := tls.Client(c.Conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: is it a listener without TLS?", err)
		}
		return fmt.Errorf("tls handshake: %w", err)
	}
	c.Conn = t
	c.r.Reset(t)
	return nil
}

// negotiate asks for the versions that the broker has. Version 0 of the
// question is understood by all.
func (c *conn) negotiate(deadline time.Time) error {
	_ = c.SetDeadline(deadline)
	if err := c.send(new(apiversions.Request), 0); err != nil {
		return hung(err, "the first request")
	}
	head, err := c.r.Peek(4)
	if err != nil {
		return fmt.Errorf("%w; is it the port of a Kafka broker, does it want TLS?", hung(err, "the first request"))
	}
	if binary.BigEndian.Uint32(head) > mostGreeting {
		return notKafka(head)
	}
	m, err := c.receive(protocol.ApiVersions, 0, mostGreeting)
	if err != nil {
		return fmt.Errorf("%w (%w)", notKafka(head), err)
	}
	versions := m.(*apiversions.Response)
	if err := codeError(versions.ErrorCode); err != nil {
		return err
	}
	for i := range c.most {
		c.most[i] = -1
	}
	for _, k := range versions.ApiKeys {
		if k.ApiKey >= 0 && int(k.ApiKey) < len(c.most) {
			c.most[k.ApiKey] = k.MaxVersion
		}
	}
	_ = c.SetDeadline(time.Time{})
	return nil
}

// authenticate logs in by SASL.
func (c *conn) authenticate(ctx context.Context, m sasl.Mechanism) error {
	deadline, _ := ctx.Deadline()
	r, err := c.call(deadline, &saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return hung(err, "the SASL handshake")
	}
	if shake := r.(*saslhandshake.Response); shake.ErrorCode != 0 {
		return fmt.Errorf("%w; it has: %s", codeError(shake.ErrorCode), strings.Join(shake.Mechanisms, ", "))
	}
	session, out, err := m.Start(ctx)
	for done := false; err == nil && !done; {
		if r, err = c.call(deadline, &saslauthenticate.Request{AuthBytes: out}); err != nil {
			// Some end the connection instead of an answer.
			return fmt.Errorf("%w: check the user and the password", hung(err, "the SASL login"))
		}
		answer := r.(*saslauthenticate.Response)
		if answer.ErrorCode != 0 {
			return codeError(answer.ErrorCode) // its text is for the broker's operator
		}
		done, out, err = session.Next(ctx, answer.AuthBytes)
	}
	if err != nil {
		return fmt.Errorf("SASL login: %w", kafkago.SASLAuthenticationFailed)
	}
	return nil
}

// version is what both sides have of an API, of which ours is most.
func (c *conn) version(key protocol.ApiKey, most int16) int16 { return min(c.most[key], most) }

// mostVersion is the highest version of kafka-go's messages that is used. Those
// above have tagged fields, which not all of its messages get right, and, from
// version 1 on, its heartbeat reads the throttle time for the error.
func mostVersion(key protocol.ApiKey) int16 {
	switch key {
	case protocol.JoinGroup:
		return 5
	case protocol.CreateTopics:
		return 4
	case protocol.Heartbeat:
		return 0
	case protocol.InitProducerId, protocol.SaslAuthenticate:
		return 1
	case protocol.FindCoordinator:
		return 2
	case protocol.SyncGroup, protocol.LeaveGroup, protocol.DescribeConfigs:
		return 3
	}
	return key.MaxVersion()
}

// call sends a request and returns the response. After an error the connection
// is of no use.
func (c *conn) call(deadline time.Time, m protocol.Message) (protocol.Message, error) {
	version := c.version(m.ApiKey(), mostVersion(m.ApiKey()))
	if version < 0 {
		return nil, fmt.Errorf("the broker has no %v requests: %w", m.ApiKey(), kafkago.UnsupportedVersion)
	}
	_ = c.SetDeadline(deadline)
	if err := c.send(m, version); err != nil {
		return nil, err
	}
	return c.receive(m.ApiKey(), version, mostResponse)
}

func (c *conn) send(m protocol.Message, version int16) error {
	if p, ok := m.(protocol.PreparedMessage); ok {
		p.Prepare(version)
	}
	c.correlation++
	var buf bytes.Buffer
	if err := protocol.WriteRequest(&buf, version, c.correlation, c.clientID, m); err != nil {
		return err
	}
	_, err := c.Write(buf.Bytes())
	return err
}

// receive reads a response with kafka-go's decoder, which is given no more than
// the frame, and which may panic on what is malformed.
func (c *conn) receive(key protocol.ApiKey, version int16, most int) (m protocol.Message, err error) {
	frame, err := c.frame(nil, most)
	if err != nil {
		return nil, err
	}
	whole := binary.BigEndian.AppendUint32(nil, uint32(len(frame)+4))
	whole = binary.BigEndian.AppendUint32(whole, uint32(c.correlation))
	whole = append(whole, frame...)
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("%v response: %w", key, errMalformed)
		}
	}()
	_, m, err = protocol.ReadResponse(bytes.NewReader(whole), key, version)
	return m, err
}

// frame reads one response into buf, or into a larger one, without its size and
// correlation id.
func (c *conn) frame(buf []byte, most int) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || size > most {
		return nil, fmt.Errorf("a response of %d bytes: %w", size, errMalformed)
	}
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != c.correlation {
		return nil, fmt.Errorf("a response to request %d, after request %d: %w", id, c.correlation, errMalformed)
	}
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	_, err := io.ReadFull(c.r, buf)
	return buf, err
}
