package kafka

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging"
)

// tool runs one of Kafka's own programs, of the jars that conformance/brokers
// installs.
func (tt *topic) tool(stdin, class string, args ...string) string {
	tt.t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tt.t.Skip(err)
	}
	jars := filepath.Join(cache, "messaging-brokers", "kafka-4.1.0")
	if found, _ := filepath.Glob(filepath.Join(jars, "kafka-tools-*.jar")); len(found) == 0 {
		message := "Kafka's tools are not installed: go run ./conformance/brokers/run -- go test ./kafka does it"
		if os.Getenv("MESSAGING_REQUIRE_BROKERS") == "1" {
			tt.t.Fatal(message)
		}
		tt.t.Skip(message)
	}
	cmd := exec.CommandContext(tt.ctx, "java", append([]string{
		"-Xmx128m", "-Dorg.apache.logging.log4j.level=ERROR", "-cp", filepath.Join(jars, "*"), class,
		"--bootstrap-server", tt.address(), "--topic", tt.name,
	}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tt.t.Fatalf("%s: %v\n%s\n%s", class, err, out, stderr.String())
	}
	return string(out)
}

// What Kafka's console producer writes is read, and its console consumer reads
// what we write: bodies, keys, headers, and the id in its header.
func TestConsole(t *testing.T) {
	tt := newTopic(t, 1)
	tt.tool("h1:v1,h1:v2\tkey one\tbody one\nh2:\tkey two\tbody two\n", "org.apache.kafka.tools.ConsoleProducer",
		"--property", "parse.key=true", "--property", "parse.headers=true")
	ds := tt.receive(tt.stream("group=g"), 2)
	if d := ds[0]; d.Key != "key one" || string(d.Body) != "body one" || len(d.Headers) != 2 || d.Headers[1] != (messaging.Header{Key: "h1", Value: "v2"}) {
		t.Errorf("%+v", d.Message)
	}
	if d := ds[1]; d.ID != tt.name+"/0/1" || d.Key != "key two" || len(d.Headers) != 1 || d.Headers[0].Value != "" || d.Subject != "" {
		t.Errorf("%+v", d.Message)
	}
	tt.publish(messaging.Message{ID: "id-3", Key: "key three", Subject: "a.b", Headers: messaging.Headers{{Key: "h", Value: "v"}}, Body: []byte("body three")})
	out := tt.tool("", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--offset", "2", "--partition", "0", "--max-messages", "1",
		"--property", "print.key=true", "--property", "print.headers=true", "--timeout-ms", "20000")
	if want := "messaging-id:id-3,messaging-subject:a.b,h:v\tkey three\tbody three"; strings.TrimSpace(out) != want {
		t.Errorf("the console consumer says %q, want %q", out, want)
	}
}

// Records of a native client: no key, an empty key, no value, duplicate
// headers, bytes that are not UTF-8. The id is the same on each delivery.
func TestNativeRecords(t *testing.T) {
	tt := newTopic(t, 1)
	w := &kafkago.Writer{Addr: kafkago.TCP(tt.address()), Topic: tt.name, BatchSize: 1, RequiredAcks: kafkago.RequireAll, Transport: &kafkago.Transport{}}
	defer w.Transport.(*kafkago.Transport).CloseIdleConnections()
	defer w.Close()
	err := w.WriteMessages(tt.ctx,
		kafkago.Message{Value: []byte("no key")},
		kafkago.Message{Key: []byte("tombstone")},
		kafkago.Message{Key: []byte("\xff"), Value: []byte("\xfe"), Headers: []kafkago.Header{{Key: "a", Value: []byte("1")}, {Key: "b", Value: nil}, {Key: "a", Value: []byte("\xff")}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	s := tt.stream("group=g")
	ds := tt.receive(s, 3)
	if ds[0].Key != "" || !ds[0].Raw.(*Record).NullKey || ds[1].Body != nil || ds[2].Key != "\xff" || string(ds[2].Body) != "\xfe" {
		t.Errorf("%+v, %+v, %+v", ds[0].Message, ds[1].Message, ds[2].Message)
	}
	if h := ds[2].Headers; len(h) != 3 || h[0].Value != "1" || h[1].Value != "" || h[2].Value != "\xff" {
		t.Errorf("headers %q", h)
	}
	if err := s.Release(tt.ctx, ds[0]); err != nil {
		t.Fatal(err)
	}
	for i, d := range tt.receive(s, 3) {
		if d.ID != ds[i].ID || d.ID == "" {
			t.Errorf("the id of %d was %q and is %q", i, ds[i].ID, d.ID)
		}
	}
}

// What a transaction aborted is not delivered, its markers are not either, and
// a tail of markers does not hold up the cursor.
func TestTransactions(t *testing.T) {
	tt := newTopic(t, 1)
	client, end := admin(tt.address())
	defer end()
	txn := "txn-" + tt.name
	var producer *kafkago.ProducerSession
	for try := 1; producer == nil; try++ {
		r, err := client.InitProducerID(tt.ctx, &kafkago.InitProducerIDRequest{TransactionalID: txn, TransactionTimeoutMs: 10000, ProducerID: -1, ProducerEpoch: -1})
		if err == nil && r.Error == nil {
			producer = r.Producer
		} else {
			pause(tt.ctx, t, backoff(try))
		}
	}
	c := newCluster(must(tt.b.parse(tt.url(""))))
	defer c.close()
	if err := c.find(tt.ctx); err != nil {
		t.Fatal(err)
	}
	sequence := int32(0)
	for i, commit := range []bool{true, false, true, false} {
		for try := 1; ; try++ { // the markers of the one before may be on their way
			r, err := client.AddPartitionsToTxn(tt.ctx, &kafkago.AddPartitionsToTxnRequest{
				TransactionalID: txn, ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch,
				Topics: map[string][]kafkago.AddPartitionToTxn{tt.name: {{Partition: 0}}},
			})
			if err == nil && r.Topics[tt.name][0].Error == nil {
				break
			}
			pause(tt.ctx, t, backoff(try))
		}
		b := newBatch()
		for _, m := range numbered(10*i, 3, "k") {
			b.add(&m, []byte(messaging.NewID()), time.Now())
		}
		if err := b.stamp(identity{int64(producer.ProducerID), int16(producer.ProducerEpoch), sequence}, new(packer)); err != nil {
			t.Fatal(err)
		}
		sequence += 3
		produceInTransaction(tt.ctx, t, c, txn, b)
		r, err := client.EndTxn(tt.ctx, &kafkago.EndTxnRequest{TransactionalID: txn, ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, Committed: commit})
		if err != nil || r.Error != nil {
			t.Fatal(err, r)
		}
	}
	s := tt.stream("group=g")
	ds := tt.receive(s, 6)
	if got := strings.Join(bodies(ds), " "); got != "0 1 2 20 21 22" {
		t.Errorf("delivered: %s", got)
	}
	if got := tt.rest(""); len(got) != 6 { // ends although the log ends in markers
		t.Errorf("replayed: %v", got)
	}
}
