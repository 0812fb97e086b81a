//go:build !linux

package child

import "os/exec"

// DieTogether does nothing on this system.
func DieTogether(*exec.Cmd) {}
