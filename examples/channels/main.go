// Command channels is a service whose channels are named in a file, so that
// swapping the broker is editing that file:
//
//	go run ./examples/channels
//	go run ./examples/channels -channels mine.json
//
// The file says {"channels": {"orders": "mem://orders?group=billing", ...}};
// without one, channels.json beside this program is used. On RabbitMQ a channel
// is amqp://user:password@host/?queue=orders, for instance. The service
// (billing.go) reads orders and sends invoices, and puts aside what cannot be
// billed. Since a broker in memory has nobody else on it, this program also
// sends a few orders, reads what comes of them, and ends.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/kafka"
	"github.com/fa5182d2/messaging/memory"
	"github.com/fa5182d2/messaging/rabbitmq"
)

//go:embed channels.json
var builtIn []byte

// backends are the brokers that the file can name, by URL scheme.
func backends() messaging.Backends {
	return messaging.Backends{
		"mem":   &memory.Backend{},
		"kafka": &kafka.Backend{},
		"amqp":  &rabbitmq.Backend{Create: true},
		"amqps": &rabbitmq.Backend{Create: true},
	}
}

func main() {
	file := flag.String("channels", "", "the `file` that names the channels")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Stdout, *file); err != nil {
		fmt.Fprintln(os.Stderr, "channels:", err)
		os.Exit(1)
	}
}

// run runs the service until the customer has what came of its orders.
func run(ctx context.Context, out io.Writer, file string) error {
	content := builtIn
	if file != "" {
		var err error
		if content, err = os.ReadFile(file); err != nil {
			return err
		}
	} else {
		file = "channels.json"
	}
	c, err := parseChannels(file, content, backends())
	if err != nil {
		return err
	}
	b, err := openBilling(ctx, c)
	if err != nil {
		return err
	}

	serving, stop := context.WithCancel(ctx)
	var served error
	var wg sync.WaitGroup
	wg.Go(func() {
		served = b.run(serving)
		stop() // a customer of a service that is gone need not wait
	})
	err = beCustomer(serving, c, out)
	stop()
	wg.Wait()
	return errors.Join(cmp.Or(served, err), b.close())
}
