package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fa5182d2/messaging"
)

// channels opens channels by the names that a file gives them.
type channels struct {
	file     string
	urls     map[string]string
	backends messaging.Backends
}

// parseChannels reads a file of the form
//
//	{"channels": {"NAME": "URL", ...}}
//
// The name of the file is for errors, which quote nothing of a URL: it may
// hold a password.
func parseChannels(file string, content []byte, backends messaging.Backends) (*channels, error) {
	var parsed struct {
		Channels map[string]string `json:"channels"`
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	err := dec.Decode(&parsed)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF { // not dec.More, which a brace too many escapes
			err = errors.New("more follows after the closing brace")
		}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s, line %d: %w", file, lineOf(content, dec.InputOffset(), err), err)
	}
	if len(parsed.Channels) == 0 {
		return nil, fmt.Errorf(`%s: no channels: want {"channels": {"orders": "mem://orders", ...}}`, file)
	}
	return &channels{file, parsed.Channels, backends}, nil
}

// lineOf returns the line that err is about; its place is in err, or where
// reading ended.
func lineOf(content []byte, offset int64, err error) int {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = syntax.Offset
	}
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset = mistyped.Offset
	}
	return 1 + bytes.Count(content[:min(offset, int64(len(content)))], []byte("\n"))
}

// publisher opens the channel of that name to publish to.
func (c *channels) publisher(ctx context.Context, name string) (messaging.Publisher, error) {
	return open(ctx, c, name, c.backends.OpenPublisher)
}

// subscriber opens the channel of that name to consume from. The URL decides
// whether it is a queue or a stream.
func (c *channels) subscriber(ctx context.Context, name string) (messaging.Subscriber, error) {
	return open(ctx, c, name, c.backends.OpenSubscriber)
}

func open[T any](ctx context.Context, c *channels, name string, open func(context.Context, string) (T, error)) (opened T, err error) {
	url, ok := c.urls[name]
	if !ok {
		return opened, fmt.Errorf("%s: no channel %q; there are: %s", c.file, name, strings.Join(slices.Sorted(maps.Keys(c.urls)), ", "))
	}
	if opened, err = open(ctx, url); err != nil {
		return opened, fmt.Errorf("%s: channel %q: %w", c.file, name, err)
	}
	return opened, nil
}
