/* The namespaces that a launcher enters once, and what is given up when its root is mounted: the class Base of
 * init.py. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* No rights by number 0, none kept over a change of number, none over an exec; each with its lock. */
#define SECURE                                                                                              \
    (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |         \
     SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

enum { COUNTED = 1 << 16 };

static struct counter {
    const char *path;
    int fd;
    char *before;
    ssize_t size;
} counters[] = {
    {"/proc/self/net/sockstat", -1, NULL, 0}, /* the first: only its first line is this namespace's */
    {"/proc/self/net/dev", -1, NULL, 0},
    {"/proc/self/net/snmp", -1, NULL, 0},
    {"/proc/self/net/snmp6", -1, NULL, 0}, /* not there without IPv6 */
    {"/proc/self/net/netstat", -1, NULL, 0},
};
enum { COUNTERS = sizeof counters / sizeof *counters };

int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return written < 0 ? -1 : 0;
}

static int write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return write_file(path, text);
}

/* As root: root stays root for building the new root, the program gets an unprivileged number; else one-to-one. */
static int write_maps(pid_t pid, unsigned uid, unsigned gid, unsigned outside)
{
    char text[96], map[64];
    if (uid == 0) {
        snprintf(map, sizeof map, "%d %u 1\n", INSIDE, outside);
        snprintf(text, sizeof text, "0 %u 1\n%s", gid, map);
        if (write_proc(pid, "gid_map", text) < 0)
            return -1;
        snprintf(text, sizeof text, "0 0 1\n%s", map);
        return write_proc(pid, "uid_map", text);
    }
    if (write_proc(pid, "setgroups", "deny") < 0)
        return -1;
    snprintf(text, sizeof text, "%d %u 1\n", INSIDE, gid);
    if (write_proc(pid, "gid_map", text) < 0)
        return -1;
    snprintf(text, sizeof text, "%d %u 1\n", INSIDE, uid);
    return write_proc(pid, "uid_map", text);
}

/* New namespaces for this process; a helper that stays behind writes the user map. */
int spaces_enter(const struct base *base)
{
    unsigned uid = getuid(), gid = getgid();
    pid_t self = getpid();
    int ready[2], said[2];
    if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0)
        return refuse("pipe", "", errno);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* for the user map, which an ordinary user writes */
    pid_t helper = fork();
    if (helper < 0)
        return refuse("fork", "", errno);
    if (helper == 0) {
        char go;
        int error = ECANCELED;
        close(ready[1]);
        if (read(ready[0], &go, 1) == 1)
            error = write_maps(self, uid, gid, base->outside) < 0 ? errno : 0;
        _exit(write(said[1], &error, sizeof error) == sizeof error ? 0 : 1);
    }
    close(ready[0]);
    close(said[1]);
    int flags = CLONE_NEWUSER | CLONE_NEWUTS | (base->network ? 0 : CLONE_NEWNET);
    int refused = unshare(flags) < 0 ? errno : 0, mapped = ECANCELED;
    if (!refused && write(ready[1], "x", 1) != 1)
        refused = errno;
    close(ready[1]);
    if (read(said[0], &mapped, sizeof mapped) != sizeof mapped)
        mapped = ECANCELED;
    close(said[0]);
    waitpid(helper, NULL, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (refused)
        return refuse("new namespaces", "", refused);
    if (mapped) {
        char where[64] = "";
        if (uid == 0)
            snprintf(where, sizeof where, "root may not map user %u here", base->outside);
        return refuse("user map:", where, mapped);
    }
    if (unshare(CLONE_NEWCGROUP) < 0) {
        /* it hides names only, and not all kernels have it */
    }
    return 0;
}

int spaces_close(void)
{
    /* No namespaces within: a program that could make some would hold capabilities over them, and reach more
     * kernel. Old kernels have no such limit; mounts stay locked either way. */
    (void)write_file("/proc/sys/user/max_user_namespaces", "0");
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long number = 0; prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0; number++) {
    }
    if (prctl(PR_SET_SECUREBITS, SECURE, 0, 0, 0) < 0)
        return refuse("lock capabilities", "", errno);
    return 0;
}

/* What can be seen of the use of this network namespace: sockets that are left, packets, errors. The size, or -1. */
static ssize_t count_now(size_t which, char *into)
{
    ssize_t size = pread(counters[which].fd, into, COUNTED, 0);
    if (size > 0 && which == 0) {
        char *end = memchr(into, '\n', (size_t)size);
        if (end)
            size = end - into; /* what comes next counts the whole machine */
    }
    return size;
}

static int raise_loopback(void)
{
    struct ifreq request = {0};
    strcpy(request.ifr_name, "lo");
    int device = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (device < 0)
        return refuse("loopback", "", errno);
    int done = ioctl(device, SIOCGIFFLAGS, &request);
    request.ifr_flags |= IFF_UP;
    if (done == 0)
        done = ioctl(device, SIOCSIFFLAGS, &request);
    if (done < 0)
        refuse("loopback", "", errno);
    close(device);
    return done < 0 ? -1 : 0;
}

int network_begin(void)
{
    if (raise_loopback() < 0)
        return -1;
    for (size_t i = 0; i < COUNTERS; i++) {
        struct counter *counter = &counters[i];
        if (counter->fd >= 0)
            close(counter->fd);
        counter->fd = open(counter->path, O_RDONLY | O_CLOEXEC);
        if (counter->fd < 0 && errno != ENOENT) {
            counters[0].size = -1; /* then none is trusted, and each command has a namespace of its own */
            return 0;
        }
    }
    for (size_t i = 0; i < COUNTERS; i++) {
        if (counters[i].fd < 0)
            continue;
        if (!counters[i].before && !(counters[i].before = malloc(COUNTED)))
            return refuse("counters", "", ENOMEM);
        counters[i].size = count_now(i, counters[i].before);
    }
    return 0;
}

static bool is_unused(void)
{
    static char now[COUNTED];
    bool any = false;
    for (size_t i = 0; i < COUNTERS; i++) {
        const struct counter *counter = &counters[i];
        if (counter->size < 0)
            return false;
        if (counter->fd < 0)
            continue;
        ssize_t size = count_now(i, now);
        if (size != counter->size || memcmp(now, counter->before, (size_t)size) != 0)
            return false;
        any = true;
    }
    return any;
}

int network_renew(void)
{
    if (is_unused())
        return 0;
    if (unshare(CLONE_NEWNET) < 0)
        return refuse("a new network namespace", "", errno);
    return network_begin();
}
