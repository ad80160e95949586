package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// version is a server's: major and minor.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// version is the server's, as it introduced itself. What is no RabbitMQ has
// none and gets the least.
func (c *connection) version() version {
	text, _ := c.conn.Properties["version"].(string)
	parts := strings.SplitN(text, ".", 3)
	var v version
	if len(parts) >= 2 {
		v.major, _ = strconv.Atoi(parts[0])
		v.minor, _ = strconv.Atoi(parts[1])
	}
	return v
}

// queueArgs are the arguments of a queue that is created.
//
// Up to 3.13 a quorum queue without a delivery limit has none, and -1 removes a
// message after one nack (measured on 3.10.8). From 4.0 on the limit is 20
// where nothing is said, without dead letters what reaches it is dropped
// (measured on 4.0.5), and -1 is no limit.
func queueArgs(classic bool, v version) amqp.Table {
	if classic {
		return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic}
	}
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	if v.atLeast(4, 0) {
		args["x-delivery-limit"] = int32(-1)
	}
	return args
}

// prepare checks that everything is there that the options name and, where
// they say so, declares it. group is the queue of a subscription beside the
// default one, or "".
func (o *options) prepare(ctx context.Context, c *connection, group string) error {
	if !o.create {
		return c.call(ctx, func(ch *amqp.Channel) error { return o.look(ch, group) })
	}
	if o.exchange != "" {
		err := c.call(ctx, func(ch *amqp.Channel) error {
			return judged(ch.ExchangeDeclare(o.exchange, amqp.ExchangeTopic, true, false, false, false, nil))
		})
		if err != nil {
			return fmt.Errorf("declare exchange %s: %w", o.exchange, err)
		}
	}
	if group != "" {
		if err := o.declare(ctx, c, group, o.subject); err != nil {
			return err
		}
	}
	if o.queue == "" || o.queue == group {
		return nil
	}
	subject := o.subject
	if o.group != "" {
		subject = "" // the group's
	}
	return o.declare(ctx, c, o.queue, subject)
}

// declare declares a queue and binds it. One that is there and is to get
// nothing in particular, keeps the bindings that it has.
func (o *options) declare(ctx context.Context, c *connection, queue, subject string) error {
	there := false
	if o.exchange != "" && subject == "" {
		err := c.call(ctx, func(ch *amqp.Channel) error { return lookQueue(ch, queue) })
		if there = err == nil; !there && !errors.Is(err, messaging.ErrNotFound) {
			return err
		}
	}
	return c.call(ctx, func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, queueArgs(o.classic, c.version())); err != nil {
			return fmt.Errorf("declare queue %s: %w", queue, judged(err))
		}
		if o.exchange == "" || there {
			return nil
		}
		if err := ch.QueueBind(queue, cmp.Or(subject, "#"), o.exchange, false, nil); err != nil {
			return fmt.Errorf("bind queue %s to exchange %s: %w", queue, o.exchange, judged(err))
		}
		return nil
	})
}

// look checks that what is named exists. A queue that is named beside a group
// is not needed.
func (o *options) look(ch *amqp.Channel, group string) error {
	if o.exchange != "" {
		if err := lookExchange(ch, o.exchange); err != nil {
			return err
		}
	}
	queue := o.queue
	if group != "" {
		queue = group
	}
	if queue == "" {
		return nil
	}
	return lookQueue(ch, queue)
}

func lookExchange(ch *amqp.Channel, name string) error {
	// The type is not compared.
	if err := ch.ExchangeDeclarePassive(name, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return fmt.Errorf("exchange %s: %w", name, judged(err))
	}
	return nil
}

func lookQueue(ch *amqp.Channel, name string) error {
	if _, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil {
		return fmt.Errorf("queue %s: %w", name, judged(err))
	}
	return nil
}

// call runs f with a channel of its own, which errors of f may close, until ctx
// ends: then what is under way ends with the connection, at the latest.
func (c *connection) call(ctx context.Context, f func(*amqp.Channel) error) error {
	done := make(chan error, 1)
	c.wg.Go(func() {
		ch, err := c.conn.Channel()
		if err != nil {
			done <- judged(err)
			return
		}
		err = f(ch)
		if err == nil {
			err = ch.Close()
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
}
