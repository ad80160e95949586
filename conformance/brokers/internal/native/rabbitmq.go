package native

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/process"
)

// scripts returns the folder of RabbitMQ's own scripts: the one that Debian
// puts on PATH changes user and asks for root.
func scripts() (string, error) {
	places := []string{"/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, "rabbitmq-server")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("rabbitmq-server: %w in %s", ErrMissing, strings.Join(places, ", "))
}

// HasRabbitMQ says what is missing to run RabbitMQ, or nil.
func HasRabbitMQ() error {
	if _, err := scripts(); err != nil {
		return err
	}
	if _, err := exec.LookPath("epmd"); err != nil {
		return fmt.Errorf("epmd, which comes with Erlang: %w on PATH", ErrMissing)
	}
	return nil
}

// RabbitMQ starts a RabbitMQ of so many nodes, which form a cluster. User and
// password are guest.
func RabbitMQ(ctx context.Context, nodes int) (*Broker, error) {
	if err := HasRabbitMQ(); err != nil {
		return nil, fmt.Errorf("native: start RabbitMQ: %w", err)
	}
	folder, err := process.NewFolder("rabbitmq")
	if err != nil {
		return nil, fmt.Errorf("native: start RabbitMQ: %w", err)
	}
	b := &Broker{folder: folder}
	if err := b.startRabbitMQ(ctx, nodes); err != nil {
		folder.Close()
		return nil, fmt.Errorf("native: start RabbitMQ: %w", err)
	}
	return b, nil
}

func (b *Broker) startRabbitMQ(ctx context.Context, nodes int) error {
	// The Erlang cookie, by which the nodes and the tool know each other.
	if err := os.WriteFile(b.folder.Path(".erlang.cookie"), []byte(rand.Text()), 0o400); err != nil {
		return err
	}
	epmd, err := b.startEpmd(ctx)
	if err != nil {
		return err
	}
	for i := range nodes {
		s, err := rabbitNode(b.folder, epmd, i+1)
		if err != nil {
			return err
		}
		b.Servers = append(b.Servers, s)
	}
	if err := each(b.Servers, func(s *Server) error { return s.Start(ctx) }); err != nil {
		return err
	}
	return b.join(ctx)
}

// join makes one cluster of the nodes, one after the other. A node forgets
// what it had when it joins, and knows its cluster from then on.
func (b *Broker) join(ctx context.Context) error {
	for _, s := range b.Servers[1:] {
		for _, args := range [][]string{{"stop_app"}, {"join_cluster", b.Servers[0].Name}, {"start_app"}} {
			if _, err := s.Tool(ctx, args...); err != nil {
				return err
			}
		}
		if err := awaitReady(ctx, s.child, s.ready); err != nil {
			return err
		}
	}
	return nil
}

// startEpmd starts Erlang's port mapper, on a port of its own and in the
// foreground. A node that finds none starts one that outlives it.
func (b *Broker) startEpmd(ctx context.Context) (port int, err error) {
	if port, err = b.folder.Port(); err != nil {
		return 0, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	child, err := b.folder.Start("epmd", []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.folder.Path()},
		"epmd", "-address", "127.0.0.1", "-port", strconv.Itoa(port))
	if err != nil {
		return 0, err
	}
	return port, awaitReady(ctx, child, func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
}

const rabbitConfig = `listeners.tcp.1 = 127.0.0.1:%d
loopback_users = none
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 50MB
`

// rabbitNode prepares a node.
func rabbitNode(folder *process.Folder, epmd, number int) (*Server, error) {
	dir, err := scripts()
	if err != nil {
		return nil, err
	}
	port, err := folder.Port()
	if err != nil {
		return nil, err
	}
	distribution, err := folder.Port()
	if err != nil {
		return nil, err
	}
	home := folder.Path("node" + strconv.Itoa(number))
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"rabbitmq.conf":   fmt.Sprintf(rabbitConfig, port),
		"enabled_plugins": "[].\n",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	s := &Server{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Name:    fmt.Sprintf("rabbit%d@localhost", number),
		folder:  folder,
		args:    []string{filepath.Join(dir, "rabbitmq-server")},
	}
	s.environ = rabbitEnviron(folder.Path(), home, s.Name, distribution, epmd)
	s.ready = func(ctx context.Context) error { return HandshakeAMQP(ctx, s.Address) }
	s.tool = func(ctx context.Context, args ...string) (string, error) {
		return s.run(ctx, append([]string{filepath.Join(dir, "rabbitmqctl"), "--node", s.Name, "--silent"}, args...))
	}
	return s, nil
}

func rabbitEnviron(cookie, home, name string, distribution, epmd int) []string {
	at := func(elements ...string) string { return filepath.Join(append([]string{home}, elements...)...) }
	return []string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + cookie, "RABBITMQ_LOG=-color",
		"RABBITMQ_NODENAME=" + name,
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(distribution),
		"ERL_EPMD_PORT=" + strconv.Itoa(epmd), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_MNESIA_BASE=" + at("data"), "RABBITMQ_LOG_BASE=" + at("log"),
		"RABBITMQ_CONFIG_FILE=" + at("rabbitmq.conf"),
		"RABBITMQ_CONF_ENV_FILE=" + at("none"), // the system's own
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + at("enabled_plugins"),
		"RABBITMQ_FEATURE_FLAGS_FILE=" + at("feature_flags"),
		"RABBITMQ_PID_FILE=" + at("pid"),
		"RABBITMQ_ALLOW_INPUT=1", // exec: the server is the child itself, not the child of a shell
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
	}
}

// run runs a command as the server's user would, and returns its output.
func (s *Server) run(ctx context.Context, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = s.environ, s.folder.Path()
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("native: %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// HandshakeAMQP opens a connection to a RabbitMQ, as guest, and closes it.
func HandshakeAMQP(ctx context.Context, address string) error {
	config := amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if deadline, ok := ctx.Deadline(); ok && err == nil {
			err = c.SetDeadline(deadline)
		}
		return c, err
	}}
	c, err := amqp.DialConfig("amqp://guest:guest@"+address+"/", config)
	if err != nil {
		return err
	}
	return c.Close()
}
