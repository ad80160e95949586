// Package install gets the brokers' programs from the package registries: what
// needs no rights goes into the user's cache folder, what the system's package
// manager has is only installed by root, without starting its services.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/native"
)

// An Item is something to be installed.
type Item struct {
	Name string
	From string // the registry
	Cost string // how large, and roughly how long

	// Missing says what is not there, nil where it is there already.
	Missing func() error

	// Impossible says what is missing to install it, and what to type.
	Impossible func() error

	install func(ctx context.Context) error
}

// RabbitMQ returns what RabbitMQ needs.
func RabbitMQ() []*Item {
	return []*Item{apt("RabbitMQ with Erlang", "30 MB to fetch, 80 MB on disk, about 30 s", native.HasRabbitMQ, "brew install rabbitmq", "rabbitmq-server")}
}

// Kafka returns what Kafka needs.
func Kafka() []*Item {
	return []*Item{
		apt("Java", "50 MB to fetch, 190 MB on disk, about 20 s", onPath("java"), "brew install openjdk", "default-jre-headless"),
		apt("Maven", "10 MB to fetch, 20 MB on disk, about 10 s", mavenIfNeeded, "brew install maven", "maven"),
		kafkaJars(),
	}
}

// Install installs it.
func (i *Item) Install(ctx context.Context) error {
	if err := i.install(ctx); err != nil {
		return fmt.Errorf("install: %s: %w", i.Name, err)
	}
	if err := i.Missing(); err != nil {
		return fmt.Errorf("install: %s: installed, but: %w", i.Name, err)
	}
	return nil
}

func onPath(program string) func() error {
	return func() error {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s: %w on PATH", program, native.ErrMissing)
		}
		return nil
	}
}

// command runs a command that says what it does only when it fails.
func command(ctx context.Context, environ []string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), environ...)
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%v: %w; it said:\n%s", args, err, lastOf(out))
	}
	return nil
}

func lastOf(out []byte) []byte { return out[max(0, len(out)-2000):] }

var errByHand = errors.New("to be installed by hand")
