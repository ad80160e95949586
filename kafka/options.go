package kafka

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/fa5182d2/messaging/internal/params"
)

// options are a Backend's fields with one URL's parameters over them.
type options struct {
	topic                   string
	seeds                   []string
	dialer                  dialer
	log                     *slog.Logger
	compression             compress.Compression
	create, retry           bool
	partitions, replication int
	timeout                 time.Duration

	group, partition, start, end string
	from, to                     position // what start and end are
	only                         int32    // what partition is; below 0 without
	trimmedSkip                  bool
	inflight                     int
	session, handover            time.Duration
}

const (
	defaultTimeout  = 30 * time.Second
	defaultSession  = 10 * time.Second
	defaultHandover = 10 * time.Second
	defaultInflight = 1024
	defaultPort     = "9092"

	mostInflight = 1 << 30
	longest      = 24 * time.Hour // of session= and handover=: the protocol has 32 bits of milliseconds
	longestWait  = 1 << 62 * time.Nanosecond
)

// parse reads u strictly.
func (b *Backend) parse(u *url.URL) (*options, error) {
	o := &options{topic: strings.TrimPrefix(u.Path, "/"), log: b.logger(), only: -1}
	p := params.Of("kafka", u)
	p.OneOf("kind", "stream", "stream")
	o.seeds = append(seedsOf(u.Host), b.Seeds...)
	if v, ok := p.Lookup("seed"); ok {
		o.seeds = append(seedsOf(u.Host), strings.Split(v, ",")...)
	}
	o.group = p.String("group", b.Group)
	o.partition = p.String("partition", b.Partition)
	o.start = p.String("start", b.Start)
	o.end = p.String("end", b.End)
	o.trimmedSkip = p.OneOf("trimmed", cmp.Or(b.Trimmed, "error"), "error", "skip") == "skip"
	o.create = p.Bool("create", b.Create)
	o.retry = p.OneOf("retry", pick(b.NoRetry, "none", "yes"), "none", "yes") == "yes"
	o.partitions = p.Int("partitions", b.Partitions, 1, 1<<20)
	o.replication = p.Int("replication", b.Replication, 1, 1<<10)
	o.inflight = p.Int("inflight", cmp.Or(b.Inflight, defaultInflight), 1, mostInflight)
	o.session = p.Duration("session", cmp.Or(b.Session, defaultSession), time.Second, longest)
	o.handover = p.Duration("handover", cmp.Or(b.Handover, defaultHandover), 0, longest)
	o.timeout = p.Duration("timeout", cmp.Or(b.Timeout, defaultTimeout), time.Millisecond, longestWait)
	codec := p.OneOf("compression", cmp.Or(b.Compression, "none"), "none", "gzip", "snappy", "lz4", "zstd")
	_ = o.compression.UnmarshalText([]byte(codec)) // it is one of these, or Err says so
	p.Allow("envelope", "subject", "hold")         // nothing needs the first; the others are a queue's
	badSecurity := b.secure(o, u, p)
	return o, errors.Join(p.Err(), o.parsePositions(), badSecurity, o.check(u))
}

func pick[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

// seedsOf returns the brokers that the host of a URL names.
func seedsOf(host string) []string {
	if host == "" {
		return nil
	}
	return strings.Split(host, ",")
}

// secure reads how to connect: TLS, SASL and the rest of Transport.
func (b *Backend) secure(o *options, u *url.URL, p *params.Set) error {
	d := &o.dialer
	d.clientID = "messaging"
	if t := b.Transport; t != nil {
		d.dial, d.timeout, d.tls, d.sasl, d.resolver = t.Dial, t.DialTimeout, t.TLS, t.SASL, t.Resolver
		d.clientID = cmp.Or(t.ClientID, d.clientID)
	}
	d.clientID = p.String("client", cmp.Or(b.Client, d.clientID))
	if b.TLS != nil {
		d.tls = b.TLS
	}
	switch wanted := p.Bool("tls", d.tls != nil); {
	case !wanted:
		d.tls = nil
	case d.tls == nil:
		d.tls = new(tls.Config)
	}
	user, password := b.User, b.Password
	if u.User != nil {
		user = u.User.Username()
		password, _ = u.User.Password()
	}
	name := p.OneOf("sasl", cmp.Or(b.SASL, "plain"), "plain", "scram-sha-256", "scram-sha-512")
	if user == "" {
		if u.Query().Has("sasl") {
			return errors.New("sasl= without a user: want kafka://USER:PASSWORD@HOST:9092/TOPIC")
		}
		return nil
	}
	var err error
	d.sasl, err = mechanism(name, user, password)
	return err
}

// mechanism returns kafka-go's SASL mechanism of that name. No error of it has
// the password.
func mechanism(name, user, password string) (sasl.Mechanism, error) {
	algo := scram.SHA512
	switch name {
	case "plain":
		return plain.Mechanism{Username: user, Password: password}, nil
	case "scram-sha-256":
		algo = scram.SHA256
	}
	m, err := scram.Mechanism(algo, user, password)
	if err != nil {
		return nil, errors.New("the user or the password has characters that SCRAM (SASLprep, RFC 4013) forbids")
	}
	return m, nil
}

func (o *options) check(u *url.URL) error {
	var errs []error
	if !validTopic(o.topic) {
		errs = append(errs, fmt.Errorf("bad topic %q in the url: want kafka://HOST:9092/TOPIC, TOPIC of 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'", o.topic))
	}
	if u.Opaque != "" || u.Fragment != "" || len(o.seeds) == 0 {
		errs = append(errs, errors.New("the url names no broker, or has a fragment: want kafka://HOST:9092/TOPIC"))
	}
	for i, seed := range o.seeds {
		host, port, err := net.SplitHostPort(seed)
		if err != nil { // no port
			host, port = strings.Trim(seed, "[]"), defaultPort
		}
		if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "@/ ") {
			errs = append(errs, errors.New("a broker is not HOST:PORT; several have commas between them"))
		}
		o.seeds[i] = net.JoinHostPort(host, port)
	}
	if o.partition != "" {
		n, err := strconv.ParseInt(o.partition, 10, 32)
		if o.only = int32(n); err != nil || n < 0 || strconv.Itoa(int(n)) != o.partition {
			errs = append(errs, fmt.Errorf("bad url parameter partition=%q: want a whole number from 0", o.partition))
		}
	}
	return errors.Join(errs...)
}

// validTopic says whether Kafka accepts a name (org.apache.kafka.common.internals.Topic).
func validTopic(name string) bool {
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-') {
			return false
		}
	}
	return name != "" && name != "." && name != ".." && len(name) <= 249
}

// check reports fields of b that have no meaning. Parameters of a URL are
// checked where they are read.
func (b *Backend) check() error {
	var errs []error
	expect := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("field %s of the Backend is %v: want %s", field, value, want))
		}
	}
	oneOf := func(v string, of ...string) bool {
		for _, w := range of {
			if v == w {
				return true
			}
		}
		return v == ""
	}
	expect(b.Timeout == 0 || b.Timeout >= time.Millisecond, "Timeout", b.Timeout, "0 or a duration of 1ms or more")
	expect(b.Session == 0 || b.Session >= time.Second && b.Session <= longest, "Session", b.Session, "0 or a duration from 1s to 24h")
	expect(b.Handover >= 0 && b.Handover <= longest, "Handover", b.Handover, "0 to 24h")
	expect(b.Inflight >= 0 && b.Inflight <= mostInflight, "Inflight", b.Inflight, fmt.Sprintf("0 to %d", mostInflight))
	expect(b.Partitions >= 0 && b.Partitions <= 1<<20, "Partitions", b.Partitions, "0 to 1048576")
	expect(b.Replication >= 0 && b.Replication <= 1<<10, "Replication", b.Replication, "0 to 1024")
	expect(oneOf(b.Compression, "none", "gzip", "snappy", "lz4", "zstd"), "Compression", strconv.Quote(b.Compression), "none, gzip, snappy, lz4 or zstd")
	expect(oneOf(b.SASL, "plain", "scram-sha-256", "scram-sha-512"), "SASL", strconv.Quote(b.SASL), "plain, scram-sha-256 or scram-sha-512")
	expect(oneOf(b.Trimmed, "error", "skip"), "Trimmed", strconv.Quote(b.Trimmed), "error or skip")
	return errors.Join(errs...)
}
