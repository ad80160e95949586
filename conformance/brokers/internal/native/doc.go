// Package native runs the real brokers from what is installed on this machine.
//
// Each server is a child with its own data folder and its own fixed ports of
// 127.0.0.1. It counts as started when a client's handshake succeeds, not when
// it logs something: after a restart the old line would match.
package native
