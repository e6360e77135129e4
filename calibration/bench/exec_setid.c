// exec of a program that is set-user-ID to another user than the caller: new credentials, AT_SECURE.
// Only root can make one: it copies the target, sets the bit, and then measures as nobody.
#include "exec.h"
#include <sys/statvfs.h>
#define NOBODY 65534

static char path[4096];

static void remove_file(void)
{
    unlink(path);
}

static void copy_setuid(const char *from)
{
    static char block[65536];
    const char *folder = getenv("TMPDIR");
    struct statvfs mounted;
    ssize_t got;
    snprintf(path, sizeof path, "%s/spawncost-XXXXXX", folder && *folder ? folder : "/tmp");
    int to = mkstemp(path), source = open(from, O_RDONLY | O_CLOEXEC);
    if (to < 0 || source < 0)
        die("%s: %s", to < 0 ? path : from, strerror(errno));
    atexit(remove_file);
    while ((got = read(source, block, sizeof block)) > 0)
        if (write(to, block, (size_t)got) != got)
            die("%s: %s", path, strerror(errno));
    close(source);
    if (fchown(to, 0, 0) < 0 || fchmod(to, 04755) < 0 || fstatvfs(to, &mounted) < 0 || close(to) < 0)
        die("%s: %s", path, strerror(errno));
    if (mounted.f_flag & (ST_NOSUID | ST_NOEXEC))
        unavailable("the folder of temporary files is mounted nosuid or noexec");
}

int main(int argc, char **argv)
{
    bench_start("exec_setid", argc, argv);
    struct spawn s = exec_options("vfork", "tiny_static");
    if (geteuid() != 0)
        unavailable("only root can make a file that is set-user-ID to another user");
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
        unavailable("this process has no_new_privs, with which no file changes its user");
    copy_setuid(s.path);
    s.path = s.argv[0] = path;
    // the saved user stays root, so that the copy can be removed
    if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, 0) < 0)
        unavailable("this process may not become another user");
    leave_no_orphan(timeout_s);
    if (access(path, X_OK) < 0)
        unavailable("another user cannot reach the folder of temporary files");
    spawn_run(&s);
    if (setresuid(0, 0, 0) < 0)
        die("setresuid: %s", strerror(errno));
    return 0;
}
