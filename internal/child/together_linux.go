package child

import (
	"os/exec"
	"syscall"
)

// DieTogether has the operating system ask cmd to end when this process does, even if that is killed. Linux does so when the
// thread that started cmd ends: a caller that outlives its goroutine locks it to its thread. Elsewhere nothing happens.
func DieTogether(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
