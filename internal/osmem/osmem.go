// Package osmem returns memory to the system that Go and the C library keep for later.
package osmem

import "runtime/debug"

// GiveBack collects garbage and returns all that is free. It takes some tens of milliseconds; it is for after work that comes
// once and allocates much, such as loading a model or compiling a program.
func GiveBack() {
	debug.FreeOSMemory()
	trim()
}
