package conformance_test

import (
	"context"
	"net/url"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/conformance"
)

// TestProgram runs the suite in a program, where there is no test.
func TestProgram(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "run", "./testdata/program").CombinedOutput()
	if err != nil || string(out) != "held\n" {
		t.Errorf("the program printed %q, want that Q04 is held: %v", out, err)
	}
}

// TestNewMutant writes a mutant as anybody can, outside of the package.
func TestNewMutant(t *testing.T) {
	m := conformance.Mutant{
		Name: "forgets-1-in-500", Breaks: "P01", Flavour: conformance.ForQueue,
		About:  "One message in 500 is acknowledged and not published.",
		Target: func(t *conformance.Target) { t.Backend = &forgetful{QueueBackend: t.Backend.(messaging.QueueBackend)} },
	}
	var kills kills
	kill(t, m, conformance.ForQueue, &kills)
	t.Log(kills.table())
}

// forgetful is a backend whose publishers forget.
type forgetful struct {
	messaging.QueueBackend
	published atomic.Int64
}

func (f *forgetful) OpenPublisher(ctx context.Context, u *url.URL) (messaging.Publisher, error) {
	p, err := f.QueueBackend.OpenPublisher(ctx, u)
	return forgetfulPublisher{p, f}, err
}

type forgetfulPublisher struct {
	messaging.Publisher
	f *forgetful
}

func (p forgetfulPublisher) Publish(ctx context.Context, ms ...messaging.Message) error {
	ms = slices.DeleteFunc(slices.Clone(ms), func(messaging.Message) bool { return p.f.published.Add(1)%500 == 0 })
	return p.Publisher.Publish(ctx, ms...)
}
