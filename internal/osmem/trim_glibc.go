//go:build cgo && linux

package osmem

/*
#include <malloc.h>

static void trim(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
*/
import "C"

// trim returns the free pages of C's heaps, which hold the many small blocks that XLA's compiler leaves between those that stay.
func trim() { C.trim() }
