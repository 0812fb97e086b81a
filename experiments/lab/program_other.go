//go:build !linux

package lab

import "os/exec"

func dieTogether(*exec.Cmd) {}
