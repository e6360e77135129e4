// Repetitions of a bench that times a piece of work in its own process: {"rep","warmup","value_ns","n"}.
#ifndef VALUE_H
#define VALUE_H
#include "harness.h"

struct value { int64_t total_ns; long n; long minflt; };
static struct value values[MAX_REPS + WARMUPS];
static int value_count;
static bool value_total; // true: value_ns is the time of all n units; false: of one

static inline long minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

static inline void value_put(int64_t total_ns, long n, long minflt)
{
    values[value_count++] = (struct value){total_ns, n, minflt};
}

static inline void value_begin(void)
{
    memset(values, 1, sizeof values); // its pages are there before the first clock
    print_header(NULL);
    hold_if_wanted();
}

static inline void value_print(void)
{
    for (int i = 0; i < value_count; i++) {
        double ns = (double)values[i].total_ns / (value_total ? 1.0 : (double)values[i].n);
        printf("{\"rep\":%d,\"warmup\":%s,\"value_ns\":%.2f,\"n\":%ld,\"minflt_caller\":%ld}\n", i - WARMUPS,
               i < WARMUPS ? "true" : "false", ns, values[i].n, values[i].minflt);
    }
    fflush(stdout);
}

// Times `body` n times in each repetition and prints ns per execution.
#define VALUE_LOOP(n, reps, body)                                  \
    do {                                                           \
        value_begin();                                             \
        for (long rep_ = 0; rep_ < (reps) + WARMUPS; rep_++) {     \
            long faults_ = minor_faults();                         \
            int64_t from_ = now_ns();                              \
            for (long i_ = 0; i_ < (n); i_++) {                    \
                body;                                              \
            }                                                      \
            int64_t total_ = now_ns() - from_;                     \
            value_put(total_, (n), minor_faults() - faults_);      \
        }                                                          \
        value_print();                                             \
    } while (0)
#endif
