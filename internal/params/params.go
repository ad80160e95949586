// Package params reads the parameters of a backend's URL strictly: each is
// known, given once and of the right form, or opening fails with an error
// that says which one and what would be right.
package params

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Redacted returns what an error or a log line shows of u: scheme, host and
// path. [url.URL.Redacted] shows more than that: a user without a password,
// which often is a token; the parameters, which may hold a URL of their own;
// and what follows a password whose /, ? or # was not escaped.
func Redacted(u *url.URL) string {
	if u == nil {
		return "(no url)"
	}
	if u.Opaque != "" || strings.Contains(u.Path, "@") {
		return u.Scheme + ":…"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return shown.String()
}

// Set is the parameters of one URL. Its readers return the parameter's value,
// or the default where it is absent; what is wrong is collected for Err. Not
// safe for concurrent use.
type Set struct {
	backend string
	values  url.Values
	known   []string
	errs    []error
}

// Of returns the parameters of u. The name of the backend starts its errors.
func Of(backend string, u *url.URL) *Set {
	s := &Set{backend: backend}
	var err error
	if s.values, err = url.ParseQuery(u.RawQuery); err != nil {
		s.errs = append(s.errs, fmt.Errorf("%s: the query of the url does not parse: escape %%, & and ; in its values", backend))
	}
	return s
}

// Err returns what is wrong with the parameters that were read, that one is
// there twice, and that others are there than those which were read or
// allowed, or nil. Call it last.
func (s *Set) Err() error {
	errs := slices.Clone(s.errs)
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if !slices.Contains(s.known, name) {
			known := slices.Sorted(slices.Values(s.known))
			errs = append(errs, fmt.Errorf("%s: unknown url parameter %s; there are: %s", s.backend, quote(name), strings.Join(slices.Compact(known), ", ")))
		} else if n := len(s.values[name]); n > 1 {
			errs = append(errs, fmt.Errorf("%s: url parameter %q is given %d times", s.backend, name, n))
		}
	}
	return errors.Join(errs...)
}

// Allow accepts parameters without reading them: those of another role.
func (s *Set) Allow(names ...string) { s.known = append(s.known, names...) }

// Fail records that a parameter's value is bad, and what would be right.
func (s *Set) Fail(name, want string) {
	v := s.values.Get(name)
	if strings.Contains(v, " ") {
		want += "; a + in a url is a space, %2B is a plus sign"
	}
	s.errs = append(s.errs, fmt.Errorf("%s: bad url parameter %s=%s: want %s", s.backend, name, quote(v), want))
}

// quote quotes a piece of a query, unless it holds an @: then it may be a URL
// with a password, or what follows a password's unescaped question mark.
func quote(piece string) string {
	if strings.Contains(piece, "@") {
		return "(not shown: it has an @)"
	}
	return strconv.Quote(piece)
}

// Lookup returns the value of a parameter and whether it is there.
func (s *Set) Lookup(name string) (string, bool) {
	s.known = append(s.known, name)
	if given := s.values[name]; len(given) > 0 {
		return given[0], true
	}
	return "", false
}

// String returns a text.
func (s *Set) String(name, def string) string {
	if v, ok := s.Lookup(name); ok {
		return v
	}
	return def
}

// OneOf returns one of the allowed texts.
func (s *Set) OneOf(name, def string, allowed ...string) string {
	v, ok := s.Lookup(name)
	if !ok {
		return def
	}
	if !slices.Contains(allowed, v) {
		s.Fail(name, "one of "+strings.Join(allowed, ", "))
		return def
	}
	return v
}

// Int returns a whole number from least to most.
func (s *Set) Int(name string, def, least, most int) int {
	v, ok := s.Lookup(name)
	if !ok {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		s.Fail(name, fmt.Sprintf("a whole number from %d to %d", least, most))
		return def
	}
	return n
}

// Uint64 returns a number that needs all of 64 bits, such as a seed.
func (s *Set) Uint64(name string, def uint64) uint64 {
	v, ok := s.Lookup(name)
	if !ok {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		s.Fail(name, "a whole number from 0 to 18446744073709551615")
		return def
	}
	return n
}

// Bool returns true or false.
func (s *Set) Bool(name string, def bool) bool {
	return s.OneOf(name, strconv.FormatBool(def), "true", "false") == "true"
}

// Duration returns a duration from least to most, such as 30s or 1h30m.
func (s *Set) Duration(name string, def, least, most time.Duration) time.Duration {
	v, ok := s.Lookup(name)
	if !ok {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < least || d > most {
		s.Fail(name, fmt.Sprintf("a duration from %v to %v, such as 30s", least, most))
		return def
	}
	return d
}
