//go:build !(linux && amd64)

package faulttest

import (
	"errors"
	"os/exec"
)

// Supported says whether this system can do it.
const Supported = false

// SetTrap does nothing here.
func SetTrap() {}

// Counts are how many operations of each kind there were below the folder.
type Counts map[Kind]int

// Run is not possible here.
func Run(*exec.Cmd, string, Fault) (Counts, error) {
	return nil, errors.New("faults can be injected on Linux with amd64 only")
}
