/* A slow disk for the benchmark: fsync and fdatasync take at least SLOWSYNC_US microseconds. LD_PRELOAD it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long least_ns;
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void start(void) {
    const char *us = getenv("SLOWSYNC_US");
    least_ns = us ? atol(us) * 1000L : 0;
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

/* The real sync first, then sleep until the moment at which the slow disk would have been done. */
static int slowly(int (*sync)(int), int fd) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += least_ns;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int result = sync(fd), error = errno;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
    errno = error;
    return result;
}

int fsync(int fd) { return slowly(real_fsync, fd); }
int fdatasync(int fd) { return slowly(real_fdatasync, fd); }
