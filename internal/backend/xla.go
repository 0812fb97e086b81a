//go:build cgo

package backend

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
)

const hasXLA = true

// openXLA opens a plugin; config is its absolute path, then options, separated by commas.
func openXLA(config string) (compute.Backend, error) {
	return xla.New(config)
}
