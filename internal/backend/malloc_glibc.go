//go:build cgo && linux

package backend

/*
#include <malloc.h>
#include <sys/sysinfo.h>

// Large freed blocks go back to the system, and small ones beyond 16 MB per arena. A lower limit, below the gradients of one step
// of the router's training, would free in every step what the next one allocates again. There are as many arenas as threads that
// use them: those that XLA computes on (one per processor), the one that calls it, and the main one. With fewer, XLA's threads
// would share locks. By default glibc has eight per processor and keeps what each once held, which raises the peak considerably.
// Go allocates elsewhere. The limits must be set before there are threads, since each gets an arena by its first call.
__attribute__((constructor)) static void give_back_freed_memory(void) {
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, get_nprocs() + 2);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}
*/
import "C"
