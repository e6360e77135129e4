// What CPUID says about the TLB, as it stands: the header's "leaves" maps "LEAF.SUBLEAF" to eax ebx ecx edx in hex.
// A fact, not a time. Leaves beyond those that the CPU (or the hypervisor in its place) offers are left out.
#include "value.h"
#if defined(__x86_64__)
#include <cpuid.h>

#define MOST_SUBLEAVES 9

static bool first_leaf = true;

static unsigned add_leaf(unsigned leaf, unsigned subleaf)
{   // gives eax
    unsigned a = 0, b = 0, c = 0, d = 0;
    __cpuid_count(leaf, subleaf, a, b, c, d);
    header_add("%s\"%x.%u\":\"%08x %08x %08x %08x\"", first_leaf ? "" : ",", leaf, subleaf, a, b, c, d);
    first_leaf = false;
    return a;
}
#endif

int main(int argc, char **argv)
{
    bench_start("tlb_leaves", argc, argv);
    long reps = option_long("reps", 1, 1, MAX_REPS);
    options_end();
#if defined(__x86_64__)
    static const unsigned plain[] = {0, 1, 2, 7}, extended[] = {0x80000005, 0x80000006, 0x80000019};
    unsigned most = __get_cpuid_max(0, NULL), most_extended = __get_cpuid_max(0x80000000, NULL);
    header_add("\"leaves\":{");
    for (size_t i = 0; i < sizeof plain / sizeof *plain && plain[i] <= most; i++)
        add_leaf(plain[i], 0);
    if (most >= 0x18) {
        unsigned last = add_leaf(0x18, 0);
        for (unsigned i = 1; i <= last && i < MOST_SUBLEAVES; i++)
            add_leaf(0x18, i);
    }
    for (size_t i = 0; i < sizeof extended / sizeof *extended && extended[i] <= most_extended; i++)
        add_leaf(extended[i], 0);
    header_add("}");
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++)
        value_put(0, 1, 0);
    value_print();
#else
    (void)reps;
    unavailable("this architecture has no CPUID");
#endif
    return 0;
}
