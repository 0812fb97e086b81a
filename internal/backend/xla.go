//go:build cgo

package backend

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

// The beginning of PJRT_Api, which every version of the interface has.
struct api { size_t struct_size; void *extensions; };

static const char *probe_plugin(const char *path) {
	void *lib = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (lib == NULL) return dlerror();
	const struct api *(*get)(void) = (const struct api *(*)(void))dlsym(lib, "GetPjrtApi");
	if (get == NULL) return "it has no function GetPjrtApi";
	const struct api *found = get();
	if (found == NULL || found->struct_size < sizeof(struct api)) return "its GetPjrtApi returns nothing";
	return NULL;
}
*/
import "C"

import (
	"errors"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

const hasXLA = true

// probe loads a plugin and checks that it offers the interface: go-xla follows a null pointer where it does not. The library
// stays loaded, for the real opening.
func probe(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if why := C.probe_plugin(name); why != nil {
		return errors.New(C.GoString(why))
	}
	return nil
}

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
