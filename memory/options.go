package memory

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/params"
)

// options are a Backend's fields with one URL's parameters over them.
type options struct {
	name                  string
	kind, group           string
	subject               string // as given: "" is no subject=
	pattern               pattern
	partition, start, end string
	from, to              position // what start and end are
	trimmedSkip           bool
	create, retry         bool
	partitions, retain    int
	inflight              int // 0: the flavour's default
	maxMessage            int
	order                 messaging.Order // 0: not given
	seed                  uint64
	lease, hold, handover time.Duration
	dedup, timeout        time.Duration
	query                 url.Values
}

// given says whether the URL itself has a parameter.
func (o *options) given(name string) bool { return o.query.Has(name) }

const (
	defaultPartitions    = 4
	defaultLease         = 30 * time.Second
	defaultHold          = time.Hour
	defaultHandover      = 10 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultRetain        = 256 << 20
	defaultMaxMessage    = 16 << 20
	defaultQueueInflight = 256

	mostInflight = 1 << 30
	longest      = 1 << 62 * time.Nanosecond // some 146 years
)

// parse reads u strictly.
func (b *Backend) parse(u *url.URL) (*options, error) {
	o := &options{name: u.Host + u.Path, maxMessage: cmp.Or(b.MaxMessage, defaultMaxMessage), query: u.Query()}
	p := params.Of("memory", u)
	o.kind = p.OneOf("kind", b.Kind, "queue", "stream")
	o.group = p.String("group", b.Group)
	o.subject = p.String("subject", b.Subject)
	o.partition = p.String("partition", b.Partition)
	o.start = p.String("start", b.Start)
	o.end = p.String("end", b.End)
	o.trimmedSkip = p.OneOf("trimmed", cmp.Or(b.Trimmed, "error"), "error", "skip") == "skip"
	o.create = p.Bool("create", !b.NoCreate)
	o.retry = p.OneOf("retry", pick(b.NoRetry, "none", "yes"), "none", "yes") == "yes"
	o.partitions = p.Int("partitions", cmp.Or(b.Partitions, defaultPartitions), 1, mostPartitions)
	o.retain = p.Int("retain", cmp.Or(b.Retain, defaultRetain), -1, math.MaxInt)
	o.inflight = p.Int("inflight", b.Inflight, 1, mostInflight)
	switch p.OneOf("order", "", "unordered", "key") {
	case "unordered":
		o.order = messaging.Unordered
	case "key":
		o.order = messaging.OrderedByKey
	}
	o.seed = p.Uint64("seed", b.Seed)
	o.lease = p.Duration("lease", cmp.Or(b.Lease, defaultLease), time.Millisecond, longest)
	o.hold = p.Duration("hold", cmp.Or(b.Hold, defaultHold), time.Millisecond, longest)
	o.handover = p.Duration("handover", cmp.Or(b.Handover, defaultHandover), 0, longest)
	o.dedup = p.Duration("dedup", b.Dedup, 0, longest)
	o.timeout = p.Duration("timeout", cmp.Or(b.Timeout, defaultTimeout), time.Millisecond, longest)
	p.Allow("envelope") // nothing needs one here
	var badPattern error
	o.pattern, badPattern = parsePattern(o.subject)
	badPosition := o.parsePositions()
	return o, errors.Join(p.Err(), badPattern, badPosition, o.check(u))
}

func pick[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

func (o *options) check(u *url.URL) error {
	switch {
	case u.Opaque != "" || o.name == "":
		return errors.New("the url names no channel: want mem://NAME, such as mem://orders")
	case u.User != nil || u.Fragment != "":
		return fmt.Errorf("the url of channel %q has a user or a fragment: want mem://NAME", o.name)
	}
	return nil
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
	const span = "0 or a duration of 1ms or more"
	expect(b.Lease == 0 || b.Lease >= time.Millisecond, "Lease", b.Lease, span)
	expect(b.Hold == 0 || b.Hold >= time.Millisecond, "Hold", b.Hold, span)
	expect(b.Timeout == 0 || b.Timeout >= time.Millisecond, "Timeout", b.Timeout, span)
	expect(b.Handover >= 0, "Handover", b.Handover, "0 or more")
	expect(b.Dedup >= 0, "Dedup", b.Dedup, "0 or more")
	expect(b.Partitions >= 0 && b.Partitions <= mostPartitions, "Partitions", b.Partitions, fmt.Sprintf("0 to %d", mostPartitions))
	expect(b.Inflight >= 0 && b.Inflight <= mostInflight, "Inflight", b.Inflight, fmt.Sprintf("0 to %d", mostInflight))
	expect(b.MaxMessage >= 0, "MaxMessage", b.MaxMessage, "0 or more")
	expect(b.Kind == "" || b.Kind == "queue" || b.Kind == "stream", "Kind", strconv.Quote(b.Kind), `"", "queue" or "stream"`)
	expect(b.Order >= 0 && b.Order <= messaging.OrderedByKey, "Order", b.Order, "Unordered or OrderedByKey")
	for field, p := range b.Chaos.fields() {
		expect(p >= 0 && p <= 1, "Chaos."+field, p, "a probability, from 0 to 1")
	}
	return errors.Join(errs...)
}
