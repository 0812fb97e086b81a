//go:build cgo

package backend

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

const hasXLA = true

// openXLA opens a plugin for a kind of device; config is its absolute path, then options, separated by commas.
func openXLA(config string, kind Kind) (compute.Backend, error) {
	var options pjrt.NamedValuesMap
	if kind == CPU {
		// One device, as more of them are the same processors. Unasked the plugin makes four, and XLA has as many threads as
		// devices at least: on a machine with fewer processors they would take turns in the middle of what they share.
		options = pjrt.NamedValuesMap{"cpu_device_count": int64(1)}
	}
	return xla.NewWithOptions(config, options)
}
