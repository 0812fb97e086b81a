//go:build unix

package pgtest

import (
	"os"
	"os/exec"
	"syscall"
)

// nobody is the user that a server of root runs as: PostgreSQL refuses root.
const nobody = 65534

// own gives a folder to the user that the server runs as.
func own(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(dir, nobody, nobody)
}

// unprivileged runs cmd as that user.
func unprivileged(cmd *exec.Cmd) {
	if os.Geteuid() != 0 {
		return
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
}
