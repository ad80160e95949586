//go:build unix

package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

const portsDir = "ports"

// Ports come from below the range that systems take for outgoing connections
// (32768 and up on Linux, 49152 elsewhere): a client that dials a server which
// is down would else, sooner or later, be connected to itself, and keep the
// server from coming back.
const lowestPort, highestPort = 10_240, 32_000

// Port returns a TCP port of 127.0.0.1 that nothing listens on, and that no
// other folder of this user gets until this one is closed.
func (f *Folder) Port() (int, error) {
	dir := filepath.Join(Root(), portsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("process: reserve port: %w", err)
	}
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		lock, err := tryLock(filepath.Join(dir, strconv.Itoa(port)))
		if errors.Is(err, errLocked) {
			continue
		} else if err != nil {
			return 0, fmt.Errorf("process: reserve port: %w", err)
		}
		// All addresses, since not every server keeps to 127.0.0.1.
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			lock.Close()
			continue
		}
		l.Close()
		f.mu.Lock()
		f.ports = append(f.ports, lock)
		f.mu.Unlock()
		return port, nil
	}
	return 0, fmt.Errorf("process: reserve port: none of 1000 between %d and %d is free", lowestPort, highestPort)
}
