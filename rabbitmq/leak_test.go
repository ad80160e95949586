package rabbitmq

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fa5182d2/messaging/conformance/brokers"
)

var shared brokers.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Tests(m)) }
