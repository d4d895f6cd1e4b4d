/* The machine's clock, moved for one process (LD_PRELOAD): by as many seconds as the first 8 bytes of the file
   $LINESIDE_TEST_CLOCK say, a signed integer that may change at any time. Only the wall clock; no other one moves. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long offset(void) {
    static volatile long long *seconds = NULL;
    if (!seconds) {
        int file = open(getenv("LINESIDE_TEST_CLOCK"), O_RDONLY);
        void *there = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
        close(file);
        if (there == MAP_FAILED) abort();
        seconds = there;
    }
    return *seconds;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, which, now);
    if (!failed && which == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = (int)syscall(SYS_gettimeofday, now, zone);
    if (!failed) now->tv_sec += offset();
    return failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
