package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/fa5182d2/messaging/internal/params"
)

// Backend is a product that messages can be published to. A value of a
// backend's type is its default configuration; the parameters of a URL
// override it. [Backends] hands it URLs of the form scheme://..., whose query
// parses, and which have no fragment and no @ but the one before the host.
// What they mean is the backend's affair, and a parameter that it does not
// know is an error. No error of it contains a password: of a URL it shows
// scheme, host and path.
type Backend interface {
	// OpenPublisher checks the connection once, bounded by ctx, and returns a
	// publisher to what u names, or [ErrNotFound].
	OpenPublisher(ctx context.Context, u *url.URL) (Publisher, error)
}

// QueueBackend is a [Backend] that has queues.
type QueueBackend interface {
	Backend

	// OpenQueue checks the connection once, bounded by ctx, and returns a
	// subscriber to what u names, or [ErrNotFound].
	OpenQueue(ctx context.Context, u *url.URL) (QueueSubscriber, error)
}

// StreamBackend is a [Backend] that has streams.
type StreamBackend interface {
	Backend

	// OpenStream checks the connection once, bounded by ctx, and returns a
	// subscriber to what u names, or [ErrNotFound].
	OpenStream(ctx context.Context, u *url.URL) (StreamSubscriber, error)
}

// Backends are the products that a program can use, by URL scheme, in lower
// case:
//
//	messaging.Backends{"mem": &memory.Backend{}}
//
// In a URL, # is written as %23 (subject=order.%23), and an @ behind the host
// as %40.
//
// Its methods are safe for concurrent use while nobody writes to the map.
type Backends map[string]Backend

// OpenPublisher opens a publisher with the backend of the URL's scheme. It
// returns when the connection was checked once, or ctx ended. No error
// contains the URL's password. An unknown scheme is an error that names those
// that are there.
func (b Backends) OpenPublisher(ctx context.Context, rawURL string) (Publisher, error) {
	backend, u, err := b.find(rawURL)
	if err != nil {
		return nil, err
	}
	return backend.OpenPublisher(ctx, u)
}

// OpenSubscriber opens a subscriber of the flavour that the backend has, for
// programs that serve either: tell them apart with a type switch, or give the
// subscriber to [Consume]. Where the backend has both, it is a queue unless the
// URL says kind=stream. Otherwise as OpenPublisher.
func (b Backends) OpenSubscriber(ctx context.Context, rawURL string) (Subscriber, error) {
	backend, u, err := b.find(rawURL)
	if err != nil {
		return nil, err
	}
	_, isQueue := backend.(QueueBackend)
	_, isStream := backend.(StreamBackend)
	if isStream && (!isQueue || u.Query().Get("kind") == "stream") {
		return b.OpenStream(ctx, rawURL)
	}
	return b.OpenQueue(ctx, rawURL)
}

// OpenQueue opens a queue. A backend without queues, and a URL that says
// kind=stream, is [errors.ErrUnsupported]. Otherwise as OpenPublisher.
func (b Backends) OpenQueue(ctx context.Context, rawURL string) (QueueSubscriber, error) {
	return open(ctx, b, rawURL, "queue", QueueBackend.OpenQueue)
}

// OpenStream opens a stream. A backend without streams, and a URL that says
// kind=queue, is [errors.ErrUnsupported]. Otherwise as OpenPublisher.
func (b Backends) OpenStream(ctx context.Context, rawURL string) (StreamSubscriber, error) {
	return open(ctx, b, rawURL, "stream", StreamBackend.OpenStream)
}

// open opens a subscriber of the flavour that B has.
func open[B Backend, S Subscriber](ctx context.Context, b Backends, rawURL, kind string, open func(B, context.Context, *url.URL) (S, error)) (S, error) {
	var none S
	backend, u, err := b.find(rawURL)
	if err != nil {
		return none, err
	}
	flavoured, ok := backend.(B)
	if !ok {
		return none, fmt.Errorf("messaging: open %s %s: scheme %q has none: %w", kind, params.Redacted(u), u.Scheme, errors.ErrUnsupported)
	}
	// Any other kind is a bad value, or an unknown parameter: the backend says
	// which.
	if k := u.Query().Get("kind"); (k == "queue" || k == "stream") && k != kind {
		return none, fmt.Errorf("messaging: open %s %s: the url says kind=%s: %w", kind, params.Redacted(u), k, errors.ErrUnsupported)
	}
	return open(flavoured, ctx, u)
}

// find parses rawURL and returns the backend of its scheme.
func (b Backends) find(rawURL string) (Backend, *url.URL, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	backend := b[u.Scheme]
	if backend == nil {
		known := slices.DeleteFunc(slices.Sorted(maps.Keys(b)), func(s string) bool { return b[s] == nil })
		if len(known) == 0 {
			return nil, nil, fmt.Errorf("messaging: open %s: no backend has scheme %q: the Backends map is empty", params.Redacted(u), u.Scheme)
		}
		return nil, nil, fmt.Errorf("messaging: open %s: no backend has scheme %q; there are: %s", params.Redacted(u), u.Scheme, strings.Join(known, ", "))
	}
	return backend, u, nil
}

// parseURL parses a URL of the form scheme://... Its errors quote nothing of
// the text but the scheme: where the form is wrong, a password can be anywhere.
func parseURL(rawURL string) (*url.URL, error) {
	if strings.ContainsFunc(rawURL, unicode.IsControl) {
		return nil, errors.New("messaging: the url has a control character, such as a line break at its end")
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		// url.Error and what it wraps quote their input.
		return nil, errors.New("messaging: the url does not parse (not quoted here: it may hold a password): escape what is special in its user, password, host and path")
	}
	rest, ok := strings.CutPrefix(rawURL[len(u.Scheme):], "://")
	if !ok {
		return nil, errors.New("messaging: the url does not begin with a scheme and ://, such as mem://orders")
	}
	if strings.Contains(rest, "#") {
		// url.Parse takes it for a fragment, so that subject=order.# would be
		// subject=order. without a word.
		return nil, fmt.Errorf("messaging: the url %s://… has a #: write it as %%23", u.Scheme)
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 && strings.Contains(rest[i:], "@") {
		return nil, fmt.Errorf("messaging: the url %s://… has an @ behind its host: write it as %%40, and in a password / as %%2F and ? as %%3F", u.Scheme)
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return nil, fmt.Errorf("messaging: the query of the url %s://… does not parse: escape %%, & and ; in its values", u.Scheme)
	}
	return u, nil
}
