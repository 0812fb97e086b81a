package kernelspec

import (
	"os/exec"
	"syscall"
)

// dieWithParent has a program told to end when this process does, even if that is killed.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
