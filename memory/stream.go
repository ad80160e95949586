package memory

import (
	"context"

	"github.com/fa5182d2/messaging"
)

type stream struct{ messaging.StreamSubscriber }

func (c *channel) openStream(ctx context.Context, o *options) (*stream, error) { panic("stream half") }
