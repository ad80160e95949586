package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
)

// group is the subscription that this program reads with, on either half.
const group = "quickstart"

// tour takes the lines of the input through one channel of a broker: through
// its queue and through its stream, if it has them.
type tour struct {
	*program
	url   string
	runID string // tells this run's messages from an earlier run's

	publishing
	queue  *queueHalf  // nil: the channel has none
	stream *streamHalf // nil: the channel has none
}

// open opens both halves of the channel before anything is published, so that
// they get all of it.
func (t *tour) open(ctx context.Context) (err error) {
	t.pub, err = t.backends.OpenPublisher(ctx, withDefaults(t.url, "create", "true"))
	if err != nil {
		return err
	}
	// A group that is new starts with what comes now: what a long-lived broker
	// already keeps is not ours.
	shared := withDefaults(t.url, "create", "true", "group", group, "start", "latest")
	noQueue := t.openQueue(ctx, shared)
	if noQueue != nil && !errors.Is(noQueue, errors.ErrUnsupported) {
		return noQueue
	}
	noStream := t.openStream(ctx, shared)
	if noStream != nil && !errors.Is(noStream, errors.ErrUnsupported) {
		return noStream
	}
	if noQueue != nil && noStream != nil {
		return errors.Join(noQueue, noStream)
	}
	return nil
}

// close closes what is open. By then everything is settled or given back.
func (t *tour) close() {
	if t.queue != nil {
		t.queue.close()
	}
	if t.stream != nil {
		_ = t.stream.sub.Close()
	}
	if t.pub != nil {
		_ = t.pub.Close()
	}
}

// run publishes the lines while the workers share them, follows them as a
// stream and replays them.
func (t *tour) run(ctx context.Context) error {
	publish := t.publish
	if t.queue != nil {
		publish = t.queue.share
	}
	if err := publish(ctx); err != nil || t.stream == nil {
		return err
	}
	return t.stream.readTwice(ctx)
}

// consumeUntil runs consumers until meanwhile has returned and all that the
// tally expects is there, or something failed, or ctx ended. Then it tells
// them to drain and waits for them.
func (t *tour) consumeUntil(ctx context.Context, all *tally, meanwhile func(context.Context) error, consumers ...func(context.Context) error) error {
	work, drain := context.WithCancelCause(ctx)
	errs := make([]error, len(consumers))
	var wg sync.WaitGroup
	for i, consume := range consumers {
		wg.Go(func() {
			if errs[i] = consume(work); errs[i] != nil {
				drain(errs[i]) // without the one, the others need not go on
			}
		})
	}
	err := meanwhile(work)
	if err == nil {
		err = all.wait(work, t.patience)
	}
	drain(err)
	wg.Wait()
	for _, e := range errs {
		if e != nil && !errors.Is(err, e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// withDefaults adds parameters, as names and values, to a URL that does not
// have them. One that does not parse, or has a #, is returned as it is: opening
// it says so, without quoting it.
func withDefaults(rawURL string, pairs ...string) string {
	u, err := url.Parse(rawURL)
	if err != nil || strings.Contains(rawURL, "#") {
		return rawURL
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return rawURL
	}
	for i := 0; i < len(pairs); i += 2 {
		if !q.Has(pairs[i]) {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	text, _, _ := strings.Cut(rawURL, "?") // not u.String, which makes mem: of mem://
	return text + "?" + q.Encode()
}

// shown is the URL without what may be secret: its user and parameters.
func shown(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "a url that does not parse"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
