package rabbitmq_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/conformance/brokers"
)

// newStormTarget is a target of a broker of the test's own, behind a network.
func newStormTarget(t *testing.T, broker *brokers.Broker, kind string) func() *conformance.Target {
	return func() *conformance.Target {
		u, err := url.Parse(broker.URL())
		if err != nil {
			t.Fatal(err)
		}
		network := conformance.NewNetwork()
		if u.Host, err = network.Address(u.Host); err != nil {
			t.Fatal(err)
		}
		target := newTarget(broker.URL(), kind)()
		direct := target.URL
		target.URL = func(channel string) string { return strings.Replace(direct(channel), broker.URL(), u.String(), 1) }
		target.Network = network
		target.Unclaimed = maps.Clone(target.Unclaimed)
		target.Unclaimed["P08a"] = "the broker does not tell a message that is published again from another"
		target.Unclaimed["Q03"] = "an acknowledgement has no answer: one that is lost with its connection is not known to be"
		clean := target.Close
		target.Close = func() {
			network.Close()
			clean()
		}
		node := broker.Nodes[0]
		target.Restart = node.Restart
		target.Pause = func(ctx context.Context) (func(), error) {
			return func() { _ = node.Resume(context.Background()) }, node.Pause(ctx)
		}
		return target
	}
}

var storms = flag.String("storms", "mixed", "the faults of TestStorm, with commas between them: F1,F2,F4,F5,mixed are all")

// TestStorm judges both types of queue while the network and the broker fail.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes: run it without -short")
	}
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			target := newStormTarget(t, brokers.OwnRabbitMQ(t, 1), kind)
			for _, fault := range strings.Split(*storms, ",") {
				t.Run(fault, func(t *testing.T) {
					start := time.Now()
					conformance.Queue(t, target, &conformance.Options{Most: 300, Faults: []string{fault}, Scenarios: []string{"storm"}, Reports: func(r *conformance.Report) {
						t.Log(time.Since(start).Round(time.Second), fmt.Sprint(r.Cells[0].Evidence))
					}})
				})
			}
		})
	}
}
