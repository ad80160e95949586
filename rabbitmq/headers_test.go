package rabbitmq

import (
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// A native client reads what we publish where the documentation says.
func TestNativeReads(t *testing.T) {
	u := address(t, "create=true")
	name := channelOf(t, u)
	check(t, openPublisher(t, &Backend{}, u).Publish(soon(t), messaging.Message{
		ID: "id", Key: "key", Subject: "order.eu", Body: []byte("body"),
		Headers: messaging.Headers{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "\xff"}, {Key: "CC", Value: "x"}},
	}))
	native(t, func(ch *amqp.Channel) error {
		d, ok, err := ch.Get(name, true)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if d.MessageId != "id" || d.RoutingKey != "order.eu" || string(d.Body) != "body" || d.DeliveryMode != amqp.Persistent {
			t.Errorf("%+v", d)
		}
		values, _ := d.Headers["b"].([]any)
		if d.Headers["a"] != "2" || !slices.Equal(values, []any{"1", "\xff"}) || d.Headers[keyHeader] != "key" || d.Headers["CC"] != nil {
			t.Errorf("%v", d.Headers)
		}
		return nil
	})
}

// What a native client has written is received: headers of every type of AMQP,
// no id, no body. It can be settled in every way.
func TestNativeWrites(t *testing.T) {
	u := address(t, "create=true")
	name := channelOf(t, u)
	q := openQueue(t, &Backend{}, u)
	when := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	native(t, func(ch *amqp.Channel) error {
		err := ch.Publish(name, "a.b", true, false, amqp.Publishing{
			ContentType: "text/plain", UserId: "guest", Expiration: "600000", Priority: 3, Timestamp: when,
			Headers: amqp.Table{
				"array": []any{"x", int32(1), true}, "bool": true, "byte": byte(200), "bytes": []byte("\x00\xff"),
				"decimal": amqp.Decimal{Scale: 2, Value: -1234}, "double": 1.5, "empty": []any{}, "float": float32(0.25),
				"int16": int16(-7), "int32": int32(1 << 30), "int64": int64(-1 << 60), "int8": int8(-5),
				"nested": []any{amqp.Table{"k": "v"}, []any{int32(2)}}, "string": "text", "table": amqp.Table{"n": int32(1), "b": []byte("\xff")},
				"time": when, "void": nil,
			},
		})
		if err != nil {
			return err
		}
		return ch.Publish("", name, true, false, amqp.Publishing{})
	})
	want := messaging.Headers{
		{Key: "array", Value: "x"}, {Key: "array", Value: "1"}, {Key: "array", Value: "true"}, {Key: "bool", Value: "true"}, {Key: "byte", Value: "200"},
		{Key: "bytes", Value: "\x00\xff"}, {Key: "decimal", Value: "-12.34"}, {Key: "double", Value: "1.5"}, {Key: "empty", Value: "[]"}, {Key: "float", Value: "0.25"},
		{Key: "int16", Value: "-7"}, {Key: "int32", Value: "1073741824"}, {Key: "int64", Value: "-1152921504606846976"}, {Key: "int8", Value: "-5"},
		{Key: "nested", Value: `[{"k":"v"},[2]]`}, {Key: "string", Value: "text"}, {Key: "table", Value: `{"b":"/w==","n":1}`},
		{Key: "time", Value: "2024-02-29T12:00:00Z"}, {Key: "void", Value: ""},
	}
	for i, settle := range []func(*messaging.Delivery) error{
		func(d *messaging.Delivery) error { return q.Nack(soon(t), 0, d) },
		func(d *messaging.Delivery) error { return q.Nack(soon(t), 50*time.Millisecond, d) },
		func(d *messaging.Delivery) error { return q.Release(soon(t), d) },
		func(d *messaging.Delivery) error { return q.Ack(soon(t), d) },
	} {
		ds := receive(t, q, 2)
		if ds[0].Subject == "" {
			slices.Reverse(ds)
		}
		d, bare := ds[0], ds[1]
		if d.ID != "" || d.Subject != "a.b" || !slices.Equal(d.Headers, want) || len(d.Body) > 0 || !d.Published.IsZero() || d.Attempt != i+1 {
			t.Errorf("round %d: %+v", i, d)
		}
		if bare.ID != "" || bare.Subject != "" || bare.Key != "" || len(bare.Headers) != 0 || len(bare.Body) != 0 {
			t.Errorf("round %d: %+v", i, bare)
		}
		if n := d.Raw.(*Receipt).Delivery; n.ContentType != "text/plain" || n.Priority != 3 || !n.Timestamp.Equal(when) {
			t.Errorf("round %d: %+v", i, n)
		}
		check(t, settle(d))
		check(t, settle(bare))
	}
	nothing(t, q, 200*time.Millisecond)
}

// Notes of dead-lettering that somebody else caused stay; ours do not show.
func TestDeathsOfOthers(t *testing.T) {
	u := address(t, "create=true")
	name := channelOf(t, u)
	q := openQueue(t, &Backend{}, u)
	native(t, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name+"-dying", true, false, false, false, amqp.Table{
			"x-message-ttl": int32(1), "x-dead-letter-exchange": name, "x-dead-letter-routing-key": "dead.one", "x-expires": int32(60000),
		})
		if err != nil {
			return err
		}
		return ch.Publish("", name+"-dying", true, false, amqp.Publishing{MessageId: "m", Headers: amqp.Table{"h": "1"}})
	})
	first := receive(t, q, 1)[0]
	if first.Subject != "dead.one" || first.Headers.Get("h") != "1" || !strings.Contains(first.Headers.Get("x-death"), name+"-dying") {
		t.Errorf("%+v", first)
	}
	check(t, q.Nack(soon(t), 50*time.Millisecond, first))
	again := receive(t, q, 1)[0]
	if !slices.Equal(first.Headers, again.Headers) || again.Subject != first.Subject || again.Attempt != 2 {
		t.Errorf("%+v, was %+v", again, first)
	}
}

// Without an exchange a queue is published to directly, and the subject travels
// in a header.
func TestDefaultExchange(t *testing.T) {
	u := address(t, "create=true")
	u = strings.Replace(u, "exchange="+channelOf(t, u)+"&", "", 1)
	p, q := openPublisher(t, &Backend{}, u), openQueue(t, &Backend{}, u)
	m := messaging.Message{ID: "id", Key: "k", Subject: "order.eu", Body: []byte("b"), Headers: messaging.Headers{{Key: "h", Value: "v"}}}
	check(t, p.Publish(soon(t), m))
	for i := range 3 {
		d := receive(t, q, 1)[0]
		same(t, d, m, i > 0)
		check(t, q.Nack(soon(t), time.Duration(i)*50*time.Millisecond, d))
	}
}

func TestHeadersRoundTrip(t *testing.T) {
	d := &dialer{}
	long := strings.Repeat("k", 300)
	for _, hs := range []messaging.Headers{
		nil,
		{{Key: "", Value: ""}},
		{{Key: "a", Value: "1"}},
		{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}},
		{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}},
		{{Key: "a", Value: "1"}, {Key: "a", Value: "1"}, {Key: "b", Value: ""}},
		{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}, {Key: "a", Value: "3"}},
		{{Key: "CC", Value: "1"}, {Key: "x-death", Value: "2"}, {Key: keyHeader, Value: "3"}, {Key: orderHeader, Value: "4"}, {Key: delayHeader, Value: "5"}},
		{{Key: long, Value: "1"}, {Key: "a", Value: "\xff\x00"}, {Key: long, Value: "2"}},
		{{Key: "messaging-reason", Value: "why"}, {Key: "messaging-attempts", Value: "3"}},
	} {
		for _, key := range []string{"", "key"} {
			m := messaging.Message{Key: key, Headers: hs}
			table, err := (&options{dialer: d, envelope: true}).table(&m, false)
			check(t, err)
			if err := table.Validate(); err != nil {
				t.Errorf("%v: %v", hs, err)
			}
			var got messaging.Message
			read(table, &got)
			if !slices.Equal(got.Headers, hs) || got.Key != key {
				t.Errorf("%v became %v", m, got)
			}
		}
	}
}

// Somebody on the way who adds an entry, or takes one out, disturbs nothing
// else.
func TestHeadersChangedOnTheWay(t *testing.T) {
	m := messaging.Message{Headers: messaging.Headers{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}}}
	table, err := (&options{dialer: &dialer{}, envelope: true}).table(&m, false)
	check(t, err)
	table["x-received-from"] = []any{amqp.Table{"uri": "other"}}
	delete(table, "a")
	var got messaging.Message
	read(table, &got)
	if want := (messaging.Headers{{Key: "b", Value: "1"}, {Key: "b", Value: "3"}, {Key: "x-received-from", Value: `[{"uri":"other"}]`}}); !slices.Equal(got.Headers, want) {
		t.Errorf("%v, want %v", got.Headers, want)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("a", "1", "b", "2", "a", "3", "key")
	f.Add("CC", "", "", "\xff", "CC", "x", "")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, k3, v3, key string) {
		m := messaging.Message{Key: key, Headers: messaging.Headers{{Key: k1, Value: v1}, {Key: k2, Value: v2}, {Key: k3, Value: v3}}}
		table, err := (&options{dialer: &dialer{}, envelope: true}).table(&m, false)
		check(t, err)
		var got messaging.Message
		read(table, &got)
		if !slices.Equal(got.Headers, m.Headers) || got.Key != key {
			t.Errorf("%q became %q", m, got)
		}
	})
}
