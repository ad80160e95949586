//go:build !unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// Without process groups, only the command itself can be reached, and it
// cannot be asked to end, only killed.

func ownGroup(*exec.Cmd) {}

func signalGroup(cmd *exec.Cmd, _ os.Signal) { killGroup(cmd) }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func endedBy(*os.ProcessState) syscall.Signal { return 0 }
