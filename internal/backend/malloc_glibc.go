//go:build cgo && linux

package backend

/*
#include <malloc.h>
#include <sys/sysinfo.h>

// Large freed blocks go back to the system, and of small ones what is over 16 MB an arena: with 1 MB, less than the gradients of
// one step of the router's training, some processes gave back in every step what the next one asked for again, at 190 page
// faults a step. Arenas are as many as threads that use them: those that XLA computes on (one a processor), the one that calls
// it, and the main one, which has its own. XLA allocates the intermediate results of every call, of many sizes and from several
// threads, which with fewer arenas share their locks. Left to itself, glibc has eight arenas a processor and keeps what each
// once held: for mixed prompts of a model of half a billion parameters that made the peak 7.2 GB instead of 5.4 GB with one
// arena a processor; with up to three a processor the peak was the same as with that. Go allocates elsewhere. It has to be said
// before there are threads, since each gets an arena by its first call.
__attribute__((constructor)) static void give_back_freed_memory(void) {
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, get_nprocs() + 2);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}
*/
import "C"
