package kafka

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/conformance/brokers"
)

// newTarget is a Kafka that is the test's own.
func newTarget(broker *brokers.Broker) func() *conformance.Target {
	address := broker.Nodes[0].Address
	return func() *conformance.Target {
		f := &faulty{Backend: Backend{}}
		return &conformance.Target{
			Name:    "kafka 4.1.0",
			Backend: f,
			URL: func(channel string) string {
				return "kafka://" + address + "/" + channel + "?create=true&partitions=4&session=1s&handover=2s"
			},
			Timing: conformance.Timing{Session: time.Second, Handover: 2 * time.Second},
			Hooks: conformance.Hooks{
				Crash:  crash,
				Freeze: f.freeze,
				Pause: func(ctx context.Context) (func(), error) {
					n := broker.Nodes[0]
					return func() { _ = n.Resume(context.Background()) }, n.Pause(ctx)
				},
				Restart: broker.Nodes[0].Restart,
				Faults: map[string]func(context.Context) (func() int, error){
					"F3": func(context.Context) (func() int, error) { return f.lossy.begin(), nil },
				},
				Delete: func(ctx context.Context, channel string) error { return deleteTopic(ctx, address, channel) },
				Trim: func(ctx context.Context, channel, partition string, before messaging.Offset) error {
					p, err := strconv.Atoi(partition)
					if err != nil {
						return err
					}
					offset, err := parseOffset(before)
					if err != nil {
						return err
					}
					return trim(ctx, address, channel, int32(p), offset)
				},
				AddPartitions: func(ctx context.Context, channel string, n int) error {
					return addPartitions(ctx, address, channel, n)
				},
			},
		}
	}
}

// TestConformance judges Kafka by all rules of streams, or by those that
// MESSAGING_RULES names, with commas between them; all is all of them.
func TestConformance(t *testing.T) {
	rules := os.Getenv("MESSAGING_RULES")
	if rules == "" {
		t.Skip("takes longer than go test's ten minutes: MESSAGING_RULES=all go test -timeout 2h -run Conformance ./kafka")
	}
	// Some scenarios take minutes: what each came to is shown when it has ended.
	began := time.Now()
	o := &conformance.Options{Most: 300, Limit: 20 * time.Minute, Histories: func(h *conformance.History) {
		t.Logf("%s under %s ended after %v", h.Scenario, h.Fault, time.Since(began).Round(time.Second))
		began = time.Now()
		report, err := conformance.Check(conformance.Claims{Most: 300}, h)
		if err != nil {
			t.Error(err)
			return
		}
		for _, c := range report.Cells {
			for i, v := range c.Violations {
				if i < 2 {
					t.Logf("%s violated: %s\n    %s", c.Rule, v.Text, strings.Join(v.Excerpt, "\n    "))
				}
			}
		}
	}}
	if rules != "all" {
		o.Rules = strings.Split(rules, ",")
	}
	conformance.Stream(t, newTarget(brokers.OwnKafka(t, 1)), o)
}
