// Exercise 3: from argv over envp to the auxiliary vector, held against getauxval() and LD_SHOW_AUXV=1.
#include "figures.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

int main(int argc, char **argv)
{
    char **at = environ;
    while (*at != NULL)
        at++;
    Elf64_auxv_t *first = (Elf64_auxv_t *)(at + 1), *entry;
    int entries = 0, agree = 0, named = 0;
    unsigned long value[64] = {0};
    for (entry = first; entry->a_type != AT_NULL; entry++, entries++) {
        agree += getauxval(entry->a_type) == entry->a_un.a_val;
        if (entry->a_type < 64)
            value[entry->a_type] = entry->a_un.a_val;
    }
    if (argc > 1) {  // run under LD_SHOW_AUXV=1: the loader has printed a line an entry before main
        return 0;
    }
    FILE *shown = popen("LD_SHOW_AUXV=1 exec /proc/$PPID/exe again", "r");
    char line[512];
    while (shown != NULL && fgets(line, sizeof line, shown) != NULL)
        named += strncmp(line, "AT_", 3) == 0;
    pclose(shown);
    put("auxv_entries", entries);
    put("auxv_agree_with_getauxval", agree);
    put("auxv_shown_by_loader", named);
    put("hwcap_replaced_by_libc", getauxval(AT_HWCAP) != value[AT_HWCAP]);
    put("argc_lies_lowest", (uintptr_t)argv < (uintptr_t)environ && (uintptr_t)environ < (uintptr_t)first &&
                                (uintptr_t)first < (uintptr_t)argv[0] && ((long *)argv)[-1] == argc);
    put("phdr_is_in_the_program", ((Elf64_Phdr *)value[AT_PHDR])->p_type == PT_PHDR);
    put("vdso_is_an_elf_image", memcmp((void *)value[AT_SYSINFO_EHDR], ELFMAG, SELFMAG) == 0);
    uintptr_t guard, random;
    __asm__("mov %%fs:0x28, %0" : "=r"(guard));
    memcpy(&random, (void *)value[AT_RANDOM], sizeof random);
    put("canary_comes_from_at_random", guard == (random & ~(uintptr_t)0xff));
    extern void _start(void);
    put("entry_is_start", value[AT_ENTRY] == (uintptr_t)_start);
    return 0;
}
