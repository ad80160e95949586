package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/fa5182d2/messaging"
)

// What happens to subscribers, connections and topics in tests.

// crash ends a subscriber as a killed process would: its sockets are
// abandoned, and the group does not hear of it.
func crash(sub messaging.Subscriber) error {
	s := sub.(*stream)
	s.mu.Lock()
	if s.m != nil {
		s.m.id = ""
	}
	s.mu.Unlock()
	s.c.close()
	return s.Close()
}

// gate lets no byte of its connections through while it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens again; nil: it is open
}

func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	g.shut = shut
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.shut = nil
		g.mu.Unlock()
		close(shut)
	})
}

func (g *gate) wait() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// lossy loses replies: the request arrives, the answer does not, and the
// connection ends.
type lossy struct {
	mu   sync.Mutex
	on   bool
	hits int
}

func (l *lossy) begin() (heal func() int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.hits = true, 0
	return func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.on = false
		return l.hits
	}
}

func (l *lossy) hit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on || rand.IntN(15) > 0 {
		return false
	}
	l.hits++
	return true
}

// faultyConn is a connection behind a gate that may lose replies.
type faultyConn struct {
	net.Conn
	g *gate
	l *lossy
}

func (c *faultyConn) Write(b []byte) (int, error) {
	c.g.wait()
	return c.Conn.Write(b)
}

func (c *faultyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.g.wait()
	if err == nil && c.l.hit() {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// faulty is a Backend whose subscribers can be frozen, and whose connections
// can lose replies.
type faulty struct {
	Backend
	lossy lossy
	gates sync.Map // by subscriber
}

func (f *faulty) behind(g *gate) *Backend {
	b := f.Backend
	b.Transport = &kafkago.Transport{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		g.wait()
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &faultyConn{conn, g, &f.lossy}, nil
	}}
	return &b
}

func (f *faulty) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	return f.behind(new(gate)).OpenPublisher(ctx, u)
}

func (f *faulty) OpenStream(ctx context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	g := new(gate)
	s, err := f.behind(g).OpenStream(ctx, u)
	if err == nil {
		f.gates.Store(s, g)
	}
	return s, err
}

func (f *faulty) freeze(s messaging.Subscriber) (thaw func(), err error) {
	g, ok := f.gates.Load(s)
	if !ok {
		return nil, errors.New("not one of ours")
	}
	return g.(*gate).close(), nil
}

// admin is a client for what only tests do.
func admin(address string) (_ *kafkago.Client, end func()) {
	t := &kafkago.Transport{}
	return &kafkago.Client{Addr: kafkago.TCP(address), Timeout: 10 * time.Second, Transport: t}, t.CloseIdleConnections
}

// deleteTopic deletes a topic, and returns when it is gone.
func deleteTopic(ctx context.Context, address, topic string) error {
	client, end := admin(address)
	defer end()
	r, err := client.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil || r.Errors[topic] != nil {
		return errors.Join(err, r.Errors[topic])
	}
	// The answer is the controller's: the brokers hear of it a little later.
	c := newCluster(&options{topic: topic, seeds: []string{address}})
	defer c.close()
	for try := 1; ; try++ {
		if err := c.refresh(ctx, time.Now()); err != nil || isMissing(c.layout().code) {
			return err
		}
		if err := c.wait(ctx, backoff(try)); err != nil {
			return err
		}
	}
}

// addPartitions adds partitions to a topic.
func addPartitions(ctx context.Context, address, topic string, n int) error {
	o := &options{topic: topic, seeds: []string{address}}
	c := newCluster(o)
	defer c.close()
	if err := c.refresh(ctx, time.Now()); err != nil {
		return err
	}
	client, end := admin(address)
	defer end()
	r, err := client.CreatePartitions(ctx, &kafkago.CreatePartitionsRequest{
		Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: int32(len(c.layout().leaders) + n)}},
	})
	if err != nil {
		return err
	}
	return r.Errors[topic]
}

// trim removes what a partition has before an offset (DeleteRecords, which
// kafka-go does not have).
func trim(ctx context.Context, address, topic string, partition int32, before int64) error {
	d := dialer{clientID: "test"}
	conn, err := d.open(ctx, -1, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var e encoder
	conn.correlation++
	e.begin(int16(protocol.DeleteRecords), 1, conn.correlation, "test")
	e.int32(1)
	e.string(topic)
	e.int32(1)
	e.int32(partition)
	e.int64(before)
	e.int32(5000)
	e.end(0)
	if _, err := conn.Write(e); err != nil {
		return err
	}
	frame, err := conn.frame(nil, 1<<20)
	if err != nil {
		return err
	}
	return codeError(int16(binary.BigEndian.Uint16(frame[len(frame)-2:])))
}

// produceInTransaction sends a batch as part of a transaction.
func produceInTransaction(ctx context.Context, t *testing.T, c *cluster, txn string, b *batch) {
	t.Helper()
	b.wire[atAttributes+1] |= attrTransactional
	h := encoder(b.wire)
	binary.BigEndian.PutUint32(h[atCRC:], crc32.Checksum(b.wire[atAttributes:], castagnoli))
	conn := must(c.dialBroker(ctx, c.layout().leader(0)))
	defer c.drop(conn)
	var e encoder
	conn.correlation++
	e.begin(int16(protocol.Produce), produceVersion, conn.correlation, "test")
	e.string(txn)
	e.int16(-1)
	e.int32(5000)
	e.int32(1)
	e.string(c.o.topic)
	e.int32(1)
	e.int32(0)
	e.int32(int32(len(b.wire)))
	e = append(e, b.wire...)
	e.end(0)
	if _, err := conn.Write(e); err != nil {
		t.Fatal(err)
	}
	s := sender{conn: conn}
	s.in = must(conn.frame(nil, 1<<20))
	if code, ok := s.codeOf(0); !ok || code != 0 {
		t.Fatal(codeError(code))
	}
}
