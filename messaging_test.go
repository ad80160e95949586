package messaging_test

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fa5182d2/messaging"
)

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := messaging.NewID()
		if len(id) != 26 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			t.Fatalf("NewID() = %q, want 26 letters and digits", id)
		}
		if seen[id] {
			t.Fatalf("NewID() gave %q twice", id)
		}
		seen[id] = true
	}
}

func TestOffsetCompare(t *testing.T) {
	sorted := []messaging.Offset{"", "0", "9", "10", "99", "100", "9223372036854775807", "49590338271490256608559692538361571095921575989136588898"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := a.Compare(b); got != cmp.Compare(i, j) {
				t.Errorf("%q.Compare(%q) = %d, want %d", a, b, got, cmp.Compare(i, j))
			}
		}
	}
	compound := []messaging.Offset{"0000000042-0000", "0000000042-0001", "0000000043-0000"}
	if !slices.IsSortedFunc(compound, messaging.Offset.Compare) {
		t.Errorf("parts of fixed width do not sort: %q", compound)
	}
	if n := testing.AllocsPerRun(100, func() { sorted[5].Compare(sorted[6]) }); n != 0 {
		t.Errorf("Compare allocates %v times", n)
	}
}

// Compare is a total order, and that of the numbers for numbers.
func FuzzOffsetCompare(f *testing.F) {
	f.Add("9", "10", "100", uint64(9), uint64(10))
	f.Add("", "\xff", "é", uint64(0), uint64(math.MaxUint64))
	f.Add("a", "a", "a", uint64(7), uint64(7))
	f.Fuzz(func(t *testing.T, a, b, c string, n, m uint64) {
		x, y, z := messaging.Offset(a), messaging.Offset(b), messaging.Offset(c)
		xy, yx, yz, xz := x.Compare(y), y.Compare(x), y.Compare(z), x.Compare(z)
		if xy != -yx || xy < -1 || xy > 1 {
			t.Errorf("%q against %q is %d, the other way %d", x, y, xy, yx)
		}
		if (xy == 0) != (x == y) {
			t.Errorf("%q against %q is %d", x, y, xy)
		}
		if xy <= 0 && yz <= 0 && xz > 0 {
			t.Errorf("%q <= %q <= %q, but the first is above the last", x, y, z)
		}
		number := func(n uint64) messaging.Offset { return messaging.Offset(strconv.FormatUint(n, 10)) }
		if got := number(n).Compare(number(m)); got != cmp.Compare(n, m) {
			t.Errorf("%d against %d is %d", n, m, got)
		}
	})
}

func TestOrderString(t *testing.T) {
	for o, want := range map[messaging.Order]string{
		0: "unspecified", messaging.Unordered: "Unordered", messaging.OrderedByKey: "OrderedByKey",
		messaging.Ordered: "Ordered", 4: "invalid Order", -1: "invalid Order",
	} {
		if got := o.String(); got != want {
			t.Errorf("Order(%d) is %q, want %q", int(o), got, want)
		}
	}
	// Stricter is higher: Consume and its users compare them.
	if messaging.Unordered <= 0 || messaging.Unordered >= messaging.OrderedByKey || messaging.OrderedByKey >= messaging.Ordered {
		t.Error("orders do not go from loose to strict")
	}
}
