/* What becomes of a process that is to run the program: limits, no rights, walls by Landlock, and the exec. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* Landlock's calls, which older headers lack; the same on all machines. */
enum { LANDLOCK_CREATE = 444, LANDLOCK_ADD = 445, LANDLOCK_RESTRICT = 446, LANDLOCK_BENEATH = 1 };

struct __attribute__((packed)) beneath {
    uint64_t rights;
    int32_t folder;
};

bool exec_failed;

int filter_install(const struct bytes *filter)
{
    struct sock_filter lines[BPF_MAXINSNS];
    if (filter->size % sizeof *lines || filter->size > sizeof lines) {
        errno = EINVAL;
        return -1;
    }
    memcpy(lines, filter->data, filter->size);
    struct sock_fprog program = {(unsigned short)(filter->size / sizeof *lines), lines};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static bool recent; /* Linux 5.14 or later */

void limits_begin(void)
{
    struct utsname system;
    int major = 0, minor = 0;
    recent = uname(&system) == 0 && sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
             (major > 5 || (major == 5 && minor >= 14));
}

/* Before, and outside a user namespace, this counts everything the user runs on the machine. */
static bool counts_processes(enum level level)
{
    return level == LEVEL_NAMESPACE && recent;
}

int limits_set(const uint64_t limits[LIMITS], enum level level)
{
    const int kinds[LIMITS] = {RLIMIT_AS, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NPROC};
    for (int i = 0; i < LIMITS; i++) {
        struct rlimit now;
        if (limits[i] == NO_LIMIT || (i == LIMIT_PROCESSES && !counts_processes(level)))
            continue;
        if (getrlimit(kinds[i], &now) < 0)
            return refuse("limits", "", errno);
        rlim_t wanted = limits[i];
        if (now.rlim_max != RLIM_INFINITY && wanted > now.rlim_max)
            wanted = now.rlim_max;
        /* One second more before SIGKILL lets SIGXCPU tell what the end was. */
        now.rlim_max = i == LIMIT_CPU && now.rlim_max != wanted ? wanted + 1 : wanted;
        now.rlim_cur = wanted;
        if (setrlimit(kinds[i], &now) < 0)
            return refuse("limits", "", errno);
    }
    const struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_CORE, &none) < 0 ? refuse("limits", "", errno) : 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    return (int)syscall(SYS_capset, &header, none);
}

/* Give up root's number and every capability, for good. */
int privileges_drop(void)
{
    if (getuid() != INSIDE && (setgroups(0, NULL) < 0 || setresgid(INSIDE, INSIDE, INSIDE) < 0 ||
                               setresuid(INSIDE, INSIDE, INSIDE) < 0))
        return refuse("the program's user", "", errno);
    if (drop_capabilities() < 0)
        return refuse("drop capabilities", "", errno);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return refuse("no new privileges", "", errno);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the program may not look into process 1 */
    return 0;
}

void end_with_parent(int pipe)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (pipe >= 0) { /* the parent may have ended before; then nobody reads */
        struct pollfd reader = {.fd = pipe};
        if (poll(&reader, 1, 0) > 0 && reader.revents & POLLERR)
            _exit(1);
    }
}

/* Stdout and stderr, which may be one file. */
int logs_take(const int *fds, unsigned count)
{
    return dup2(fds[0], 1) < 0 || dup2(fds[count - 1], 2) < 0 ? refuse("logs", "", errno) : 0;
}

/* Hold this process to the rules. landlock.py has made them, so that they are the same whoever applies them. */
static int landlock_restrict(const struct request *request)
{
    int ruleset = (int)syscall(LANDLOCK_CREATE, request->ruleset.data, request->ruleset.size, 0);
    if (ruleset < 0)
        return refuse("", "", errno);
    for (size_t i = 0; i < request->rules.count; i++) {
        const struct rule *rule = &request->rules.items[i];
        struct stat found;
        struct beneath beneath = {rule->rights, open(rule->path, O_PATH | O_CLOEXEC)};
        if (beneath.folder < 0)
            continue; /* no rule for what is not there */
        if (fstat(beneath.folder, &found) < 0 || !S_ISDIR(found.st_mode))
            beneath.rights &= request->on_files;
        long done = syscall(LANDLOCK_ADD, ruleset, LANDLOCK_BENEATH, &beneath, 0);
        int error = errno;
        close(beneath.folder);
        if (done < 0) {
            close(ruleset);
            return refuse("", "", error);
        }
    }
    long done = syscall(LANDLOCK_RESTRICT, ruleset, 0);
    int error = errno;
    close(ruleset);
    if (done < 0)
        return refuse("", "", error);
    return drop_capabilities() < 0 ? refuse("", "", errno) : 0;
}

static const char *search_path(char *const *env)
{
    for (; *env; env++)
        if (!strncmp(*env, "PATH=", 5))
            return *env + 5;
    return "/bin:/usr/bin";
}

/* Become the program. Like Python's os.execvpe, the PATH is the program's own. Returns with errno. */
static void become(const struct request *request)
{
    char *const *argv = request->argv.items, *const *env = request->env.items;
    if (strchr(argv[0], '/')) {
        execve(argv[0], argv, env);
        return;
    }
    int wrong = 0, last = ENOENT;
    for (const char *folder = search_path(env); folder;) {
        char path[PATH_MAX];
        int length = (int)strcspn(folder, ":");
        const char *gap = length && folder[length - 1] != '/' ? "/" : "";
        if (snprintf(path, sizeof path, "%.*s%s%s", length, folder, gap, argv[0]) < (int)sizeof path) {
            execve(path, argv, env);
            last = errno;
        } else {
            last = ENAMETOOLONG;
        }
        if (last != ENOENT && last != ENOTDIR && !wrong)
            wrong = last;
        folder = folder[length] ? folder + length + 1 : NULL;
    }
    errno = wrong ? wrong : last;
}

/* Start the program. `fds` are its logs, and at the levels without namespaces the whole of its walls is set up here;
 * else NULL.
 *
 * The child borrows this process's memory until its exec (vfork), which spares the copy of it: what it says of its
 * failure stands here when it has ended. */
pid_t program_spawn(const struct request *request, const int *fds)
{
    static volatile int failed;
    static volatile bool executing;
    failed = 0;
    executing = false;
    pid_t child = vfork();
    if (child == 0) {
        setsid(); /* `kill 0` inside must not reach the processes outside */
        if (fds) {
            sigset_t none;
            sigemptyset(&none);
            signal(SIGTERM, SIG_DFL); /* ours would note it in the memory that we share */
            end_with_parent(-1);
            bool held = logs_take(fds, request->logs) == 0 && limits_set(request->limits, request->level) == 0 &&
                        (request->level != LEVEL_LANDLOCK || landlock_restrict(request) == 0);
            sigprocmask(SIG_SETMASK, &none, NULL);
            if (!held) {
                failed = EPERM;
                _exit(127);
            }
        }
        executing = true;
        if (chdir(request->cwd) == 0)
            become(request);
        failed = errno;
        _exit(127);
    }
    exec_failed = executing;
    if (child > 0 && failed) {
        siginfo_t ended;
        waitid(P_PID, (id_t)child, &ended, WEXITED);
        errno = failed;
        return -1;
    }
    return child;
}
