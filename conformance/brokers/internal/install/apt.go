package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// apt is what Debian and its relatives have as packages.
func apt(name, cost string, missing func() error, brew string, packages ...string) *Item {
	line := "sudo apt-get install --no-install-recommends " + strings.Join(packages, " ")
	return &Item{
		Name: name, From: "apt: " + strings.Join(packages, ", "), Cost: cost, Missing: missing,
		Impossible: func() error {
			if _, err := exec.LookPath("apt-get"); err != nil {
				return fmt.Errorf("%w, there is no apt-get here: on a Mac, %s", errByHand, brew)
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("%w, since only root may: %s", errByHand, line)
			}
			return nil
		},
		install: func(ctx context.Context) error {
			return withoutServices(func() error { return aptInstall(ctx, packages) })
		},
	}
}

// aptInstall installs packages, with the lists fetched anew if need be.
func aptInstall(ctx context.Context, packages []string) error {
	environ := []string{"DEBIAN_FRONTEND=noninteractive"}
	install := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, packages...)
	first := command(ctx, environ, install...)
	if first == nil || ctx.Err() != nil {
		return first
	}
	if err := command(ctx, environ, "apt-get", "update"); err != nil {
		return errors.Join(first, err)
	}
	return command(ctx, environ, install...)
}

// policyFile is what Debian's packages ask whether they may start a service:
// see invoke-rc.d(8).
const (
	policyFile = "/usr/sbin/policy-rc.d"
	policy     = "#!/bin/sh\n# messaging/conformance/brokers/run: no service is started while it installs\nexit 101\n"
)

// withoutServices runs f while no package may start its services. A policy that
// somebody else has set stays as it is.
func withoutServices(f func() error) error {
	old, err := os.ReadFile(policyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && string(old) == policy: // a killed run's
	case err != nil:
		return err
	default:
		return f()
	}
	if err := os.WriteFile(policyFile, []byte(policy), 0o755); err != nil {
		return err
	}
	return errors.Join(f(), os.Remove(policyFile))
}
