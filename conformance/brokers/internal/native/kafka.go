package native

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/process"
)

// KafkaVersion is the version of the jars that are installed.
const KafkaVersion = "4.1.0"

// Cache returns the folder into which the launcher installs, in the user's
// cache folder.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("native: find the user's cache folder: %w", err)
	}
	return filepath.Join(dir, "messaging-brokers"), nil
}

// KafkaJars returns the folder with Kafka's jars, which need not be there.
func KafkaJars() (string, error) {
	cache, err := Cache()
	return filepath.Join(cache, "kafka-"+KafkaVersion), err
}

// HasKafka says what is missing to run Kafka, or nil.
func HasKafka() error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("java, 17 or newer: %w on PATH", ErrMissing)
	}
	jars, err := KafkaJars()
	if err != nil {
		return err
	}
	if _, err := os.Stat(jars); err != nil {
		return fmt.Errorf("kafka's jars: %w in %s", ErrMissing, jars)
	}
	return nil
}

// Kafka starts a Kafka of so many servers, each of them broker and controller.
func Kafka(ctx context.Context, servers int) (*Broker, error) {
	if err := HasKafka(); err != nil {
		return nil, fmt.Errorf("native: start Kafka: %w", err)
	}
	folder, err := process.NewFolder("kafka")
	if err != nil {
		return nil, fmt.Errorf("native: start Kafka: %w", err)
	}
	b := &Broker{folder: folder}
	if err := b.startKafka(ctx, servers); err != nil {
		folder.Close()
		return nil, fmt.Errorf("native: start Kafka: %w", err)
	}
	return b, nil
}

func (b *Broker) startKafka(ctx context.Context, servers int) error {
	ports, controllers := make([]int, servers), make([]int, servers)
	voters := make([]string, servers)
	var err error
	for i := range servers {
		if ports[i], err = b.folder.Port(); err != nil {
			return err
		}
		if controllers[i], err = b.folder.Port(); err != nil {
			return err
		}
		voters[i] = fmt.Sprintf("%d@127.0.0.1:%d", i+1, controllers[i])
	}
	id := kafkaID()
	for i := range servers {
		s, err := kafkaServer(b.folder, i+1, ports[i], kafkaProperties(i+1, ports[i], controllers[i], voters, b.folder))
		if err != nil {
			return err
		}
		b.Servers = append(b.Servers, s)
	}
	return each(b.Servers, func(s *Server) error {
		if _, err := s.Tool(ctx, "kafka.tools.StorageTool", "format", "-t", id, "-c", s.args[len(s.args)-1]); err != nil {
			return err
		}
		return s.Start(ctx)
	})
}

// kafkaID makes a cluster's id. One that begins with a dash would look like an
// option.
func kafkaID() string {
	for {
		var b [16]byte
		rand.Read(b[:])
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}

// kafkaProperties is a server's configuration.
func kafkaProperties(id, port, controller int, voters []string, folder *process.Folder) string {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	listeners := fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", address, controller)
	return KafkaSettings(id, listeners, "PLAINTEXT://"+address, "PLAINTEXT", voters) +
		"log.dirs=" + folder.Path("data"+strconv.Itoa(id)) + "\n"
}

// KafkaSettings are a server's settings, one a line, but for where its data
// is. The listener CONTROLLER is for the controllers, between is the one that
// the servers use. What is not a matter of course: groups begin at once and may
// notice a dead member after 1 s, topics are only there when somebody made them,
// there are few partitions for offsets and transactions, since each costs time
// at the first use, and a server that is killed is noticed after 4 s.
func KafkaSettings(id int, listeners, advertised, between string, voters []string) string {
	replicas := len(voters)
	inSync := 1
	if replicas > 2 {
		inSync = 2
	}
	return fmt.Sprintf(`process.roles=broker,controller
node.id=%[1]d
listeners=%[2]s
advertised.listeners=%[3]s
inter.broker.listener.name=%[4]s
controller.quorum.voters=%[5]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false
default.replication.factor=%[6]d
min.insync.replicas=%[7]d
offsets.topic.replication.factor=%[6]d
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=%[6]d
transaction.state.log.min.isr=%[7]d
transaction.state.log.num.partitions=10
share.coordinator.state.topic.replication.factor=%[6]d
share.coordinator.state.topic.min.isr=%[7]d
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
`, id, listeners, advertised, between, strings.Join(voters, ","), replicas, inSync)
}

func kafkaServer(folder *process.Folder, id, port int, properties string) (*Server, error) {
	config := folder.Path("server" + strconv.Itoa(id) + ".properties")
	if err := os.WriteFile(config, []byte(properties), 0o600); err != nil {
		return nil, err
	}
	jars, err := KafkaJars()
	if err != nil {
		return nil, err
	}
	java := func(heap, class string, args ...string) []string {
		return append([]string{"java", "-Xmx" + heap, "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=WARN",
			"-cp", filepath.Join(jars, "*"), class}, args...)
	}
	s := &Server{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Name:    "kafka" + strconv.Itoa(id),
		folder:  folder,
		environ: []string{"PATH=" + os.Getenv("PATH"), "JAVA_HOME=" + os.Getenv("JAVA_HOME"), "LANG=C.UTF-8", "HOME=" + folder.Path()},
		args:    java("512m", "kafka.Kafka", config),
	}
	s.ready = func(ctx context.Context) error { return HandshakeKafka(ctx, s.Address, id) }
	s.tool = func(ctx context.Context, args ...string) (string, error) {
		return s.run(ctx, java("128m", args[0], args[1:]...))
	}
	return s, nil
}

// HandshakeKafka asks a server for the cluster, until it is in it itself.
func HandshakeKafka(ctx context.Context, address string, id int) error {
	transport := &kafka.Transport{ClientID: "messaging-brokers"}
	defer transport.CloseIdleConnections()
	client := kafka.Client{Addr: kafka.TCP(address), Transport: transport}
	m, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return err
	}
	for _, b := range m.Brokers {
		if b.ID == id {
			return nil
		}
	}
	return fmt.Errorf("it is not among the cluster's %d brokers yet", len(m.Brokers))
}
