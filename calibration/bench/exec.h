// A spawn of a target that tells when it started: argv, environment and close-on-exec descriptors by options.
#ifndef EXEC_H
#define EXEC_H
#include "spawn.h"
#define WORD_BYTES 64 // of each argument or variable, its terminating zero included

static inline char **words_of(const char *first, long bytes)
{
    long count = bytes / WORD_BYTES;
    char **words = calloc((size_t)count + 2, sizeof *words);
    char *text = malloc((size_t)count * WORD_BYTES + 1);
    if (!words || !text)
        die("out of memory");
    long used = 0;
    if (first)
        words[used++] = (char *)first;
    for (long i = 0; i < count; i++) {
        char *word = text + i * WORD_BYTES;
        memset(word, 'v', WORD_BYTES - 1);
        memcpy(word, "SPAWN=", 6);
        word[WORD_BYTES - 1] = 0;
        words[used++] = word;
    }
    return words;
}

static inline struct spawn exec_options(const char *default_mech, const char *default_target)
{   // the caller of the bench builds the target and says where it is; --target is its name
    struct spawn s = spawn_options(default_mech);
    option_text("target", default_target);
    s.path = option_text("target-path", NULL);
    option_long("libs", 0, 0, 1000);
    option_long("exports", 0, 0, 1000000);
    option_long("relative", 0, 0, 10000000);
    option_long("rel-spread", 0, 0, 1000000);
    option_long("lookups", 0, 0, 1000000);
    option_long("repeats", 0, 0, 1000);
    option_long("name-bytes", 0, 0, 1000);
    option_long("bss-pages", 0, 0, 100000);
    option_long("rodata", 0, 0, 1);
    option_long("versioned", 0, 0, 1);
    option_long("distinct", 0, 0, 1);
    option_long("by-name", 0, 0, 1);
    option_long("mixed", 0, 0, 1);
    long argv_bytes = option_long("argv-bytes", 0, 0, 1 << 20), env_bytes = option_long("env-bytes", 0, 0, 1 << 20);
    long cloexec = option_long("cloexec", 0, 0, 1 << 20);
    options_end();
    if (!s.path)
        die("--target-path is missing");
    s.argv = words_of(s.path, argv_bytes);
    s.envp = words_of(NULL, env_bytes);
    s.stamped = true;
    spawn_prepare(&s);
    build_fds(0, cloexec, true);
    return s;
}
#endif
