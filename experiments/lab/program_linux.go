package lab

import (
	"os/exec"
	"syscall"
)

// dieTogether has the kernel end cmd, should this process be killed.
func dieTogether(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
