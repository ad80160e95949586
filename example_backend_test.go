package messaging_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"

	"github.com/fa5182d2/messaging"
)

// printer is a backend that prints what is published to it. Its fields are
// defaults, which the parameters of a URL override.
type printer struct {
	To     io.Writer
	Prefix string // prefix= in a URL
}

// OpenPublisher opens a publisher to print://NAME. A parameter that it does
// not know is an error: a spelling mistake must not go unnoticed.
func (b printer) OpenPublisher(_ context.Context, u *url.URL) (messaging.Publisher, error) {
	query := u.Query()
	for name := range query {
		if name != "prefix" {
			return nil, fmt.Errorf("print: open publisher %s: unknown url parameter %q; there are: prefix", u.Host, name)
		}
	}
	if query.Has("prefix") {
		b.Prefix = query.Get("prefix")
	}
	return &printing{printer: b, channel: u.Host}, nil
}

// printing is a publisher of a printer.
type printing struct {
	printer
	channel string

	mu     sync.Mutex
	closed bool
}

func (p *printing) Publish(ctx context.Context, msgs ...messaging.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return fmt.Errorf("print: publish to %s: %w", p.channel, messaging.ErrClosed)
	case ctx.Err() != nil:
		return fmt.Errorf("print: publish to %s: %w", p.channel, ctx.Err())
	}
	errs, failed := make([]error, len(msgs)), false
	for i, m := range msgs {
		if _, err := fmt.Fprintf(p.To, "%s%s: %s\n", p.Prefix, p.channel, m.Body); err != nil {
			// Some of it may have been printed.
			errs[i], failed = fmt.Errorf("print: publish to %s: %w: %w", p.channel, messaging.ErrUncertain, err), true
		}
	}
	if failed {
		return &messaging.BatchError{Errs: errs}
	}
	return nil
}

func (p *printing) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// A backend is a type with OpenPublisher, and OpenQueue or OpenStream or both
// where it has them.
func ExampleBackend() {
	ctx := context.Background()
	backends := messaging.Backends{"print": printer{To: os.Stdout, Prefix: "> "}}

	pub := must(backends.OpenPublisher(ctx, "print://greetings"))
	check(pub.Publish(ctx, messaging.Message{Body: []byte("hello")}, messaging.Message{Body: []byte("good-bye")}))
	check(pub.Close())
	fmt.Println(pub.Publish(ctx, messaging.Message{Body: []byte("still there?")}))

	_, err := backends.OpenPublisher(ctx, "print://greetings?perfix=-")
	fmt.Println(err)
	_, err = backends.OpenQueue(ctx, "print://greetings")
	fmt.Println(err)
	// Output:
	// > greetings: hello
	// > greetings: good-bye
	// print: publish to greetings: messaging: closed
	// print: open publisher greetings: unknown url parameter "perfix"; there are: prefix
	// messaging: open queue print://greetings: scheme "print" has none: unsupported operation
}
