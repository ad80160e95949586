//go:build unix

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Sweep kills the servers and removes the folders whose owners are dead. Those
// of living ones it leaves alone.
func Sweep() error {
	entries, err := os.ReadDir(Root())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("process: find what was left behind: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(Root(), e.Name())
		switch {
		case e.Name() == portsDir || !e.IsDir():
		case strings.HasPrefix(e.Name(), "."):
			errs = append(errs, sweepHalfMade(path, e))
		default:
			errs = append(errs, sweep(path))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("process: remove what was left behind: %w", err)
	}
	return nil
}

// sweepHalfMade removes a folder whose owner was killed while it made it. One
// that is younger than a minute may be in the making.
func sweepHalfMade(path string, e fs.DirEntry) error {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < time.Minute {
		return nil
	} else if err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// sweep ends what is left in a folder, if its owner is dead.
func sweep(path string) error {
	lock, err := tryLock(filepath.Join(path, lockName))
	if errors.Is(err, errLocked) {
		return nil
	} else if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(path) // its watcher was killed while it removed it
	} else if err != nil {
		return err
	}
	defer lock.Close()
	entries, err := os.ReadDir(filepath.Join(path, groupsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if group, err := strconv.Atoi(e.Name()); err == nil && runsIn(group, path) {
			_ = syscall.Kill(-group, syscall.SIGKILL) // gone is as good
		}
	}
	return removeAll(path)
}

// removeAll removes a folder in which a dying server may still make files.
func removeAll(path string) (err error) {
	for range 100 {
		if err = os.RemoveAll(path); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // a killed process has no event for who is not its parent
	}
	return err
}

var errLocked = errors.New("locked by a living process")

// tryLock opens a file, which it makes if its folder is there, and locks it
// until it is closed or this process ends.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, err
	}
	return f, nil
}
