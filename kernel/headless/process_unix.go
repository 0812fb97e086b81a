//go:build unix

package headless

import (
	"os/exec"
	"syscall"
)

// ownGroup has cmd lead a process group of its own.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends all processes of a group, if there are any.
func killGroup(leader int) { _ = syscall.Kill(-leader, syscall.SIGKILL) }
