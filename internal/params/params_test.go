package params_test

import (
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fa5182d2/messaging/internal/params"
)

func of(query string) *params.Set { return params.Of("test", &url.URL{RawQuery: query}) }

// text is err's, "" for nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Each reader, with a default that no query here says.
func TestReaders(t *testing.T) {
	read := map[string]func(*params.Set) any{
		"String":   func(s *params.Set) any { return s.String("p", "def") },
		"OneOf":    func(s *params.Set) any { return s.OneOf("p", "def", "a", "b c") },
		"Int":      func(s *params.Set) any { return s.Int("p", 7, -3, 10) },
		"Int wide": func(s *params.Set) any { return s.Int("p", 7, math.MinInt, math.MaxInt) },
		"Uint64":   func(s *params.Set) any { return s.Uint64("p", 7) },
		"Bool":     func(s *params.Set) any { return s.Bool("p", true) },
		"Duration": func(s *params.Set) any { return s.Duration("p", 7*time.Second, time.Millisecond, time.Hour) },
	}
	const (
		oneOf    = ": want one of a, b c"
		number   = ": want a whole number from -3 to 10"
		seed     = ": want a whole number from 0 to 18446744073709551615"
		boolean  = ": want one of true, false"
		duration = ": want a duration from 1ms to 1h0m0s, such as 30s"
		plus     = "; a + in a url is a space, %2B is a plus sign"
	)
	for _, tt := range []struct {
		reader, query string
		want          any
		err           string // after "test: bad url parameter p="
	}{
		{"String", "", "def", ""},
		{"String", "p=", "", ""},
		{"String", "p", "", ""},
		{"String", "p=a", "a", ""},
		{"String", "p=%23%40%2B+%25", "#@+ %", ""},
		{"OneOf", "", "def", ""},
		{"OneOf", "p=a", "a", ""},
		{"OneOf", "p=b+c", "b c", ""},
		{"OneOf", "p=b%20c", "b c", ""},
		{"OneOf", "p=def", "def", `"def"` + oneOf},
		{"OneOf", "p=A", "def", `"A"` + oneOf},
		{"OneOf", "p=", "def", `""` + oneOf},
		{"OneOf", "p=a+b", "def", `"a b"` + oneOf + plus},
		{"Int", "", 7, ""},
		{"Int", "p=-3", -3, ""},
		{"Int", "p=10", 10, ""},
		{"Int", "p=007", 7, ""},
		{"Int", "p=-4", 7, `"-4"` + number},
		{"Int", "p=11", 7, `"11"` + number},
		{"Int", "p=", 7, `""` + number},
		{"Int", "p=1.5", 7, `"1.5"` + number},
		{"Int", "p=0x1", 7, `"0x1"` + number},
		{"Int", "p=99999999999999999999", 7, `"99999999999999999999"` + number},
		{"Int", "p=%00", 7, `"\x00"` + number},
		{"Int wide", "p=9223372036854775807", math.MaxInt, ""},
		{"Uint64", "", uint64(7), ""},
		{"Uint64", "p=18446744073709551615", uint64(math.MaxUint64), ""},
		{"Uint64", "p=18446744073709551616", uint64(7), `"18446744073709551616"` + seed},
		{"Uint64", "p=-1", uint64(7), `"-1"` + seed},
		{"Bool", "", true, ""},
		{"Bool", "p=false", false, ""},
		{"Bool", "p=true", true, ""},
		{"Bool", "p=1", true, `"1"` + boolean},
		{"Bool", "p=", true, `""` + boolean},
		{"Duration", "", 7 * time.Second, ""},
		{"Duration", "p=1ms", time.Millisecond, ""},
		{"Duration", "p=1h", time.Hour, ""},
		{"Duration", "p=1m30s", 90 * time.Second, ""},
		{"Duration", "p=30", 7 * time.Second, `"30"` + duration},
		{"Duration", "p=999us", 7 * time.Second, `"999us"` + duration},
		{"Duration", "p=1h1ns", 7 * time.Second, `"1h1ns"` + duration},
		{"Duration", "p=-1s", 7 * time.Second, `"-1s"` + duration},
		{"Duration", "p=9999999h", 7 * time.Second, `"9999999h"` + duration},
	} {
		s := of(tt.query)
		got, want := read[tt.reader](s), tt.err
		if want != "" {
			want = "test: bad url parameter p=" + want
		}
		if err := s.Err(); got != tt.want || text(err) != want {
			t.Errorf("%s of %q = %v, %q, want %v, %q", tt.reader, tt.query, got, text(err), tt.want, want)
		}
	}
}

func TestLookup(t *testing.T) {
	s := of("a=1&b=&c")
	for name, want := range map[string]struct {
		value string
		there bool
	}{"a": {"1", true}, "b": {"", true}, "c": {"", true}, "d": {"", false}} {
		if v, ok := s.Lookup(name); v != want.value || ok != want.there {
			t.Errorf("Lookup(%q) = %q, %v", name, v, ok)
		}
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

// What the parameters are together, where "a" was read and "b" allowed.
func TestErr(t *testing.T) {
	const known = "; there are: a, b"
	for query, want := range map[string]string{
		"":                    "",
		"a=1":                 "",
		"b=1":                 "",
		"&&a=1&":              "",
		"c=1":                 `test: unknown url parameter "c"` + known,
		"A=1":                 `test: unknown url parameter "A"` + known,
		"a=1&A=2":             `test: unknown url parameter "A"` + known,
		"=1":                  `test: unknown url parameter ""` + known,
		"d=1&c=2":             `test: unknown url parameter "c"` + known + "\n" + `test: unknown url parameter "d"` + known,
		"c=1&c=2":             `test: unknown url parameter "c"` + known,
		"a=1&a=2":             `test: url parameter "a" is given 2 times`,
		"a=1&a=1&a=1":         `test: url parameter "a" is given 3 times`,
		"%61=1&a=2":           `test: url parameter "a" is given 2 times`,
		"b=1&b=2":             `test: url parameter "b" is given 2 times`,
		"a=bad":               `test: bad url parameter a="bad": want a whole number from 0 to 9`,
		"a=bad&c=1":           `test: bad url parameter a="bad": want a whole number from 0 to 9` + "\n" + `test: unknown url parameter "c"` + known,
		"password=s3cret":     `test: unknown url parameter "password"` + known,
		"a=user:s3cret%40h":   `test: bad url parameter a=(not shown: it has an @): want a whole number from 0 to 9`,
		"s3cret@host":         `test: unknown url parameter (not shown: it has an @)` + known,
		"a=s3cret%zz":         `test: the query of the url does not parse: escape %, & and ; in its values`,
		"a=1;c=s3cret":        `test: the query of the url does not parse: escape %, & and ; in its values`,
		"%s3cret=1&a=1&a=2":   `test: the query of the url does not parse: escape %, & and ; in its values` + "\n" + `test: url parameter "a" is given 2 times`,
		"c=%0A%22&a=%0A%22":   `test: bad url parameter a="\n\"": want a whole number from 0 to 9` + "\n" + `test: unknown url parameter "c"` + known,
		"%0A%22=1":            `test: unknown url parameter "\n\""` + known,
		"c=1&unread=1":        `test: unknown url parameter "c"` + known + "\n" + `test: unknown url parameter "unread"` + known,
		"a=1&b=1&b=2&b=3&c=1": `test: url parameter "b" is given 3 times` + "\n" + `test: unknown url parameter "c"` + known,
	} {
		s := of(query)
		s.Int("a", 1, 0, 9)
		s.Allow("b", "b")
		for range 2 { // asking again changes nothing
			if got := text(s.Err()); got != want {
				t.Errorf("%q:\n  %q, want\n  %q", query, got, want)
			}
		}
	}
}

// A parameter can be read twice, in two ways.
func TestReadTwice(t *testing.T) {
	s := of("a=5&a=6")
	if s.String("a", "") != "5" || s.Int("a", 1, 0, 9) != 5 {
		t.Error("not the first of two")
	}
	if got, want := text(s.Err()), `test: url parameter "a" is given 2 times`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFail(t *testing.T) {
	s := of("start=2025-01-01T00:00:00+02:00")
	s.String("start", "")
	s.Fail("start", "RFC 3339")
	s.Fail("absent", "something")
	want := `test: bad url parameter start="2025-01-01T00:00:00 02:00": want RFC 3339; a + in a url is a space, %2B is a plus sign` +
		"\n" + `test: bad url parameter absent="": want something`
	if got := text(s.Err()); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

func TestRedacted(t *testing.T) {
	for raw, want := range map[string]string{
		"mem://orders":                                 "mem://orders",
		"mem://orders/eu":                              "mem://orders/eu",
		"amqp://user:s3cret@host:5672/vhost":           "amqp://host:5672/vhost",
		"amqp://s3cret@host/a%2Fb":                     "amqp://host/a%2Fb",
		"amqp://user%3As3cret:@host":                   "amqp://host",
		"amqp://user:p%40s3cret@[::1]:5672/v":          "amqp://[::1]:5672/v",
		"amqp://host/v?password=s3cret":                "amqp://host/v",
		"amqp://host/v?endpoint=http://u:s3cret@h":     "amqp://host/v",
		"amqp://user:12#s3cret@host":                   "amqp://user:12",
		"amqp://user:12/s3cret@host":                   "amqp:…",
		"amqp:///user:s3cret@host":                     "amqp:…",
		"amqp:///user:s3cret%40host":                   "amqp:…",
		"amqp:/user:s3cret@host":                       "amqp:…",
		"amqp:user:s3cret@host":                        "amqp:…",
		"kafka://h:9092/orders?seed=o:9092&group=g#s3": "kafka://h:9092/orders",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := params.Redacted(u); got != want {
			t.Errorf("Redacted of %s = %s, want %s", raw, got, want)
		}
		if u.String() != raw {
			t.Errorf("Redacted changed its argument: %s, was %s", u, raw)
		}
	}
}

// FuzzParams judges a query by what url.ParseQuery makes of it: Err is nil for
// exactly the good ones, each reader returns the value or the default, and no
// error holds what stands before an @.
func FuzzParams(f *testing.F) {
	f.Add("a=1&b=x&c=true&d=30s", "x")
	f.Add("a=11&a=1", "")
	f.Add("e=1&%zz;", "%")
	f.Add("a=&b=&c=&d=", "12?group")
	f.Add("user:12", "=")
	f.Fuzz(func(t *testing.T, query, tail string) {
		s := of(query)
		n := s.Int("a", 7, 0, 10)
		s.OneOf("b", "def", "x", "y")
		yes := s.Bool("c", true)
		d := s.Duration("d", time.Minute, time.Second, time.Hour)
		s.Uint64("e", 0)
		s.Allow("f")
		err := s.Err()
		if n < 0 || n > 10 || d < time.Second || d > time.Hour {
			t.Errorf("out of range: %d, %v", n, d)
		}
		values, parseErr := url.ParseQuery(query)
		good := parseErr == nil
		for name, given := range values {
			good = good && len(given) == 1 && len(name) == 1 && strings.Contains("abcdef", name)
		}
		if err == nil && !good {
			t.Errorf("%q is accepted", query)
		}
		if err == nil && values.Has("c") && (values.Get("c") == "true") != yes {
			t.Errorf("c of %q is %v", query, yes)
		}
		if good && err != nil && !strings.Contains(err.Error(), "bad url parameter") {
			t.Errorf("%q is refused: %v", query, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "test: ") {
			t.Errorf("%q does not say whose it is", err)
		}

		const password = "s3cret"
		if strings.Contains(query+tail, password) || strings.ContainsAny(tail, "&;") {
			return
		}
		s = of(query + tail + password + "@host")
		s.Int("a", 7, 0, 10)
		s.OneOf("b", "def", "x", "y")
		s.Bool("c", true)
		if err := s.Err(); err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("the error has the password: %v", err)
		}
	})
}
