package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/fa5182d2/messaging"
)

func batchOf(errs ...error) error { return &messaging.BatchError{Errs: errs} }

func TestBatchErrorText(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"no arguments":   {batchOf(), "messaging: none failed"},
		"none failed":    {batchOf(nil, nil), "messaging: none failed"},
		"one argument":   {batchOf(messaging.ErrLost), "messaging: delivery lost"},
		"one nil":        {batchOf(nil), "messaging: none failed"},
		"one of several": {batchOf(nil, io.ErrUnexpectedEOF, nil), "messaging: 1 of 3 failed, the first with: unexpected EOF"},
		"several":        {batchOf(nil, messaging.ErrTooLarge, io.EOF), "messaging: 2 of 3 failed, the first with: messaging: message too large"},
		"nested":         {batchOf(batchOf(io.EOF)), "EOF"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestBatchErrorUnwrap(t *testing.T) {
	uncertain := fmt.Errorf("kafka: publish: %w: %w", messaging.ErrUncertain, io.ErrUnexpectedEOF)
	err := error(fmt.Errorf("orders: %w", batchOf(nil, messaging.ErrTooLarge, nil, uncertain)))

	for _, target := range []error{messaging.ErrTooLarge, messaging.ErrUncertain, io.ErrUnexpectedEOF} {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(%v, %v) is false", err, target)
		}
	}
	if errors.Is(err, messaging.ErrLost) {
		t.Errorf("errors.Is(%v, ErrLost) is true", err)
	}
	b, _ := errors.AsType[*messaging.BatchError](err)
	if got := b.Unwrap(); !slices.Equal(got, []error{messaging.ErrTooLarge, uncertain}) {
		t.Errorf("Unwrap() = %v, want the two that failed, in order", got)
	}
	if got := (&messaging.BatchError{Errs: make([]error, 3)}).Unwrap(); len(got) != 0 {
		t.Errorf("Unwrap() of no failures = %v", got)
	}
}

func TestErrorAt(t *testing.T) {
	first, second, other := errors.New("first"), errors.New("second"), errors.New("other")
	mixed := batchOf(nil, first, second)
	wrapped := fmt.Errorf("again: %w", fmt.Errorf("publish: %w", mixed))
	joined := errors.Join(other, mixed)
	nested := batchOf(batchOf(first, second), nil)
	wrapsBatch := batchOf(fmt.Errorf("inner: %w", mixed))

	for name, tt := range map[string]struct {
		err  error
		i    int
		want error
	}{
		"nil":                          {nil, 0, nil},
		"nil, any place":               {nil, 7, nil},
		"no batch":                     {other, 0, other},
		"no batch, any place":          {other, 7, other},
		"a place that is nil":          {mixed, 0, nil},
		"a place that is not":          {mixed, 2, second},
		"wrapped":                      {wrapped, 1, first},
		"wrapped, nil":                 {wrapped, 0, nil},
		"joined with another":          {joined, 2, second},
		"joined with another, nil":     {joined, 0, nil},
		"above the last":               {mixed, 3, mixed},
		"below the first":              {mixed, -1, mixed},
		"wrapped, above the last":      {wrapped, 3, wrapped},
		"no places":                    {batchOf(), 0, batchOf()},
		"the outer of two":             {nested, 1, nil},
		"the outer of two, its place":  {nested, 0, batchOf(first, second)},
		"the outer of two, not within": {nested, 2, nested},
		"a batch in a place":           {wrapsBatch, 0, wrapsBatch.(*messaging.BatchError).Errs[0]},
	} {
		got := messaging.ErrorAt(tt.err, tt.i)
		if got != tt.want && fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: ErrorAt(%v, %d) = %v, want %v", name, tt.err, tt.i, got, tt.want)
		}
	}
}

// Sentinels are distinct: none stands for another.
func TestErrorsAreDistinct(t *testing.T) {
	all := []error{
		messaging.ErrClosed, messaging.ErrNotFound, messaging.ErrTooLarge, messaging.ErrLost,
		messaging.ErrUncertain, messaging.ErrTrimmed, errors.ErrUnsupported, io.EOF, context.Canceled,
	}
	texts := map[string]bool{}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("errors.Is(%v, %v) = %v", a, b, i != j)
			}
		}
		if texts[a.Error()] {
			t.Errorf("two errors say %q", a)
		}
		texts[a.Error()] = true
	}
}
