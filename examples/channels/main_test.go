package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance/brokers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var wantLines = []string{
	"invoice   order 1: ann owes 12.50",
	"invoice   order 2: bob owes 3.99",
	"invoice   order 3: ann owes 700.00",
	"rejected  what is this?: messaging: decode body into main.order: invalid character 'w' looking for beginning of value",
	`rejected  {"ID": "4", "Customer": "cem"}: order 4 has no amount`,
}

// Swapping a channel's broker, or its kind, is editing the file.
func TestChannels(t *testing.T) {
	for name, content := range map[string]string{
		"as it comes": "",
		"elsewhere":   `{"channels": {"orders": "mem://a/b?order=key", "invoices": "mem://c", "rejected": "mem://d"}}`,
		"streams":     `{"channels": {"orders": "mem://a?kind=stream&group=billing", "invoices": "mem://b?kind=stream", "rejected": "mem://c?kind=stream"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := ""
			if content != "" {
				file = writeFile(t, content)
			}
			var out strings.Builder
			if err := run(t.Context(), &out, file); err != nil {
				t.Fatal(err)
			}
			// The order of a queue's messages is nobody's promise.
			if got := slices.Sorted(strings.Lines(out.String())); strings.Join(got, "") != strings.Join(wantLines, "\n")+"\n" {
				t.Errorf("got\n%s", strings.Join(got, ""))
			}
		})
	}
}

// The same service on RabbitMQ.
func TestChannelsOnRabbitMQ(t *testing.T) {
	broker := brokers.RabbitMQ(t)
	id := messaging.NewID()
	channel := func(name string) string { return broker + "?queue=" + name + "-" + id }
	content, err := json.Marshal(map[string]any{"channels": map[string]string{
		"orders": channel("orders"), "invoices": channel("invoices"), "rejected": channel("rejected"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out, writeFile(t, string(content))); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(strings.Lines(out.String())); strings.Join(got, "") != strings.Join(wantLines, "\n")+"\n" {
		t.Errorf("got\n%s", strings.Join(got, ""))
	}
}

func TestFilesThatAreWrong(t *testing.T) {
	const rest = `, "invoices": "mem://c", "rejected": "mem://d"}}`
	for content, want := range map[string]string{
		"":                                        "line 1: the file is empty",
		"{}":                                      "no channels: want",
		`{"channels": {"orders": "mem:/`:          "line 1: unexpected EOF",
		"{\n\n\"channels\": {,}}":                 "line 3: invalid character ','",
		"{\"channels\":\n{\"orders\": 7}}":        "line 2: json: cannot unmarshal number",
		`{"chanels": {}}`:                         `unknown field "chanels"`,
		`{"channels": {"orders": "mem://a"}} {}`:  "more follows",
		`{"channels": {"orders": "mem://a"}}}`:    "more follows",
		`{"channels": {"order": "mem://a"` + rest: `no channel "orders"; there are: invoices, order, rejected`,
		`{"channels": {"orders": "bunny://u:secret@h"` + rest:  `channel "orders": messaging: open bunny://h: no backend has scheme "bunny"; there are: `,
		`{"channels": {"orders": "mem://u:secret%zz@h"` + rest: `channel "orders": messaging: the url does not parse`,
		`{"channels": {"orders": "mem://u:secret@h"` + rest:    `channel "orders": memory: open queue mem://`,
		`{"channels": {"orders": "orders"` + rest:              "the url does not begin with a scheme",
		`{"channels": {"orders": "mem://a?colour=red"` + rest:  `unknown url parameter "colour"`,
	} {
		file := writeFile(t, content)
		err := run(t.Context(), new(strings.Builder), file)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n gives %v,\n want %s", content, err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error holds a password: %v", err)
		}
		if !strings.Contains(err.Error(), filepath.Base(file)) {
			t.Errorf("the error does not name the file: %v", err)
		}
	}
	if err := run(t.Context(), new(strings.Builder), filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, new(strings.Builder), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mine.json")
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}
