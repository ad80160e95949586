package messaging_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/params"
)

// stub is a backend with neither queues nor streams. Like a real one it knows
// its parameters and says in its errors what it was to open.
type stub struct{ err error }

type (
	stubPublisher struct {
		messaging.Publisher
		url string
	}
	stubQueue struct {
		messaging.QueueSubscriber
		url string
	}
	stubStream struct {
		messaging.StreamSubscriber
		url string
	}
)

func (b stub) open(u *url.URL) (string, error) {
	p := params.Of("stub", u)
	p.OneOf("kind", "", "queue", "stream")
	p.Int("inflight", 1, 1, 10)
	p.Allow("group", "subject")
	if err := errors.Join(p.Err(), b.err); err != nil {
		return "", errors.New("stub: open " + params.Redacted(u) + ": " + err.Error())
	}
	return u.String(), nil
}

func (b stub) OpenPublisher(_ context.Context, u *url.URL) (messaging.Publisher, error) {
	s, err := b.open(u)
	if err != nil {
		return nil, err
	}
	return stubPublisher{url: s}, nil
}

type queues struct{ stub }

func (b queues) OpenQueue(_ context.Context, u *url.URL) (messaging.QueueSubscriber, error) {
	s, err := b.open(u)
	if err != nil {
		return nil, err
	}
	return stubQueue{url: s}, nil
}

type streams struct{ stub }

func (b streams) OpenStream(_ context.Context, u *url.URL) (messaging.StreamSubscriber, error) {
	s, err := b.open(u)
	if err != nil {
		return nil, err
	}
	return stubStream{url: s}, nil
}

type both struct {
	queues
	streams
}

func (b both) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	return b.queues.OpenPublisher(ctx, u)
}

var stubs = messaging.Backends{"both": both{}, "q": queues{}, "s": streams{}, "pub": stub{}, "gone": nil}

// opened is what one of the four functions returned: "queue URL", or "" and
// an error. It fails the test where they do not agree.
func opened(t *testing.T, what string, b messaging.Backends, rawURL string) (string, error) {
	t.Helper()
	var got any
	var err error
	switch what {
	case "publisher":
		var p messaging.Publisher
		if p, err = b.OpenPublisher(t.Context(), rawURL); p != nil {
			got = p
		}
	case "subscriber":
		var s messaging.Subscriber
		if s, err = b.OpenSubscriber(t.Context(), rawURL); s != nil {
			got = s
		}
	case "queue":
		var s messaging.QueueSubscriber
		if s, err = b.OpenQueue(t.Context(), rawURL); s != nil {
			got = s
		}
	case "stream":
		var s messaging.StreamSubscriber
		if s, err = b.OpenStream(t.Context(), rawURL); s != nil {
			got = s
		}
	}
	if (got == nil) != (err != nil) {
		t.Fatalf("open %s of %q returned %v and %v", what, rawURL, got, err)
	}
	switch got := got.(type) {
	case stubPublisher:
		return "publisher " + got.url, err
	case stubQueue:
		return "queue " + got.url, err
	case stubStream:
		return "stream " + got.url, err
	}
	return "", err
}

func TestOpen(t *testing.T) {
	for _, tt := range []struct{ what, url, want string }{
		{"publisher", "both://orders", "publisher both://orders"},
		{"publisher", "pub://orders?inflight=3", "publisher pub://orders?inflight=3"},
		{"publisher", "q://u:p@h:1/v%2Fhost", "publisher q://u:p@h:1/v%2Fhost"},
		{"publisher", "both://orders?kind=stream", "publisher both://orders?kind=stream"},
		{"publisher", "BOTH://orders", "publisher both://orders"},
		{"publisher", "both://", "publisher both:"},
		{"queue", "both://orders", "queue both://orders"},
		{"queue", "both://orders?kind=queue", "queue both://orders?kind=queue"},
		{"queue", "q://orders?subject=order.%23&group=a%40b", "queue q://orders?subject=order.%23&group=a%40b"},
		{"stream", "both://orders", "stream both://orders"},
		{"stream", "both://orders?kind=stream", "stream both://orders?kind=stream"},
		{"stream", "s://[::1]:9092/orders", "stream s://[::1]:9092/orders"},
		{"subscriber", "both://orders", "queue both://orders"},
		{"subscriber", "both://orders?kind=queue", "queue both://orders?kind=queue"},
		{"subscriber", "both://orders?kind=stream", "stream both://orders?kind=stream"},
		{"subscriber", "both://orders?group=a&kind=stream", "stream both://orders?group=a&kind=stream"},
		{"subscriber", "q://orders", "queue q://orders"},
		{"subscriber", "s://orders", "stream s://orders"},
	} {
		if got, err := opened(t, tt.what, stubs, tt.url); got != tt.want || err != nil {
			t.Errorf("open %s of %q = %q, %v, want %q", tt.what, tt.url, got, err, tt.want)
		}
	}
}

// A URL that asks for the other flavour, and a backend without it.
func TestOpenUnsupported(t *testing.T) {
	for _, tt := range []struct{ what, url, want string }{
		{"queue", "s://orders", `messaging: open queue s://orders: scheme "s" has none: `},
		{"stream", "q://orders", `messaging: open stream q://orders: scheme "q" has none: `},
		{"queue", "both://orders?kind=stream", "messaging: open queue both://orders: the url says kind=stream: "},
		{"stream", "both://orders?kind=queue", "messaging: open stream both://orders: the url says kind=queue: "},
		{"subscriber", "q://orders?kind=stream", "messaging: open queue q://orders: the url says kind=stream: "},
		{"subscriber", "s://orders?kind=queue", "messaging: open stream s://orders: the url says kind=queue: "},
		{"subscriber", "pub://orders", `messaging: open queue pub://orders: scheme "pub" has none: `},
		{"queue", "s://user:s3cret@host/a%2Fb?group=g", `messaging: open queue s://host/a%2Fb: scheme "s" has none: `},
	} {
		_, err := opened(t, tt.what, stubs, tt.url)
		if !errors.Is(err, errors.ErrUnsupported) || err.Error() != tt.want+errors.ErrUnsupported.Error() {
			t.Errorf("open %s of %q: %v, want %s%v", tt.what, tt.url, err, tt.want, errors.ErrUnsupported)
		}
	}
}

// What is wrong with a URL is said by each of the four, without any of it
// that could be a password.
func TestOpenBadURL(t *testing.T) {
	const (
		unparsed   = "messaging: the url does not parse (not quoted here: it may hold a password): escape what is special in its user, password, host and path"
		schemeless = "messaging: the url does not begin with a scheme and ://, such as mem://orders"
		control    = "messaging: the url has a control character, such as a line break at its end"
		behind     = " has an @ behind its host: write it as %40, and in a password / as %2F and ? as %3F"
		hash       = " has a #: write it as %23"
		query      = " does not parse: escape %, & and ; in its values"
		known      = "; there are: both, pub, q, s"
	)
	for name, tt := range map[string]struct{ url, want string }{
		"empty":              {"", schemeless},
		"no scheme":          {"orders", schemeless},
		"no scheme, a host":  {"//user:s3cret@host/orders", schemeless},
		"a scheme forgotten": {"user:s3cret@host/orders", schemeless},
		"no slashes":         {"q:user:s3cret@host", schemeless},
		"one slash":          {"q:/user:s3cret@host", schemeless},
		"only a scheme":      {"q:", schemeless},
		"scheme and query":   {"q:?a=s3cret", schemeless},
		"star":               {"*", schemeless},

		"unknown scheme":          {"nats://orders", `messaging: open nats://orders: no backend has scheme "nats"` + known},
		"unknown, with password":  {"nats://user:s3cret@host/orders", `messaging: open nats://host/orders: no backend has scheme "nats"` + known},
		"unknown, with a token":   {"nats://s3cret@host", `messaging: open nats://host: no backend has scheme "nats"` + known},
		"unknown, escaped colon":  {"nats://user%3As3cret@host", `messaging: open nats://host: no backend has scheme "nats"` + known},
		"unknown, in the query":   {"nats://host?password=s3cret", `messaging: open nats://host: no backend has scheme "nats"` + known},
		"scheme of a nil backend": {"gone://orders", `messaging: open gone://orders: no backend has scheme "gone"` + known},

		"line break":           {"q://user:s3cret@host\n", control},
		"zero byte":            {"q://user:s3cret\x00@host", control},
		"control beyond ASCII": {"q://user:s3cret@host/\u0085", control},
		"port":                 {"q://user:s3cret@host:port", unparsed},
		"no host":              {"q://user:s3cret", unparsed},
		"bad escape, password": {"q://user:s3cret%zz@host", unparsed},
		"bad escape, host":     {"q://user:s3cret@ho%zzst", unparsed},
		"bad escape, path":     {"q://user:s3cret@host/%zz", unparsed},
		"bracket":              {"q://user:s3cret@[::1", unparsed},
		"space in password":    {"q://user:s3c ret@host", unparsed},
		"no name of a scheme":  {"://user:s3cret@host", unparsed},
		"digit first":          {"1q://user:s3cret@host", unparsed},
		"slash in a password":  {"q://user:x/s3cret@host", unparsed},

		"slash in a numeric password":    {"q://user:12/s3cret@host", "messaging: the url q://…" + behind},
		"slash first in a password":      {"q://user:/s3cret@host", "messaging: the url q://…" + behind},
		"question mark in a password":    {"q://user:12?s3cret@host", "messaging: the url q://…" + behind},
		"question mark and a parameter":  {"q://user:12?group=s3cret@host", "messaging: the url q://…" + behind},
		"hash in a password":             {"q://user:12#s3cret@host", "messaging: the url q://…" + hash},
		"three slashes":                  {"q:///user:s3cret@host", "messaging: the url q://…" + behind},
		"at in a path":                   {"q://host/user:s3cret@other", "messaging: the url q://…" + behind},
		"a url with a password within":   {"q://host?group=http://user:s3cret@other", "messaging: the url q://…" + behind},
		"hash in a pattern":              {"q://orders?subject=order.#", "messaging: the url q://…" + hash},
		"hash in a pattern, and another": {"q://orders?subject=#&group=a", "messaging: the url q://…" + hash},
		"semicolon in the query":         {"q://user:s3cret@host?a=1;b=2", "messaging: the query of the url q://…" + query},
		"bad escape in the query":        {"q://user:s3cret@host?group=%zz", "messaging: the query of the url q://…" + query},
		"bad escape in a name":           {"q://user:s3cret@host?%zz=1", "messaging: the query of the url q://…" + query},
	} {
		t.Run(name, func(t *testing.T) {
			for _, what := range []string{"publisher", "subscriber", "queue", "stream"} {
				_, err := opened(t, what, stubs, tt.url)
				if err == nil || err.Error() != tt.want {
					t.Errorf("open %s of %q:\n  %v, want\n  %s", what, tt.url, err, tt.want)
				}
			}
		})
	}
}

func TestOpenWithoutBackends(t *testing.T) {
	for _, b := range []messaging.Backends{nil, {}, {"gone": nil}} {
		_, err := opened(t, "queue", b, "mem://orders")
		if want := `messaging: open mem://orders: no backend has scheme "mem": the Backends map is empty`; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The backend's own errors arrive as they are, whatever kind= is.
func TestOpenBackendRefuses(t *testing.T) {
	broken := messaging.Backends{"both": both{queues: queues{stub{messaging.ErrNotFound}}, streams: streams{stub{messaging.ErrNotFound}}}}
	for _, tt := range []struct {
		what     string
		backends messaging.Backends
		url      string
		want     string
	}{
		{"queue", broken, "both://orders", messaging.ErrNotFound.Error()},
		{"stream", broken, "both://orders", messaging.ErrNotFound.Error()},
		{"publisher", broken, "both://orders", messaging.ErrNotFound.Error()},
		{"subscriber", broken, "both://orders", messaging.ErrNotFound.Error()},
		{"subscriber", stubs, "both://orders?kind=topic", `bad url parameter kind="topic": want one of queue, stream`},
		{"stream", stubs, "s://orders?kind=topic", `bad url parameter kind="topic": want one of queue, stream`},
		{"queue", stubs, "both://orders?kind=", `bad url parameter kind="": want one of queue, stream`},
		{"subscriber", stubs, "both://orders?kind=queue&kind=stream", `url parameter "kind" is given 2 times`},
		{"queue", stubs, "q://orders?Group=a", `unknown url parameter "Group"; there are: group, inflight, kind, subject`},
		{"queue", stubs, "q://orders?group=a&GROUP=b", `unknown url parameter "GROUP"`},
		{"queue", stubs, "q://orders?group=a&group=a", `url parameter "group" is given 2 times`},
	} {
		_, err := opened(t, tt.what, tt.backends, tt.url)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("open %s of %q: %v, want %s", tt.what, tt.url, err, tt.want)
		}
	}
}

// FuzzOpen writes a URL as one who escapes nothing would: before and after are
// the rest of a password, with whatever characters, and the other parts are
// anything. Whatever becomes of it, nothing panics, and no error holds the
// password. A URL of any form at all panics neither.
func FuzzOpen(f *testing.F) {
	for _, seed := range []struct{ scheme, user, before, after, host, rest string }{
		{"q://", "user", "", "", "host:5672", "/vhost?group=a"},
		{"nats://", "", "", "", "host", "?inflight=x&kind=stream"},
		{"both:", "user", "", "", "host", ""},
		{"", "user", "", "", "host", ""},
		{"q://", "user", "12/", "", "host", ""},
		{"q://", "user", "12?", "", "host", "?password=1"},
		{"q://", "user", "12#", "#", "host", "#a"},
		{"s://", "user", "p@", "@p", "host", "/%2F?kind=queue"},
		{"q://", "us%3Aer", "%2", "%zz", "[::1]:1", "/%zz"},
		{"q:/", "user", "", "", "host\n", ";"},
		{"q:///", "user", "", "", "", "?inflight=@&subject=#"},
		{"q://host?group=http://", "user", "", "", "host", "&kind=queue"},
	} {
		f.Add(seed.scheme, seed.user, seed.before, seed.after, seed.host, seed.rest)
	}
	f.Fuzz(func(t *testing.T, scheme, user, before, after, host, rest string) {
		const password = "s3cret"
		if strings.Contains(strings.ToLower(scheme+user+host+rest), password) {
			t.Skip("the password is elsewhere too")
		}
		rawURL := scheme + user + ":" + before + password + after + "@" + host + rest
		for _, what := range []string{"publisher", "subscriber", "queue", "stream"} {
			if _, err := opened(t, what, stubs, rawURL); err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("open %s of %q: the error has the password: %v", what, rawURL, err)
			}
			opened(t, what, stubs, scheme+before+after+rest)
		}
	})
}
