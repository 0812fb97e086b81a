//go:build cgo && linux

package backend

/*
#include <malloc.h>
#include <sys/sysinfo.h>

// Large freed blocks go back to the system, and there is an arena for each thread that XLA computes on, which are as many as
// there are processors but at least four, one for the thread that calls it and the first one, and no more. XLA allocates the
// intermediate results of every call, of many sizes and from several threads. With fewer arenas they wait for each other; left
// to itself, glibc has eight a processor and keeps what each once held, which for mixed prompts of a model of half a billion
// parameters made the peak 7.2 GB instead of 5.4 GB. Go allocates elsewhere. It has to be said before there are threads, since
// each gets an arena by its first call.
__attribute__((constructor)) static void give_back_freed_memory(void) {
#ifdef __GLIBC__
	int threads = get_nprocs();
	mallopt(M_ARENA_MAX, (threads < 4 ? 4 : threads) + 2);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}
*/
import "C"
