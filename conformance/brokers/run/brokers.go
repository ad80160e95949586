package main

import (
	"fmt"
	"io"
)

// startBrokers makes the brokers that the tests need available, saying on
// log what it does, and returns their endpoints as environment variables
// (NAME=value) and a function that stops what it started.
//
// No backend in this module needs a broker yet.
func startBrokers(log io.Writer) (endpoints []string, stop func(), err error) {
	fmt.Fprintln(log, "run: no backend needs a broker yet: nothing to install, nothing to start")
	return nil, func() {}, nil
}
