// A program that tells when it starts and ends at once. Its entry is stamp_start, before anything of libc.
// -DWITH_LIBC: goes on to libc's own _start, so that libc's start and end are part of its life.
#include "../stamp.h"
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long call3(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#define ENTRY(body) __asm__(".globl stamp_start\nstamp_start:\n" body)
#define CALL_ALIGNED "mov %rsp, %rbx\nand $-16, %rsp\ncall stamp_write\nmov %rbx, %rsp\n"
#elif defined(__aarch64__)
static inline long call3(long number, long a, long b, long c)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#define ENTRY(body) __asm__(".globl stamp_start\nstamp_start:\n" body)
#define CALL_ALIGNED "mov x19, x0\nbl stamp_write\nmov x0, x19\n"
#else
#error "no entry code for this architecture"
#endif

static int target_cpu;

__attribute__((used, visibility("hidden"))) void stamp_write(void)
{
    long time[2] = {0, 0};
    unsigned cpu = 0;
    call3(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)time, 0);
    struct stamp stamp = {time[0] * 1000000000LL + time[1]};
    call3(SYS_write, STAMP_FD, (long)&stamp, sizeof stamp);
    call3(SYS_getcpu, (long)&cpu, 0, 0);
#ifdef WITH_LIBC
    target_cpu = (int)cpu & 255;
#else
    (void)target_cpu;
    call3(SYS_exit_group, (long)(cpu & 255), 0, 0);
#endif
}

#ifdef WITH_LIBC
#if defined(__x86_64__)
// rdx is the loader's finaliser, which _start hands on to libc
ENTRY("push %rdx\n" CALL_ALIGNED "pop %rdx\njmp _start\n");
#else
ENTRY(CALL_ALIGNED "b _start\n");
#endif
int main(void)
{
    return target_cpu;
}
#else
ENTRY(CALL_ALIGNED);
#ifdef LINKS_LIBC
int main(void)
{
    return 0; // never reached: it is there so that the program links like any other
}
#endif
#endif
