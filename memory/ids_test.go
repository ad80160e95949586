package memory

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/fa5182d2/messaging"
)

func TestIDsAreLikeThoseOfNewID(t *testing.T) {
	b := new(Backend)
	pub := openPublisher(t, b, "mem://s?partitions=1")
	if err := pub.Publish(t.Context(), make([]messaging.Message, 2000)...); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	letters := map[rune]int{}
	for _, d := range replay(t, openStream(t, b, "mem://s?end=now")) {
		equal(t, "length", len(d.ID), len(messaging.NewID()))
		seen[d.ID] = true
		for _, r := range d.ID {
			letters[r]++
		}
	}
	equal(t, "different ids", len(seen), 2000)
	equal(t, "letters", len(letters), 32)
	for r, n := range letters {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", r) || n < 1300 || n > 1950 {
			t.Errorf("%q is there %d times, want about 1625", r, n)
		}
	}
}

func TestTextsOfOffsets(t *testing.T) {
	a := new(assignment)
	for from := range int64(1200) {
		for _, offset := range []int64{from, from + 1, from + 7, from, from + 40, 99_990 + from, from} {
			equal(t, "text", string(a.text(offset)), strconv.FormatInt(offset, 10))
		}
	}
	for offset := int64(math.MaxInt64 - 100); offset < math.MaxInt64-offsetTexts; offset++ {
		equal(t, "text", string(a.text(offset)), strconv.FormatInt(offset, 10))
	}
}
