// What MutateLoop.java cannot do in Java: fork a child that lives for a while, count faults, sleep until a moment.
// Native methods, their types as JNI's ABI has them; no JDK header is needed.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pss.h"

void Java_MutateLoop_sleepUntil(void *environment, void *class, int64_t at)
{
    struct timespec t = {at / 1000000000LL, at % 1000000000LL};
    (void)environment, (void)class;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

int64_t Java_MutateLoop_faults(void *environment, void *class)
{
    struct rusage used;
    (void)environment, (void)class;
    getrusage(RUSAGE_THREAD, &used);
    return used.ru_minflt;
}

int64_t Java_MutateLoop_forked(void *environment, void *class, int64_t life_ns)
{
    struct timespec t = {life_ns / 1000000000LL, life_ns % 1000000000LL};
    (void)environment, (void)class;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (life_ns)
            while (nanosleep(&t, &t) && errno == EINTR)
                ;
        _exit(0);
    }
    return pid;
}

// Minor faults of a child that has ended; -1 if there is none.
int64_t Java_MutateLoop_reaped(void *environment, void *class, int64_t pid)
{
    struct rusage used;
    (void)environment, (void)class;
    return wait4((pid_t)pid, NULL, 0, &used) == pid ? used.ru_minflt : -1;
}

// Proportional share of a process in pages; -1 where it cannot be read.
double Java_MutateLoop_pssPages(void *environment, void *class, int64_t pid)
{
    (void)environment, (void)class;
    return pss_pages((pid_t)pid);
}
