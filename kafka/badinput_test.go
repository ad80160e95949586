package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/fa5182d2/messaging"
)

// Both ways to open fail in the same way, at once, and say what to do.
func wantOpenError(t *testing.T, b *Backend, rawURL string, is error, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	u := must(url.Parse(rawURL))
	start := time.Now()
	p, err := b.OpenPublisher(ctx, u)
	if err == nil {
		p.Close()
	}
	wantError(t, err, is, says...)
	s, err := b.OpenStream(ctx, u)
	if err == nil {
		s.Close()
	}
	wantError(t, err, is, says...)
	if took := time.Since(start); took > 2*dialTimeout+time.Second {
		t.Errorf("%s: told after %v", rawURL, took)
	}
	for _, secret := range []string{"s3cret", "wrong-one"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

func TestWrongPorts(t *testing.T) {
	listen := func(serve func(net.Conn)) string {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
				c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-done })
		return "kafka://" + l.Addr().String() + "/orders"
	}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	b := &Backend{}
	wantOpenError(t, b, strings.Replace(web.URL, "http", "kafka", 1)+"/orders", nil, "port of a Kafka broker") // it waits for a line's end
	wantOpenError(t, b, strings.Replace(secure.URL, "https", "kafka", 1)+"/orders", nil, "TLS")
	wantOpenError(t, b, strings.Replace(web.URL, "http", "kafka", 1)+"/orders?tls=true", nil, "without TLS")
	wantOpenError(t, b, listen(func(c net.Conn) {}), nil, "port of a Kafka broker")
	wantOpenError(t, b, listen(func(c net.Conn) { c.Write(bytes.Repeat([]byte{0, 0, 0, 40}, 20)) }), nil, "Kafka broker")
	gone := must(net.Listen("tcp", "127.0.0.1:0"))
	gone.Close()
	wantOpenError(t, b, "kafka://"+gone.Addr().String()+"/orders", nil, "connection refused")
}

// One of several brokers is enough.
func TestSeeds(t *testing.T) {
	tt := newTopic(t, 1)
	gone := must(net.Listen("tcp", "127.0.0.1:0"))
	gone.Close()
	u := must(url.Parse("kafka://" + gone.Addr().String() + "/" + tt.name + "?seed=" + tt.address()))
	p, err := tt.b.OpenPublisher(tt.ctx, u)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestBadURLs(t *testing.T) {
	for raw, says := range map[string]string{
		"kafka:///orders":                            "names no broker",
		"kafka://h:9092":                             "bad topic",
		"kafka://h:9092/a/b":                         "bad topic",
		"kafka://h:9092/ünsinn":                      "bad topic",
		"kafka://h:0/orders":                         "HOST:PORT",
		"kafka://h/orders?seed=a:b":                  "HOST:PORT",
		"kafka://h/orders?groups=g":                  `unknown url parameter "groups"`,
		"kafka://h/orders?session=1ms":               "session",
		"kafka://h/orders?compression=rar":           "zstd",
		"kafka://h/orders?start=yesterday":           "RFC 3339",
		"kafka://h/orders?start=-1&partition=0":      "bad url parameter start",
		"kafka://h/orders?partition=one":             "partition",
		"kafka://h/orders?kind=queue":                "kind",
		"kafka://h/orders?sasl=plain":                "without a user",
		"kafka://h/orders?retry=sometimes":           "retry",
		"kafka://u:s3cret@h/orders?inflight=0":       "inflight",
		"kafka://u:s3cret@h/orders?sasl=kerberos":    "scram-sha-256",
		"kafka://u:s3cret@h/orders?start=x@s3cret":   "",
		"kafka://h/orders?tls=maybe&partitions=zero": "partitions",
	} {
		_, err := (&Backend{}).OpenPublisher(t.Context(), must(url.Parse(raw)))
		wantError(t, err, nil, says)
		if strings.Contains(err.Error(), "s3cret") && !strings.Contains(raw, "x@") {
			t.Errorf("the error has the password: %v", err)
		}
	}
	for raw, says := range map[string]string{
		"group=g&end=now":               "group= with end=",
		"group=g&partition=0":           "group= with partition=",
		"start=5":                       "partition=",
		"partition=0&start=5&end=4":     "before start",
		"partition=7":                   "no partition 7",
		"partition=0&start=1000":        "beyond the end",
		"group=g&session=1h":            "session=1h",
		"group=h&partition=0&start=999": "beyond the end",
	} {
		tt := newTopic(t, 1)
		s, err := tt.b.OpenStream(tt.ctx, tt.url(raw))
		if err == nil {
			s.Close()
		}
		wantError(t, err, nil, says)
	}
	if _, err := (&Backend{}).OpenStream(t.Context(), nil); err == nil {
		t.Error("a nil url is accepted")
	}
	for _, b := range []*Backend{{Timeout: -1}, {Session: 1}, {Handover: -1}, {Inflight: -1}, {Partitions: -1}, {Replication: -1}, {Compression: "rar"}, {SASL: "x"}, {Trimmed: "x"}} {
		if _, err := b.OpenPublisher(t.Context(), must(url.Parse("kafka://h/orders"))); err == nil || !strings.Contains(err.Error(), "field ") && !strings.Contains(err.Error(), "want one of") {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// A batch that is broken on its way is read again; one that stays broken is an
// error that says where, and nothing behind it is delivered.
func TestCorruptBatches(t *testing.T) {
	tt := newTopic(t, 1)
	tt.publish(messaging.Message{Body: bytes.Repeat([]byte{'x'}, 3000)})
	for _, times := range []int{1, 1 << 30} {
		left := times
		b := &Backend{Logger: slog.New(slog.DiscardHandler), Transport: &kafkago.Transport{
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				return &breaking{c, &left}, err
			},
		}}
		s := must(b.OpenStream(tt.ctx, tt.url("")))
		ds, err := s.Receive(tt.ctx, 1)
		if times == 1 && (err != nil || len(ds) != 1) {
			t.Errorf("broken once: %v", err)
		}
		if times > 1 {
			wantError(t, err, errChecksum, "partition 0", "offset 0")
		}
		s.Close()
	}
}

// breaking breaks a byte of what is read and large, as often as left says.
type breaking struct {
	net.Conn
	left *int
}

func (c *breaking) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 2000 && *c.left > 0 {
		*c.left--
		b[n-100] ^= 1
	}
	return n, err
}

// newFake starts a Kafka in this process, for what the real one would have to
// be set up for.
func newFake(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

func TestSASL(t *testing.T) {
	at := newFake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "s3cret"), kfake.Superuser("SCRAM-SHA-256", "ann", "s3cret"), kfake.Superuser("SCRAM-SHA-512", "ann", "s3cret"))
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		roundTrip(t, &Backend{}, "kafka://ann:s3cret@"+at+"/orders?sasl="+mechanism)
		roundTrip(t, &Backend{SASL: mechanism, User: "ann", Password: "s3cret"}, "kafka://"+at+"/orders?")
		wantOpenError(t, &Backend{}, "kafka://ann:wrong-one@"+at+"/orders?sasl="+mechanism, nil, "check the user and the password")
	}
	wantOpenError(t, &Backend{}, "kafka://"+at+"/orders", nil, "closed the connection")
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate
	config := server.TLS.Clone()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	server.Close()
	config.NextProtos = nil
	at := newFake(t, kfake.TLS(config))
	roundTrip(t, &Backend{TLS: &tls.Config{RootCAs: roots}}, "kafka://"+at+"/orders?")
	roundTrip(t, &Backend{Transport: &kafkago.Transport{TLS: &tls.Config{RootCAs: roots}}}, "kafka://"+at+"/orders?")
	wantOpenError(t, &Backend{}, "kafka://"+at+"/orders?tls=true", nil, "certificate")
	wantOpenError(t, &Backend{}, "kafka://"+at+"/orders", nil, "TLS")
}

// roundTrip publishes and receives a message.
func roundTrip(t *testing.T, b *Backend, rawURL string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p, err := b.OpenPublisher(ctx, must(url.Parse(rawURL)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m := messaging.Message{ID: messaging.NewID(), Body: []byte("x")}
	if err := p.Publish(ctx, m); err != nil {
		t.Fatal(err)
	}
	s, err := b.OpenStream(ctx, must(url.Parse(rawURL+"&group=g-"+messaging.NewID())))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for d, err := range messaging.Deliveries(ctx, s, 10) {
		if err != nil {
			t.Fatal(err)
		}
		if d.ID == m.ID {
			if err := s.Commit(ctx, d); err != nil {
				t.Error(err)
			}
			return
		}
	}
}

func TestNoAuthorisation(t *testing.T) {
	at := newFake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "s3cret"), kfake.User("PLAIN", "ann", "s3cret"))
	b := &Backend{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, open := range []func(*url.URL) error{
		func(u *url.URL) error { _, err := b.OpenPublisher(ctx, u); return err },
		func(u *url.URL) error { _, err := b.OpenStream(ctx, u); return err },
	} {
		err := open(must(url.Parse("kafka://ann:s3cret@" + at + "/orders?group=g")))
		if !errors.Is(err, kafkago.TopicAuthorizationFailed) && !errors.Is(err, messaging.ErrNotFound) {
			t.Errorf("without rights: %v", err)
		}
	}
}
