package memory

import (
	"errors"
	"testing"

	"github.com/fa5182d2/messaging"
)

// TestSetChaos switches lost replies on and off on a channel that is open.
func TestSetChaos(t *testing.T) {
	b := new(Backend)
	pub, sub := open(t, b, "mem://c")
	publish(t, pub, "", "one", "two")
	ds := receive(t, sub, 2)
	if hit := b.SetChaos(Chaos{LostReply: 1}); hit != 0 {
		t.Errorf("%d faults happened before there were any", hit)
	}
	if err := sub.Ack(t.Context(), ds[0]); !errors.Is(err, messaging.ErrUncertain) {
		t.Errorf("Ack while replies are lost: %v, want ErrUncertain", err)
	}
	if hit := b.SetChaos(Chaos{}); hit != 1 {
		t.Errorf("%d faults happened, want 1", hit)
	}
	if err := sub.Ack(t.Context(), ds...); err != nil {
		t.Errorf("Ack after the fault, one of them again: %v", err)
	}
}
