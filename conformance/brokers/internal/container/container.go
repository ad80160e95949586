// Package container runs the real brokers as containers, where an engine
// answers.
//
// Each server has a fixed port of 127.0.0.1, since one that the engine chose
// would change with a restart. A container carries the path of the folder of
// the process that made it: what a killed process leaves behind is removed by
// [Sweep].
package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	engine "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/native"
	"github.com/fa5182d2/messaging/conformance/brokers/internal/process"
)

// label is what a container has its owner's folder in.
const label = "messaging.brokers.folder"

// Available says why containers cannot be had, or nil.
func Available(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return fmt.Errorf("no container engine: %w", err)
	}
	defer c.Close()
	if _, err := c.Ping(ctx, client.PingOptions{}); err != nil {
		return fmt.Errorf("no container engine answers: %w", err)
	}
	return nil
}

// A Broker is one or several servers that form one.
type Broker struct {
	mu      sync.Mutex // of Servers, while they start
	Servers []*Server
	folder  *process.Folder
	network *testcontainers.DockerNetwork
	client  *testcontainers.DockerClient
}

// A Server is one server of a broker, in a container of its own.
type Server struct {
	Address string // host:port for clients
	Name    string // as the broker calls it

	broker    *Broker
	container testcontainers.Container
	ready     func(ctx context.Context) error
	tool      []string // what the arguments of Tool follow
}

func newBroker(ctx context.Context) (*Broker, error) {
	folder, err := process.NewFolder("container")
	if err != nil {
		return nil, err
	}
	b := &Broker{folder: folder}
	if b.client, err = testcontainers.NewDockerClientWithOpts(ctx); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	if err := sweep(ctx, b.client); err != nil {
		return nil, errors.Join(err, b.client.Close(), folder.Close())
	}
	return b, nil
}

// run starts a container, in which the server's port has a fixed one of
// 127.0.0.1, and waits until the server is ready.
func (b *Broker) run(ctx context.Context, s *Server, image string, inside int, options ...testcontainers.ContainerCustomizer) error {
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return err
	}
	exposed := strconv.Itoa(inside) + "/tcp"
	fixed := network.PortMap{network.MustParsePort(exposed): {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: port}}}
	options = append(options,
		testcontainers.WithExposedPorts(exposed),
		testcontainers.WithLabels(map[string]string{label: b.folder.Path()}),
		testcontainers.WithHostConfigModifier(func(c *engine.HostConfig) { c.PortBindings = fixed }),
		testcontainers.WithLogger(silent{}),
	)
	s.broker = b
	s.container, err = testcontainers.Run(ctx, image, options...)
	if s.container != nil {
		b.mu.Lock()
		b.Servers = append(b.Servers, s) // to be removed, however far it came
		b.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", image, err)
	}
	return s.awaitReady(ctx)
}

// silent is a logger: what is to be said is in errors.
type silent struct{}

func (silent) Printf(string, ...any) {}

// awaitReady tries the handshake until it succeeds, the container ends or ctx
// does.
func (s *Server) awaitReady(ctx context.Context) error {
	err := native.Ready(ctx, nil, s.ready)
	if err != nil {
		return fmt.Errorf("%s: %w; it said:\n%s", s.Name, err, s.Log(context.WithoutCancel(ctx)))
	}
	return nil
}

// Start starts a server that was killed, and waits until it is ready.
func (s *Server) Start(ctx context.Context) error {
	if state, err := s.container.State(ctx); err != nil {
		return fmt.Errorf("container: start %s: %w", s.Name, err)
	} else if state.Running {
		return fmt.Errorf("container: start %s: it runs already", s.Name)
	}
	if _, err := s.broker.client.ContainerStart(ctx, s.container.GetContainerID(), client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("container: start %s: %w", s.Name, err)
	}
	if err := s.awaitReady(ctx); err != nil {
		return fmt.Errorf("container: start %w", err)
	}
	return nil
}

// Kill ends the server with SIGKILL, and returns when it is gone.
func (s *Server) Kill(ctx context.Context) error {
	id := s.container.GetContainerID()
	if _, err := s.broker.client.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		return fmt.Errorf("container: kill %s: %w", s.Name, err)
	}
	gone := s.broker.client.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: engine.WaitConditionNotRunning})
	select {
	case err := <-gone.Error:
		return fmt.Errorf("container: kill %s: %w", s.Name, err)
	case <-gone.Result:
		return nil
	}
}

// Pause stops every process of the container.
func (s *Server) Pause(ctx context.Context) error {
	if _, err := s.broker.client.ContainerPause(ctx, s.container.GetContainerID(), client.ContainerPauseOptions{}); err != nil {
		return fmt.Errorf("container: pause %s: %w", s.Name, err)
	}
	return nil
}

// Resume lets it go on.
func (s *Server) Resume(ctx context.Context) error {
	if _, err := s.broker.client.ContainerUnpause(ctx, s.container.GetContainerID(), client.ContainerUnpauseOptions{}); err != nil {
		return fmt.Errorf("container: resume %s: %w", s.Name, err)
	}
	return nil
}

// Tool runs the broker's own command line tool in the container and returns
// what it says.
func (s *Server) Tool(ctx context.Context, args ...string) (string, error) {
	args = append(s.tool[:len(s.tool):len(s.tool)], args...)
	code, out, err := s.container.Exec(ctx, args, exec.Multiplexed())
	if err != nil {
		return "", fmt.Errorf("container: %s: %w", strings.Join(args, " "), err)
	}
	said, err := io.ReadAll(out)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	if err != nil {
		return string(said), fmt.Errorf("container: %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return string(said), nil
}

// Log returns the last lines of what the server has said.
func (s *Server) Log(ctx context.Context) string {
	if s.container == nil {
		return ""
	}
	r, err := s.container.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, _ := io.ReadAll(r)
	return string(b[max(0, len(b)-4000):])
}

// Close removes the containers with their data.
func (b *Broker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	for _, s := range b.Servers {
		errs = append(errs, remove(ctx, b.client, s.container.GetContainerID()))
		// It is gone, also when it was paused. This closes the connection to the
		// engine that testcontainers has kept for it.
		_ = s.container.Terminate(ctx, testcontainers.StopTimeout(0))
	}
	if b.network != nil {
		errs = append(errs, b.network.Remove(ctx))
	}
	if err := errors.Join(append(errs, b.client.Close(), b.folder.Close())...); err != nil {
		return fmt.Errorf("container: close broker: %w", err)
	}
	return nil
}

func remove(ctx context.Context, c *testcontainers.DockerClient, id string) error {
	_, err := c.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return err
}

// Sweep removes the containers of owners that are dead, where an engine
// answers.
func Sweep(ctx context.Context) error {
	if Available(ctx) != nil {
		return nil
	}
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return fmt.Errorf("container: remove what was left behind: %w", err)
	}
	defer c.Close()
	return sweep(ctx, c)
}

// sweep removes the containers whose folder is not there any more: it is
// removed when its owner dies, or by the sweep of the next one.
func sweep(ctx context.Context, c *testcontainers.DockerClient) error {
	found, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", label)})
	if err != nil {
		return fmt.Errorf("container: find what was left behind: %w", err)
	}
	var errs []error
	for _, one := range found.Items {
		if _, err := os.Stat(one.Labels[label]); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, remove(ctx, c, one.ID))
		}
	}
	networks, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("label", label)})
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, one := range networks.Items {
		if _, err := os.Stat(one.Labels[label]); errors.Is(err, os.ErrNotExist) {
			_, err := c.NetworkRemove(ctx, one.ID, client.NetworkRemoveOptions{})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
