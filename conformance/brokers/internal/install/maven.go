package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fa5182d2/messaging/conformance/brokers/internal/native"
)

// What is fetched is named to the last digit.
const (
	log4jVersion  = "2.25.1"
	pluginVersion = "3.8.1"
)

// kafkaJars is Kafka's server, with its command line tools and a logger.
func kafkaJars() *Item {
	return &Item{
		Name: "Kafka " + native.KafkaVersion, From: "Maven: org.apache.kafka:kafka_2.13, kafka-tools",
		Cost:       "80 MB to fetch, 54 MB on disk and as much again in Maven's own cache, about 20 s",
		Missing:    native.HasKafka,
		Impossible: func() error { return nil },
		install:    installKafka,
	}
}

// mavenIfNeeded says that Maven is missing only where it has something to do.
func mavenIfNeeded() error {
	jars, err := native.KafkaJars()
	if err != nil {
		return err
	}
	if _, err := os.Stat(jars); err == nil {
		return nil
	}
	return onPath("mvn")()
}

// installKafka has Maven copy the jars into a folder beside their place, which
// gets its name when it is complete.
func installKafka(ctx context.Context) error {
	jars, err := native.KafkaJars()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(jars), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(jars), ".incomplete-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, []byte(project()), 0o600); err != nil {
		return err
	}
	libs := filepath.Join(dir, "libs")
	if err := command(ctx, nil, "mvn", "-q", "-B", "-f", pom,
		"org.apache.maven.plugins:maven-dependency-plugin:"+pluginVersion+":copy-dependencies",
		"-DoutputDirectory="+libs, "-DincludeScope=runtime"); err != nil {
		return err
	}
	if err := os.RemoveAll(jars); err != nil {
		return err
	}
	return os.Rename(libs, jars)
}

func project() string {
	dependency := func(group, artifact, version string) string {
		return fmt.Sprintf("<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n", group, artifact, version)
	}
	return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>messaging</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
` + dependency("org.apache.kafka", "kafka_2.13", native.KafkaVersion) +
		dependency("org.apache.kafka", "kafka-tools", native.KafkaVersion) +
		dependency("org.apache.logging.log4j", "log4j-slf4j-impl", log4jVersion) +
		"</dependencies></project>\n"
}
