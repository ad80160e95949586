// Package brokers gives tests the real brokers.
//
// [RabbitMQ] and [Kafka] return the address of a broker that tests share, and
// that nobody may kill; [OwnRabbitMQ] and [OwnKafka] start one for a test
// alone, with several servers where it asks for them, which it may kill, start
// again on the same port with the same data, and pause.
//
// A shared broker is, in this order: the one that an environment variable
// names, [RabbitMQVariable] or [KafkaVariable]; a container, where an engine
// answers; a process, where the broker is installed on this machine. An own one
// is a container or a process. Where there is none of them the test is skipped
// and says how to get one; with MESSAGING_REQUIRE_BROKERS=1 in the environment
// it fails. MESSAGING_BROKERS=container or =process leaves only that way.
//
// The command in run installs what is missing, starts the shared brokers once
// and hands them on:
//
//	go run ./conformance/brokers/run -- go test -count=1 ./...
//
// What a test has started is gone after it, whatever happens to its process:
// see the packages in internal.
package brokers
