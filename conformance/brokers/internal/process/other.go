//go:build !unix

package process

import "errors"

// Elsewhere there are no process groups to rely on: use containers.

type Folder struct{}

type Child struct{}

var errOther = errors.New("process: servers are only run on Unix systems; use containers, or WSL")

func NewFolder(string) (*Folder, error)                             { return nil, errOther }
func Sweep() error                                                  { return nil }
func Root() string                                                  { return "" }
func (f *Folder) Path(...string) string                             { return "" }
func (f *Folder) Close() error                                      { return nil }
func (f *Folder) Port() (int, error)                                { return 0, errOther }
func (f *Folder) Start(string, []string, ...string) (*Child, error) { return nil, errOther }
func (c *Child) Pid() int                                           { return 0 }
func (c *Child) Done() <-chan struct{}                              { return nil }
func (c *Child) Err() error                                         { return nil }
func (c *Child) Tail() string                                       { return "" }
func (c *Child) Kill() error                                        { return errOther }
func (c *Child) Pause() error                                       { return errOther }
func (c *Child) Resume() error                                      { return errOther }

func (f *Folder) Tail(string) string { return "" }
