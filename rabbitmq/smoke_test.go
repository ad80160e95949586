package rabbitmq

import (
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestSmoke(t *testing.T) {
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			u := address(t, "create=true&type="+kind)
			b := &Backend{}
			p, q := openPublisher(t, b, u), openQueue(t, b, u)
			check(t, p.Publish(soon(t), messaging.Message{Body: []byte("a"), Key: "k", Subject: "x.y", Headers: messaging.Headers{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}, {Key: "CC", Value: "z"}}}, messaging.Message{}))
			ds := receive(t, q, 2)
			t.Logf("%+v", ds[0])
			check(t, q.Ack(soon(t), ds[1]))
			check(t, q.Nack(soon(t), 0, ds[0]))
			ds = receive(t, q, 1)
			t.Logf("%+v", ds[0])
			at := time.Now()
			check(t, q.Nack(soon(t), 300*time.Millisecond, ds[0]))
			t.Log("nacked", time.Since(at))
			ds = receive(t, q, 1)
			t.Logf("%v %+v", time.Since(at), ds[0])
			at = time.Now()
			check(t, q.Nack(soon(t), 300*time.Millisecond, ds[0]))
			t.Log("nacked", time.Since(at))
			ds = receive(t, q, 1)
			t.Logf("%v %+v", time.Since(at), ds[0])
			check(t, q.Release(soon(t), ds[0]))
			ds = receive(t, q, 1)
			t.Logf("%v %+v", time.Since(at), ds[0])
			check(t, q.Ack(soon(t), ds[0]))
			nothing(t, q, 300*time.Millisecond)
		})
	}
}
