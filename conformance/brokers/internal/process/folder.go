//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// A Folder is a directory with the data of some servers. Its methods may be
// called from several goroutines.
type Folder struct {
	path    string
	lock    *os.File
	watcher *watcher

	mu       sync.Mutex
	children []*Child
	ports    []*os.File
	closed   bool
}

const (
	lockName  = "lock"   // locked while the owner lives
	groupsDir = "groups" // one empty file for each process group, named by its number
)

// Root is where the folders of this user's servers are.
func Root() string {
	return filepath.Join(os.TempDir(), "messaging-brokers-"+strconv.Itoa(os.Getuid()))
}

// NewFolder removes what dead owners have left and makes a folder whose path
// begins with name.
func NewFolder(name string) (*Folder, error) {
	if err := os.MkdirAll(Root(), 0o700); err != nil {
		return nil, fmt.Errorf("process: make folder: %w", err)
	}
	if err := Sweep(); err != nil {
		return nil, err
	}
	f, err := newFolder(name)
	if err != nil {
		return nil, fmt.Errorf("process: make folder: %w", err)
	}
	return f, nil
}

// newFolder makes the folder under a name that no sweep touches and gives it
// its own once it is locked: a sweep never sees it unlocked.
func newFolder(name string) (*Folder, error) {
	path, err := os.MkdirTemp(Root(), ".new-"+name+"-")
	if err != nil {
		return nil, err
	}
	f := &Folder{}
	if f.lock, err = tryLock(filepath.Join(path, lockName)); err == nil {
		err = os.Mkdir(filepath.Join(path, groupsDir), 0o700)
	}
	if err == nil {
		f.path = filepath.Join(Root(), filepath.Base(path)[len(".new-"):])
		err = os.Rename(path, f.path)
	}
	if err == nil {
		f.watcher, err = watch(f.path)
	}
	if err != nil {
		return nil, errors.Join(err, f.lock.Close(), os.RemoveAll(path), os.RemoveAll(f.path))
	}
	return f, nil
}

// Path returns the folder's path, which is absolute.
func (f *Folder) Path(elements ...string) string {
	return filepath.Join(append([]string{f.path}, elements...)...)
}

// Close kills all that was started in the folder and removes it. It returns
// when they are gone, and may be called again.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	var errs []error
	for _, c := range slices.Backward(f.children) {
		errs = append(errs, c.Kill())
	}
	for _, p := range f.ports {
		errs = append(errs, p.Close())
	}
	errs = append(errs, removeAll(f.path), f.watcher.end(), f.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("process: close folder: %w", err)
	}
	return nil
}
