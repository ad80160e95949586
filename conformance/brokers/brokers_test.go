package brokers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnvironmentNamesTheSharedBrokers(t *testing.T) {
	t.Setenv(RabbitMQVariable, "amqp://there/")
	t.Setenv(KafkaVariable, "kafka://there")
	if got := RabbitMQ(t); got != "amqp://there/" {
		t.Errorf("RabbitMQ: %q", got)
	}
	if got := Kafka(t); got != "kafka://there" {
		t.Errorf("Kafka: %q", got)
	}
}

// fakeT is a test whose end is looked at.
type fakeT struct {
	testing.TB
	skipped, failed string
}

func (t *fakeT) Skip(args ...any) { t.skipped = fmt.Sprint(args...); panic(t) }

func (t *fakeT) Fatal(args ...any) { t.failed = fmt.Sprint(args...); panic(t) }

func (t *fakeT) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

func (t *fakeT) run(f func(testing.TB)) {
	defer func() {
		if r := recover(); r != nil && r != any(t) {
			panic(r)
		}
	}()
	f(t)
}

func TestWithoutABrokerATestIsSkippedOrFails(t *testing.T) {
	t.Setenv(RabbitMQVariable, "")
	t.Setenv(WayVariable, "neither") // as on a machine that has neither way
	for require, want := range map[string]func(*fakeT) string{
		"":  func(f *fakeT) string { return f.skipped },
		"1": func(f *fakeT) string { return f.failed },
	} {
		t.Setenv(RequireVariable, require)
		for _, get := range []func(testing.TB){
			func(t testing.TB) { RabbitMQ(t) }, func(t testing.TB) { OwnRabbitMQ(t, 1) },
		} {
			f := &fakeT{TB: t}
			f.run(get)
			said := want(f)
			for _, part := range []string{RabbitMQVariable, "conformance/brokers/run -- go test", "rabbitmq-server"} {
				if !strings.Contains(said, part) {
					t.Errorf("%s=%q: skipped %q, failed %q: want %q in it", RequireVariable, require, f.skipped, f.failed, part)
				}
			}
		}
	}
}

func TestRabbitMQKeepsItsDataOverAKill(t *testing.T) {
	b := OwnRabbitMQ(t, 1)
	n := b.Nodes[0]
	publish(t, n.URL(), "kept", "classic")
	restart(t, n)
	if got := get(t, n.URL(), "kept"); got != "hello" {
		t.Errorf("after a kill and a start there is %q in the queue, want hello", got)
	}
	pausedIsSilent(t, n, func() error {
		c, err := amqp.DialConfig(n.URL(), amqp.Config{Dial: amqp.DefaultDial(time.Second)})
		if err == nil {
			c.Close()
		}
		return err
	})
	if out, err := n.Tool(t.Context(), "list_queues", "--no-table-headers", "name"); err != nil || strings.TrimSpace(out) != "kept" {
		t.Errorf("rabbitmqctl list_queues: %q, %v", out, err)
	}
	if _, err := n.Tool(t.Context(), "no_such_command"); err == nil {
		t.Error("rabbitmqctl no_such_command: no error")
	}
}

func TestRabbitMQClusterGoesOnWithoutALeader(t *testing.T) {
	b := OwnRabbitMQ(t, 3)
	publish(t, b.URL(), "orders", "quorum")
	leader, err := b.Leader(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := b.Nodes[0]
	if next == leader {
		next = b.Nodes[1]
	}
	if got := get(t, next.URL(), "orders"); got != "hello" {
		t.Errorf("without the leader's node there is %q in the queue, want hello", got)
	}
	if err := leader.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := b.Leader(t.Context(), "orders"); err != nil || now == leader {
		t.Errorf("the leader is %v, %v: want one of the others", now, err)
	}
}

func restart(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", n.Address); err == nil {
		c.Close()
		t.Fatalf("something answers on %s although it was killed", n.Address)
	}
	if err := n.Kill(t.Context()); err == nil {
		t.Error("a second Kill: no error")
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err == nil {
		t.Error("a second Start: no error")
	}
}

// pausedIsSilent checks that a paused node takes connections and does not
// answer, and that it does when it goes on.
func pausedIsSilent(t *testing.T, n *Node, handshake func() error) {
	t.Helper()
	if err := n.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := handshake(); err == nil {
		t.Error("a paused node answers")
	} else if !strings.Contains(err.Error(), "timeout") && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a handshake with a paused node: %v, want a time-out", err) // amqp091 keeps of it only the text
	}
	if err := n.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := handshake(); err != nil {
		t.Errorf("a handshake after Resume: %v", err)
	}
}

func channel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	c, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// publish puts hello into a new queue.
func publish(t *testing.T, url, queue, kind string) {
	t.Helper()
	ch := channel(t, url)
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	d, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := d.WaitContext(t.Context()); !ok || err != nil {
		t.Fatalf("confirm: %v, %v", ok, err)
	}
}

// get waits for a message of a queue: its leader may be elected only now.
func get(t *testing.T, url, queue string) string {
	t.Helper()
	deliveries, err := channel(t, url).ConsumeWithContext(t.Context(), queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-deliveries:
		return string(d.Body)
	case <-time.After(30 * time.Second):
		return "nothing within 30 s"
	}
}

func TestKafkaKeepsItsDataOverAKill(t *testing.T) {
	n := OwnKafka(t, 1).Nodes[0]
	topic(t, n, 1)
	write(t, n, "hello")
	restart(t, n)
	if got := read(t, n); got != "hello" {
		t.Errorf("after a kill and a start the topic has %q, want hello", got)
	}
	pausedIsSilent(t, n, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := kafkago.DialContext(ctx, "tcp", n.Address)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		_, err = c.ApiVersions()
		return err
	})
	out, err := n.Tool(t.Context(), "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", n.Address,
		"--topic", "orders", "--from-beginning", "--max-messages", "1")
	if err != nil || !strings.Contains(out, "hello") {
		t.Errorf("the console consumer: %q, %v", out, err)
	}
}

func TestKafkaClusterGoesOnWithoutALeader(t *testing.T) {
	b := OwnKafka(t, 3)
	topic(t, b.Nodes[0], 3)
	write(t, b.Nodes[0], "hello")
	p := partition(t, b.Nodes[0])
	var leader, other *Node
	for _, n := range b.Nodes {
		if n.Address == net.JoinHostPort(p.Leader.Host, fmt.Sprint(p.Leader.Port)) {
			leader = n
		} else {
			other = n
		}
	}
	if err := leader.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for p.Leader.ID == partition(t, other).Leader.ID {
		if time.Now().After(deadline) {
			t.Fatal("the leader of the partition is still the killed server")
		}
	}
	if got := read(t, other); got != "hello" {
		t.Errorf("without the leader the topic has %q, want hello", got)
	}
	if err := leader.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func kafkaConn(t *testing.T, n *Node) *kafkago.Conn {
	t.Helper()
	c, err := kafkago.DialContext(t.Context(), "tcp", n.Address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func partition(t *testing.T, n *Node) kafkago.Partition {
	t.Helper()
	c := kafkaConn(t, n)
	defer c.Close()
	ps, err := c.ReadPartitions("orders")
	if err != nil || len(ps) != 1 {
		t.Fatalf("partitions: %v, %v", ps, err)
	}
	return ps[0]
}

func topic(t *testing.T, n *Node, replicas int) {
	t.Helper()
	client := &kafkago.Client{Addr: kafkago.TCP(n.Address), Transport: &kafkago.Transport{}}
	defer client.Transport.(*kafkago.Transport).CloseIdleConnections()
	res, err := client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: "orders", NumPartitions: 1, ReplicationFactor: replicas},
	}})
	if err == nil {
		err = res.Errors["orders"]
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, n *Node, value string) {
	t.Helper()
	w := &kafkago.Writer{Addr: kafkago.TCP(n.Address), Topic: "orders", RequiredAcks: kafkago.RequireAll, BatchSize: 1, Transport: &kafkago.Transport{}}
	err := w.WriteMessages(t.Context(), kafkago.Message{Value: []byte(value)})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	w.Transport.(*kafkago.Transport).CloseIdleConnections()
}

func read(t *testing.T, n *Node) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{n.Address}, Topic: "orders", Partition: 0})
	defer r.Close()
	m, err := r.ReadMessage(ctx)
	if err != nil && err != io.EOF {
		return err.Error()
	}
	return string(m.Value)
}
