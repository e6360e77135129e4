// execve of an executable file of no known format: everything up to the search for a binary format, no new image.
#include "value.h"

static char path[4096];

static void remove_file(void)
{
    unlink(path);
}

static void failing_exec(char **words, char **none)
{
    execve(path, words, none);
    if (errno != ENOEXEC)
        die("%s: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
    bench_start("exec_noexec", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 500, 1, 1000000);
    options_end();
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/spawncost-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    atexit(remove_file);
    // printable text: for anything else the kernel would start modprobe
    if (write(fd, "no known format\n", 16) != 16 || fchmod(fd, 0700) < 0 || close(fd) < 0)
        die("%s: %s", path, strerror(errno));
    char *words[] = {path, NULL}, *none[] = {NULL};
    execve(path, words, none);
    if (errno == EACCES)
        unavailable("the folder of temporary files is mounted noexec");
    VALUE_LOOP(n, reps, failing_exec(words, none));
    return 0;
}
