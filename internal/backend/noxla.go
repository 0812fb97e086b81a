//go:build !cgo

package backend

import (
	"errors"

	"github.com/gomlx/compute"
)

const hasXLA = false

func probe(string) error { return nil }

func openXLA(string, Kind) (compute.Backend, error) {
	return nil, errors.New("this binary was built without cgo, which XLA needs; use the backend \"go\" or build with CGO_ENABLED=1")
}
