package rabbitmq

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// opening tries both ways of opening and returns their errors.
func opening(t *testing.T, b *Backend, raw string) []error {
	t.Helper()
	p, perr := b.OpenPublisher(soon(t), parsed(t, raw))
	if perr == nil {
		_ = p.Close()
	}
	q, qerr := b.OpenQueue(soon(t), parsed(t, raw))
	if qerr == nil {
		_ = q.Close()
	}
	return []error{perr, qerr}
}

// with returns the broker's URL with another user, host or vhost.
func with(t *testing.T, change func(*url.URL)) string {
	u := parsed(t, broker(t))
	u.RawQuery = "exchange=e&queue=q"
	change(u)
	return u.String()
}

// What is wrong is said at once, clearly, and without the password.
func TestOpenRefused(t *testing.T) {
	const password = "s3cret"
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	check(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	closed := nobody.Addr().String()
	check(t, nobody.Close())
	for name, tt := range map[string]struct {
		url    string
		want   error
		says   string
		within time.Duration
	}{
		"wrong password": {with(t, func(u *url.URL) { u.User = url.UserPassword("guest", password) }), nil, "password", 0},
		"wrong user":     {with(t, func(u *url.URL) { u.User = url.UserPassword(password, password) }), nil, "password", 0},
		"wrong vhost":    {with(t, func(u *url.URL) { u.Path = "/nowhere" }), nil, "vhost", 0},
		"missing":        {with(t, func(u *url.URL) { u.RawQuery = "exchange=nobody-has-this&queue=nor-this" }), messaging.ErrNotFound, "create=true", 0},
		"missing queue":  {with(t, func(u *url.URL) { u.RawQuery = "queue=nobody-has-this" }), messaging.ErrNotFound, "create=true", 0},
		"broker down":    {with(t, func(u *url.URL) { u.Host = closed }), nil, "refused", 0},
		"never answers":  {with(t, func(u *url.URL) { u.Host = silent.Addr().String() }), context.DeadlineExceeded, "no answer", time.Second},
		"tls to plain":   {with(t, func(u *url.URL) { u.Scheme = "amqps" }), nil, "TLS", 5 * time.Second},
		"no name":        {with(t, func(u *url.URL) { u.RawQuery = "" }), nil, "names neither", 0},
		"unknown":        {with(t, func(u *url.URL) { u.RawQuery += "&prefetch=3" }), nil, "unknown url parameter", 0},
		"bad value":      {with(t, func(u *url.URL) { u.RawQuery += "&inflight=65536" }), nil, "from 1 to 65535", 0},
		"bad type":       {with(t, func(u *url.URL) { u.RawQuery += "&type=stream" }), nil, "one of quorum, classic", 0},
		"two segments":   {with(t, func(u *url.URL) { u.Path = "/a/b" }), nil, "%2F", 0},
		"long name":      {with(t, func(u *url.URL) { u.RawQuery = "queue=" + strings.Repeat("q", 256) }), nil, "255", 0},
		"other product":  {with(t, func(u *url.URL) { u.Scheme = "mem" }), nil, "amqp://", 0},
		"no ca":          {with(t, func(u *url.URL) { u.Scheme = "amqps"; u.RawQuery += "&cacertfile=/nowhere" }), nil, "cacertfile", 0},
		"files, no tls":  {with(t, func(u *url.URL) { u.RawQuery += "&cacertfile=/nowhere" }), nil, "amqps", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			b := &Backend{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			u := parsed(t, tt.url)
			for i := range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(tt.within, 15*time.Second))
				var err error
				if i == 0 {
					_, err = b.OpenPublisher(ctx, u)
				} else {
					_, err = b.OpenQueue(ctx, u)
				}
				cancel()
				switch {
				case err == nil:
					t.Fatal("it opens")
				case tt.want != nil && !errors.Is(err, tt.want):
					t.Errorf("%v, want %v", err, tt.want)
				case !strings.Contains(err.Error(), tt.says):
					t.Errorf("%v does not say %q", err, tt.says)
				case strings.Contains(err.Error()+log.String(), password):
					t.Errorf("%v tells the password", err)
				}
			}
		})
	}
}

// A queue, or an exchange, that was declared otherwise is said to be so.
func TestOpenDeclaredOtherwise(t *testing.T) {
	u := address(t, "create=true&type=classic")
	for _, err := range opening(t, &Backend{}, u) {
		check(t, err)
	}
	for _, err := range opening(t, &Backend{}, strings.Replace(u, "type=classic", "type=quorum&subject=x", 1)) {
		if err == nil || !strings.Contains(err.Error(), "declared otherwise") || !strings.Contains(err.Error(), "x-queue-type") {
			t.Error(err)
		}
	}
	// Without a declaration nothing is compared.
	for _, err := range opening(t, &Backend{}, strings.Replace(u, "create=true&", "", 1)) {
		check(t, err)
	}
	name := channelOf(t, u)
	native(t, func(ch *amqp.Channel) error {
		return errors.Join(ch.ExchangeDelete(name, false, false), ch.ExchangeDeclare(name, "fanout", true, false, false, false, nil))
	})
	for _, err := range opening(t, &Backend{}, u) {
		if err == nil || !strings.Contains(err.Error(), "declared otherwise") {
			t.Error(err)
		}
	}
}

// Opening without create=true declares nothing.
func TestOpenDeclaresNothing(t *testing.T) {
	u := address(t, "create=true")
	for _, err := range opening(t, &Backend{}, u) {
		check(t, err)
	}
	name := channelOf(t, u)
	for _, err := range opening(t, &Backend{Group: name + "-group"}, strings.Replace(u, "create=true", "", 1))[1:] {
		wants(t, err, messaging.ErrNotFound)
	}
	for range 2 {
		for _, err := range opening(t, &Backend{}, strings.ReplaceAll(strings.Replace(u, "create=true", "", 1), name, name+"-no")) {
			wants(t, err, messaging.ErrNotFound)
		}
	}
}

// TLS with a certificate of one's own, by file and by configuration.
func TestTLS(t *testing.T) {
	plain := address(t, "create=true")
	for _, err := range opening(t, &Backend{}, plain) {
		check(t, err)
	}
	host, ca := terminator(t, parsed(t, plain).Host)
	u := parsed(t, plain)
	u.Scheme, u.Host = "amqps", host
	secure := u.String()
	p, q := openPublisher(t, &Backend{}, secure+"&cacertfile="+url.QueryEscape(ca)), openQueue(t, &Backend{}, secure+"&cacertfile="+url.QueryEscape(ca))
	publish(t, p, 300)
	check(t, q.Ack(soon(t), receive(t, q, 256)...))
	for _, err := range opening(t, &Backend{Config: amqp.Config{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, secure) {
		check(t, err)
	}
	for _, err := range opening(t, &Backend{}, secure) {
		if err == nil || !strings.Contains(err.Error(), "certificate") || !strings.Contains(err.Error(), "cacertfile=") {
			t.Error(err)
		}
	}
}

// terminator is a TLS listener before a server without. It returns its address
// and the file of the certificate to trust.
func terminator(t *testing.T, server string) (addr, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	check(t, err)
	forward(t, l, server, nil)
	return l.Addr().String(), ca
}

// A Dial function, and credentials of the configuration, replace the URL's.
func TestNativeConfig(t *testing.T) {
	u := address(t, "create=true")
	dialled := 0
	real := parsed(t, u)
	user := real.User.Username()
	password, _ := real.User.Password()
	b := &Backend{Config: amqp.Config{
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}},
		Dial: func(network, addr string) (net.Conn, error) {
			dialled++
			return net.Dial(network, real.Host)
		},
	}}
	other := *real
	other.User, other.Host = url.UserPassword("nobody", "nothing"), "nowhere.invalid:1"
	p, q := openPublisher(t, b, other.String()), openQueue(t, b, other.String())
	publish(t, p, 1)
	check(t, q.Ack(soon(t), receive(t, q, 1)...))
	if dialled != 2 {
		t.Errorf("dialled %d times", dialled)
	}
	b.Config.Recovery = &amqp.Recovery{}
	for _, err := range opening(t, b, u) {
		if err == nil || !strings.Contains(err.Error(), "Recovery") {
			t.Error(err)
		}
	}
}

func TestQueueArgs(t *testing.T) {
	for _, tt := range []struct {
		v     version
		limit any
	}{{version{3, 10}, nil}, {version{3, 13}, nil}, {version{4, 0}, int32(-1)}, {version{4, 3}, int32(-1)}} {
		if got := queueArgs(false, tt.v)["x-delivery-limit"]; got != tt.limit {
			t.Errorf("%v: limit %v, want %v", tt.v, got, tt.limit)
		}
		if got := queueArgs(true, tt.v); len(got) != 1 {
			t.Errorf("classic: %v", got)
		}
	}
}
