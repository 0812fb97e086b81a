//go:build cgo && linux

package backend

/*
#include <malloc.h>

static void give_back_freed_memory(void) {
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}
*/
import "C"

// giveBackFreedMemory makes the C allocator return large freed blocks to the system. XLA allocates the intermediate
// results of every call, of many sizes and from several threads; left to itself, glibc keeps what each arena once held. For
// mixed prompts of a model of half a billion parameters that made the peak 7.2 GB instead of 5.4 GB; returning it cost 7 %
// of the time. Plain allocations of Go do not pass through here.
func giveBackFreedMemory() { C.give_back_freed_memory() }
