package install

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestWhatIsInstalledByWhom(t *testing.T) {
	for _, items := range [][]*Item{RabbitMQ(), Kafka()} {
		for _, i := range items {
			if i.Name == "" || i.From == "" || !strings.Contains(i.Cost, "MB") || i.Missing == nil || i.Impossible == nil {
				t.Errorf("%+v: want a name, from where, how large, and what is missing", i)
			}
		}
	}
	if os.Geteuid() == 0 {
		return
	}
	err := apt("RabbitMQ", "1 MB", nil, "brew install rabbitmq", "rabbitmq-server").Impossible()
	if !errors.Is(err, errByHand) || !strings.Contains(err.Error(), "install") {
		t.Errorf("who is not root is told %v, want the line to type", err)
	}
}

func TestInstallThatChangesNothingIsAnError(t *testing.T) {
	missing := errors.New("not there")
	i := &Item{Name: "nothing", Missing: func() error { return missing }, install: func(context.Context) error { return nil }}
	if err := i.Install(t.Context()); !errors.Is(err, missing) {
		t.Errorf("Install: %v, want what is still missing", err)
	}
}

func TestTheProjectIsPinned(t *testing.T) {
	for _, part := range []string{"kafka_2.13</artifactId><version>4.1.0<", "kafka-tools</artifactId><version>4.1.0<", "log4j-slf4j-impl</artifactId><version>2.25.1<"} {
		if !strings.Contains(project(), part) {
			t.Errorf("the project has no %s", part)
		}
	}
}
