//go:build unix

package process

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// watcher is a shell that waits until its standard input is closed, which the
// kernel does when the owner dies, and then kills every process group that the
// folder names, and removes the folder. It has a process group of its own, so
// that what interrupts its owner does not end it.
type watcher struct {
	stdin io.Closer
	pid   int
	ended chan error
}

const watchScript = `read -r line
for group in "$1"/groups/*; do
	pid="${group##*/}"
	[ "$pid" = '*' ] || kill -9 "-$pid" 2>/dev/null
done
for try in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf "$1" 2>/dev/null && exit 0
	sleep 0.1
done`

func watch(path string) (*watcher, error) {
	cmd := exec.Command("/bin/sh", "-c", watchScript, "messaging-brokers-watcher", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start watcher: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start watcher: %w", err)
	}
	w := &watcher{stdin, cmd.Process.Pid, make(chan error, 1)}
	go func() { w.ended <- cmd.Wait() }()
	return w, nil
}

// end lets the watcher find that nothing is left to do, and waits for it.
func (w *watcher) end() error {
	w.stdin.Close()
	if err := <-w.ended; err != nil {
		return fmt.Errorf("watcher: %w", err)
	}
	return nil
}
