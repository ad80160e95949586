package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/fa5182d2/messaging/conformance/brokers"
	"github.com/fa5182d2/messaging/conformance/brokers/internal/install"
	"github.com/fa5182d2/messaging/conformance/brokers/internal/process"
)

// broker is one that the launcher can make available.
type broker struct {
	name     string
	variable string
	items    func() []*install.Item
	start    func(ctx context.Context, servers int) (*brokers.Broker, error)
}

func known() []broker {
	return []broker{
		{"rabbitmq", brokers.RabbitMQVariable, install.RabbitMQ, brokers.StartRabbitMQ},
		{"kafka", brokers.KafkaVariable, install.Kafka, brokers.StartKafka},
	}
}

// chosen returns the brokers with the names in a list.
func chosen(list string) ([]broker, error) {
	if list == "none" {
		return nil, nil
	}
	byName := map[string]broker{}
	var names []string
	for _, b := range known() {
		byName[b.name] = b
		names = append(names, b.name)
	}
	var out []broker
	for name := range strings.SplitSeq(list, ",") {
		b, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("-brokers: no broker %q: want none, or of %s", name, strings.Join(names, ","))
		}
		out = append(out, b)
	}
	return out, nil
}

// startBrokers makes brokers available, saying on log what it does, and
// returns their endpoints as environment variables (NAME=value) and a function
// that stops what it started. What cannot be had is said, and is no error:
// without it the tests that need it are skipped. It ends early with ctx.
func startBrokers(ctx context.Context, log io.Writer, lookup func(string) string, wanted []broker) (endpoints []string, stop func(), err error) {
	if err := errors.Join(process.Sweep(), brokers.Sweep(ctx)); err != nil {
		return nil, nil, err
	}
	s := &started{log: log}
	containers := brokers.HasContainers(ctx)
	var wg sync.WaitGroup
	for _, b := range wanted {
		if lookup(b.variable) != "" {
			s.say("%s: the one that %s names", b.name, b.variable)
			continue
		}
		if containers {
			s.say("%s: as a container; its image is fetched if it is not there", b.name)
			wg.Go(func() { s.start(ctx, b, containers) })
			continue
		}
		ready, err := s.install(ctx, b)
		if err != nil {
			wg.Wait()
			return nil, nil, errors.Join(err, s.stop())
		}
		if ready {
			wg.Go(func() { s.start(ctx, b, containers) })
		}
	}
	wg.Wait()
	if s.err != nil {
		return nil, nil, errors.Join(s.err, s.stop())
	}
	return s.endpoints, func() {
		if err := s.stop(); err != nil {
			s.say("stop brokers: %v", err)
		}
	}, nil
}

// started is what startBrokers has started.
type started struct {
	mu        sync.Mutex
	log       io.Writer
	brokers   []*brokers.Broker
	endpoints []string
	err       error
}

func (s *started) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.log, "run: "+format+"\n", args...)
}

// install installs what a broker needs to run as a process, and says false
// where it cannot.
func (s *started) install(ctx context.Context, b broker) (ready bool, err error) {
	var missing []*install.Item
	for _, item := range b.items() {
		if err := item.Missing(); err == nil {
			continue
		} else if cannot := item.Impossible(); cannot != nil {
			s.say("%s: not available: %v: %v", b.name, err, cannot)
			return false, nil
		}
		missing = append(missing, item)
		s.say("%s: will install %s, from %s: %s", b.name, item.Name, item.From, item.Cost)
	}
	for _, item := range missing {
		begun := time.Now()
		if err := item.Install(ctx); err != nil {
			return false, err
		}
		s.say("%s: installed %s in %v", b.name, item.Name, time.Since(begun).Round(100*time.Millisecond))
	}
	return true, nil
}

// start starts a broker. Where that is not possible as a container, such as
// without a way to its image, it is installed, to be a process.
func (s *started) start(ctx context.Context, b broker, containers bool) {
	begun := time.Now()
	started, err := b.start(ctx, 1)
	if err != nil && containers && ctx.Err() == nil {
		s.say("%s: %v", b.name, err)
		ready, failed := s.install(ctx, b)
		if !ready && failed == nil {
			return
		}
		if err = failed; err == nil {
			started, err = b.start(ctx, 1)
		}
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = errors.Join(s.err, err)
		return
	}
	s.say("%s: started in %v on %s", b.name, time.Since(begun).Round(100*time.Millisecond), started.Nodes[0].Address)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brokers = append(s.brokers, started)
	s.endpoints = append(s.endpoints, b.variable+"="+started.URL())
}

// stop stops what was started, and what the command's own processes left.
func (s *started) stop() error {
	var errs []error
	for _, b := range s.brokers {
		errs = append(errs, b.Close())
	}
	return errors.Join(append(errs, process.Sweep(), brokers.Sweep(context.Background()))...)
}
