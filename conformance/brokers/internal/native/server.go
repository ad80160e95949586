package native

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/process"
)

// ErrMissing is in the chain of an error that says what is not installed.
var ErrMissing = errors.New("not installed")

// A Server is one server of a broker. Its methods may be called from several
// goroutines, one after the other.
type Server struct {
	Address string // host:port for clients
	Name    string // as the broker calls it

	folder  *process.Folder
	environ []string
	args    []string
	ready   func(ctx context.Context) error // a client's handshake
	tool    func(ctx context.Context, args ...string) (string, error)

	mu    sync.Mutex
	child *process.Child // nil: not running
}

// A Broker is one or several servers that form one.
type Broker struct {
	Servers []*Server
	folder  *process.Folder
}

// Close kills the servers and removes their data.
func (b *Broker) Close() error { return b.folder.Close() }

// Start starts the server on its data and its port, and returns when a
// client's handshake succeeds.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != nil && s.child.Err() == nil {
		return fmt.Errorf("native: start %s: it runs already", s.Name)
	}
	child, err := s.folder.Start(s.Name, s.environ, s.args...)
	if err != nil {
		return fmt.Errorf("native: %w", err)
	}
	s.child = child
	if err := awaitReady(ctx, child, s.ready); err != nil {
		return fmt.Errorf("native: start %s: %w", s.Name, err)
	}
	return nil
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill(context.Context) error {
	return s.running(func(c *process.Child) error {
		s.child = nil
		return c.Kill()
	})
}

// Pause stops every thread of the server.
func (s *Server) Pause(context.Context) error { return s.running((*process.Child).Pause) }

// Resume lets it go on.
func (s *Server) Resume(context.Context) error { return s.running((*process.Child).Resume) }

func (s *Server) running(f func(*process.Child) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return fmt.Errorf("native: %s is not running", s.Name)
	}
	return f(s.child)
}

// Tool runs the broker's own command line tool against the server and returns
// what it says.
func (s *Server) Tool(ctx context.Context, args ...string) (string, error) {
	return s.tool(ctx, args...)
}

// Log returns the last lines of what the server said, of all its runs.
func (s *Server) Log(context.Context) string {
	return s.folder.Tail(s.Name)
}

// awaitReady tries ready until it succeeds, the child ends or ctx does.
func awaitReady(ctx context.Context, child *process.Child, ready func(context.Context) error) error {
	err := Ready(ctx, child.Done(), ready)
	if ended := child.Err(); err != nil && ended != nil {
		return ended
	} else if err != nil {
		return fmt.Errorf("%w; it said:\n%s", err, child.Tail())
	}
	return nil
}

// Ready tries a handshake until it succeeds, ended is closed or ctx ends.
func Ready(ctx context.Context, ended <-chan struct{}, handshake func(context.Context) error) error {
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := handshake(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%w: no handshake: %w", context.Cause(ctx), err)
		case <-retry.C:
		}
	}
}

// each runs f for every server at the same time.
func each(servers []*Server, f func(*Server) error) error {
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { errs[i] = f(s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
