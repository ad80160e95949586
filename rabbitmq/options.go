package rabbitmq

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging/internal/params"
)

// options are a URL over a Backend.
type options struct {
	dialer                          *dialer
	exchange, queue, group, subject string
	create, classic, delays         bool
	retry, envelope                 bool
	inflight, maxMessage            int
	timeout                         time.Duration
	log                             *slog.Logger
}

const (
	defaultInflight  = 256
	defaultTimeout   = 30 * time.Second
	defaultHeartbeat = 5 * time.Second
	longest          = 1 << 62 * time.Nanosecond

	// mostInflight is what AMQP's prefetch-count, 16 bits, can say; 0 would be
	// no limit.
	mostInflight = math.MaxUint16

	// mostName is how long a short string of AMQP may be.
	mostName = math.MaxUint8

	// frameSize is what brokers propose for the largest frame.
	frameSize = 128 << 10

	plainPort, securePort = "5672", "5671"
)

// source is the queue that a subscriber takes messages from.
func (o *options) source() string { return cmp.Or(o.group, o.queue) }

// destination is what errors of a publisher call where it publishes to.
func (o *options) destination() string {
	if o.exchange == "" {
		return "queue " + o.queue
	}
	return "exchange " + o.exchange
}

// say logs what has no caller.
func (o *options) say(msg string, args ...any) { o.log.Warn(msg, args...) }

// parse reads u strictly.
func (b *Backend) parse(u *url.URL) (*options, error) {
	if u == nil {
		return nil, errors.New("the url is nil: want amqp://HOST/VHOST?exchange=NAME&queue=NAME")
	}
	p := params.Of("rabbitmq", u)
	o := &options{log: b.Logger}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	o.exchange = p.String("exchange", b.Exchange)
	o.queue = p.String("queue", b.Queue)
	o.group = p.String("group", b.Group)
	o.subject = p.String("subject", b.Subject)
	o.create = p.Bool("create", b.Create)
	o.classic = p.OneOf("type", cmp.Or(b.Type, "quorum"), "quorum", "classic") == "classic"
	o.delays = p.OneOf("delay", pick(b.NoDelay, "none", "queues"), "none", "queues") == "queues"
	o.retry = p.OneOf("retry", pick(b.NoRetry, "none", "yes"), "none", "yes") == "yes"
	o.envelope = p.OneOf("envelope", pick(b.NoEnvelope, "none", "headers"), "none", "headers") == "headers"
	o.inflight = p.Int("inflight", cmp.Or(b.Inflight, defaultInflight), 1, mostInflight)
	o.maxMessage = p.Int("max", b.MaxMessage, 1, math.MaxInt)
	o.timeout = p.Duration("timeout", cmp.Or(b.Timeout, defaultTimeout), time.Millisecond, longest)
	heartbeat := p.Duration("heartbeat", cmp.Or(b.Heartbeat, b.Config.Heartbeat, defaultHeartbeat), time.Second, 10*time.Minute)
	files := tlsFiles{p.String("cacertfile", ""), p.String("certfile", ""), p.String("keyfile", "")}
	p.OneOf("kind", "queue", "queue")
	// A stream's, for programs that have both under one set of parameters.
	p.Allow("start", "end", "partition", "handover", "trimmed")
	err := errors.Join(p.Err(), b.check(), o.check(u))
	if err == nil {
		o.dialer, err = b.dialer(u, heartbeat, files)
	}
	if err != nil {
		return nil, err
	}
	o.dialer.say = o.say
	return o, nil
}

func pick[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

// check reports what cannot be a name, and a URL of another form.
func (o *options) check(u *url.URL) error {
	var errs []error
	if u.Scheme != "amqp" && u.Scheme != "amqps" {
		errs = append(errs, fmt.Errorf("the url's scheme is %q: want amqp:// or amqps://", u.Scheme))
	}
	if u.Opaque != "" || u.Hostname() == "" {
		errs = append(errs, errors.New("the url names no host: want amqp://HOST/VHOST"))
	}
	if u.Fragment != "" {
		errs = append(errs, errors.New("the url has a fragment: write # as %23"))
	}
	for what, name := range map[string]string{"exchange": o.exchange, "queue": o.queue, "group": o.group, "subject": o.subject} {
		if len(name) > mostName {
			errs = append(errs, fmt.Errorf("the %s has %d bytes: AMQP takes %d", what, len(name), mostName))
		}
	}
	return errors.Join(errs...)
}

// check reports fields of b that have no meaning.
func (b *Backend) check() error {
	var errs []error
	expect := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("field %s of the Backend is %v: want %s", field, value, want))
		}
	}
	expect(b.Config.Recovery == nil, "Config.Recovery", "set", "nil: this package replaces connections itself")
	expect(b.Type == "" || b.Type == "quorum" || b.Type == "classic", "Type", b.Type, `"", "quorum" or "classic"`)
	expect(b.Inflight >= 0 && b.Inflight <= mostInflight, "Inflight", b.Inflight, fmt.Sprintf("0 to %d", mostInflight))
	expect(b.MaxMessage >= 0, "MaxMessage", b.MaxMessage, "0 or more")
	expect(b.Timeout == 0 || b.Timeout >= time.Millisecond, "Timeout", b.Timeout, "0 or a duration of 1ms or more")
	for field, d := range map[string]time.Duration{"Heartbeat": b.Heartbeat, "Config.Heartbeat": b.Config.Heartbeat} {
		expect(d == 0 || d >= time.Second, field, d, "0 or a duration of 1s or more")
	}
	return errors.Join(errs...)
}

// tlsFiles are PEM files of a URL.
type tlsFiles struct{ ca, cert, key string }

// dialer returns what opens connections as b and u say.
func (b *Backend) dialer(u *url.URL, heartbeat time.Duration, files tlsFiles) (*dialer, error) {
	secure := u.Scheme == "amqps"
	d := &dialer{config: b.Config, host: u.Hostname()}
	d.addr = net.JoinHostPort(d.host, cmp.Or(u.Port(), pick(secure, securePort, plainPort)))
	d.config.Heartbeat = heartbeat
	d.config.Locale = cmp.Or(d.config.Locale, "en_US")
	d.config.FrameSize = cmp.Or(d.config.FrameSize, frameSize)
	if d.config.Vhost == "" {
		vhost, err := vhostOf(u)
		if err != nil {
			return nil, err
		}
		d.config.Vhost = vhost
	}
	if d.config.SASL == nil {
		user, password := "guest", "guest"
		if u.User != nil {
			user = u.User.Username()
			password, _ = u.User.Password()
		}
		d.config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}}
	}
	if d.config.Properties == nil {
		d.config.Properties = amqp.NewConnectionProperties()
	}
	d.config.Properties = maps.Clone(d.config.Properties)
	if !secure {
		if files != (tlsFiles{}) {
			return nil, errors.New("cacertfile=, certfile= and keyfile= are for amqps://")
		}
		return d, nil
	}
	var err error
	d.tls, err = files.config(b.Config.TLSClientConfig, d.host)
	return d, err
}

// vhostOf is the virtual host of a URL: its path without the slash at its
// beginning, "/" where there is none (RabbitMQ's URI specification says that an
// empty one is meant by "amqp://host/"; nobody has one of that name).
func vhostOf(u *url.URL) (string, error) {
	escaped := strings.TrimPrefix(u.EscapedPath(), "/")
	if strings.Contains(escaped, "/") {
		return "", errors.New("the url has more than one path segment: write a / in a vhost as %2F")
	}
	vhost, err := url.PathUnescape(escaped)
	if err != nil {
		return "", errors.New("the url's vhost does not parse")
	}
	return cmp.Or(vhost, "/"), nil
}

// config returns the TLS configuration for a host, over one that is given.
func (f tlsFiles) config(given *tls.Config, host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if given != nil {
		c = given.Clone()
		c.MinVersion = cmp.Or(c.MinVersion, tls.VersionTLS12)
	}
	c.ServerName = cmp.Or(c.ServerName, host)
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("cacertfile=: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cacertfile=: %s holds no certificate in PEM", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("certfile= and keyfile=: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
