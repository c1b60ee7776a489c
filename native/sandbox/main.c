/* The launcher: takes requests at its socket, starts a program for each and says how it ended.
 *
 * A request is a length and what request.c reads, with the descriptors of the program's stdout and stderr. Answers
 * are those of init.py, as JSON. `fairlead-sandbox` takes no arguments, and is of no use without its caller.
 *
 * At level "namespace" the *first* process, number 1 of its namespaces, is a fork of this small one; the program is
 * started by it without another copy. At the other levels the program is started by this process itself, which as
 * a subreaper gets the orphans that it leaves, and ends them. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DESCRIPTORS = 2, LARGEST = 64 << 20 };

/* How a run ended, as far as those who know it have said so. */
struct outcome {
    bool ended;      /* with `code`; else it failed, in `phase`, for the reason `text` */
    bool executing;
    int code;
    char text[PROBLEM_SIZE];
};

static volatile sig_atomic_t told; /* by SIGTERM, or by the end of our caller, to end */
static sigset_t open_mask;         /* the mask with which we wait: SIGTERM is heard then alone */
static struct root root;
static bool begun, filtered, network;
static enum level our_level;

static void on_term(int number)
{
    (void)number;
    told = 1;
}

/* Wait until `fd` can be read or its other end has gone. A reason to end, meanwhile, ends `child`. */
static bool await(int fd, pid_t child)
{
    struct pollfd watched[] = {{fd, POLLIN, 0}, {CALLS, 0, 0}};
    nfds_t count = 2;
    for (;;) {
        if (told && child > 0)
            kill(child, SIGKILL);
        int found = ppoll(watched, count, NULL, &open_mask);
        if (found < 0 && errno != EINTR)
            return false;
        if (told && child <= 0)
            return false;
        if (found > 0 && watched[0].revents)
            return true;
        if (found > 0 && count > 1 && watched[1].revents) {
            told = 1;
            count = 1;
        }
    }
}

static void drop(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

/* The next request in `buffer`, and the descriptors that came with it. False if the caller has gone, or says what
 * nobody can understand. */
static bool hear(unsigned char **buffer, size_t *room, size_t *size, int fds[DESCRIPTORS], size_t *count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control;
    uint32_t length = 0;
    struct iovec part = {&length, sizeof length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *count = 0;
    if (!await(CALLS, 0) || recvmsg(CALLS, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof length)
        return false;
    struct cmsghdr *with = CMSG_FIRSTHDR(&message);
    if (with && with->cmsg_level == SOL_SOCKET && with->cmsg_type == SCM_RIGHTS) {
        *count = (with->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(with), *count * sizeof(int));
    }
    if (message.msg_flags & MSG_CTRUNC || length > LARGEST)
        return false;
    if (length > *room) {
        unsigned char *more = realloc(*buffer, length);
        if (!more)
            return false;
        *buffer = more;
        *room = length;
    }
    for (*size = 0; *size < length;) {
        ssize_t got = recv(CALLS, *buffer + *size, length - *size, MSG_WAITALL);
        if (got <= 0)
            return false;
        *size += (size_t)got;
    }
    return true;
}

/* Put `text` into a JSON string. What is no plain ASCII but UTF-8 goes as it is. */
static void quote(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
}

static void answer(const struct outcome *outcome, const struct rusage *used, bool stale, bool last)
{
    char said[8 * PROBLEM_SIZE];
    FILE *out = fmemopen(said, sizeof said, "w");
    if (!out)
        return;
    double cpu = (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) +
                 1e-6 * (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec);
    fprintf(out, "{\"cpu\": %.6f, \"rss\": %lld", cpu, (long long)used->ru_maxrss * 1024);
    if (outcome->ended) {
        fprintf(out, ", \"code\": %d", outcome->code);
    } else {
        fputs(", \"failed\": \"", out);
        quote(out, outcome->text);
        fprintf(out, "\", \"phase\": \"%s\"", outcome->executing ? "exec" : "setup");
    }
    fputs(stale ? ", \"stale\": true" : "", out);
    fputs(last ? ", \"last\": true}" : "}", out);
    long size = ftell(out);
    fclose(out);
    for (long sent = 0; sent < size;) {
        ssize_t done = send(CALLS, said + sent, (size_t)(size - sent), MSG_NOSIGNAL);
        if (done < 0)
            return; /* the caller has gone, which the next wait sees */
        sent += done;
    }
}

static void fail(struct outcome *outcome, bool executing)
{
    outcome->ended = false;
    outcome->executing = executing;
    snprintf(outcome->text, sizeof outcome->text, "%s", problem);
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ---- at level "namespace" */

static void tell(int status, const struct outcome *outcome)
{
    _exit(write(status, outcome, sizeof *outcome) == sizeof *outcome ? 0 : 1);
}

/* Process 1 of the namespace: mount what is the command's own, start the program, reap, tell, end. */
static _Noreturn void be_first(const struct request *request, const int *fds, int status)
{
    struct outcome outcome = {0};
    sigset_t none;
    sigemptyset(&none);
    signal(SIGTERM, SIG_DFL); /* of a signal without a handler process 1 sees nothing */
    sigprocmask(SIG_SETMASK, &none, NULL);
    end_with_parent(status);
    close(CALLS);
    int done = logs_take(fds, request->logs) < 0 || root_enter(&root, request) < 0 || privileges_drop() < 0;
    end_with_parent(status); /* a change of user made the kernel forget it */
    if (done || limits_set(request->limits, LEVEL_NAMESPACE) < 0) {
        fail(&outcome, false);
        tell(status, &outcome);
    }
    pid_t program = program_spawn(request, NULL), ended;
    if (program < 0) {
        refuse(request->argv.items[0], "", errno);
        fail(&outcome, true);
        tell(status, &outcome);
    }
    int ending = 0;
    do
        ended = wait(&ending);
    while (ended != program && (ended > 0 || errno == EINTR));
    outcome.ended = true;
    outcome.code = exit_code(ending);
    tell(status, &outcome);
    _exit(1);
}

/* Run it in namespaces, as the parent of their first process. */
static void run_inside(const struct request *request, const int *fds, struct outcome *outcome, struct rusage *used)
{
    int status[2], ending = 0;
    if (pipe2(status, O_CLOEXEC) < 0) {
        refuse("pipe", "", errno);
        fail(outcome, false);
        return;
    }
    /* not fork: namespaces of processes can be changed for a single child only by this call */
    unsigned long new = CLONE_NEWPID | CLONE_NEWIPC | SIGCHLD; /* the one of mounts is its own affair */
    pid_t child = (pid_t)syscall(SYS_clone, new, NULL, NULL, NULL, NULL);
    if (child == 0)
        be_first(request, fds, status[1]);
    close(status[1]);
    if (child < 0) {
        refuse("new namespaces", "", errno);
        fail(outcome, false);
        close(status[0]);
        return;
    }
    /* It alone holds the other end, the program's copy is closed by its exec: at its end ours can be read. */
    await(status[0], child);
    ssize_t said = read(status[0], outcome, sizeof *outcome);
    close(status[0]);
    wait4(child, &ending, 0, used); /* all in its namespace has ended then */
    if (said == (ssize_t)sizeof *outcome)
        return;
    *outcome = (struct outcome){.ended = WIFSIGNALED(ending) && WTERMSIG(ending) == SIGKILL, .code = -SIGKILL};
    if (!outcome->ended) { /* it went without a word */
        refuse("its first process ended too early", "", 0);
        fail(outcome, false);
    }
}

/* ---- at the other levels */

/* End what the program left behind: orphans come to us because we are their subreaper. */
static void end_orphans(void)
{
    char path[64], names[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    while (waitpid(-1, NULL, WNOHANG) >= 0) { /* there are children */
        int list = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = list < 0 ? -1 : read(list, names, sizeof names - 1);
        if (list >= 0)
            close(list);
        if (size <= 0)
            return;
        names[size] = 0;
        if (size == sizeof names - 1) { /* the last number may be cut off, and another's: leave it for later */
            char *end = strrchr(names, ' ');
            if (end)
                end[1] = 0;
        }
        for (char *next, *at = names;; at = next) {
            long pid = strtol(at, &next, 10);
            if (next == at)
                break;
            if (pid > 0)
                kill((pid_t)pid, SIGKILL);
        }
        waitpid(-1, NULL, 0);
    }
}

/* Run it without namespaces, as the parent of the program and of the orphans it leaves. */
static void run_beside(const struct request *request, const int *fds, struct outcome *outcome, struct rusage *used)
{
    int ending = 0;
    pid_t child = program_spawn(request, fds);
    if (child < 0) {
        if (exec_failed)
            refuse(request->argv.items[0], "", errno);
        fail(outcome, exec_failed);
        end_orphans();
        return;
    }
    int ended = (int)syscall(SYS_pidfd_open, child, 0);
    if (ended >= 0)
        await(ended, child);
    close(ended);
    wait4(child, &ending, 0, used);
    end_orphans();
    outcome->ended = true;
    outcome->code = exit_code(ending);
}

/* ---- requests */

/* With the first request: what all have in common. */
static int begin(const struct request *request)
{
    const struct base *base = &request->base;
    our_level = request->level;
    network = base->network;
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL); /* before the filter refuses keys to everybody */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    filtered = filter_install(&base->own_filter) == 0; /* it is a second layer */
    if (our_level == LEVEL_NAMESPACE) {
        if (spaces_enter(base) < 0 || root_begin(&root, base) < 0 || spaces_close() < 0 ||
            (!network && network_begin() < 0))
            return -1;
    } else {
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        if (filter_install(&base->filter) < 0 && our_level == LEVEL_LANDLOCK)
            return refuse("", "", errno);
    }
    begun = true;
    return 0;
}

/* Run one program and say how it ended. Whether this launcher can run another one. */
static bool serve_one(const struct request *request, const int *fds, size_t count)
{
    struct outcome outcome = {0};
    struct rusage used = {0};
    int stale = 0;
    if (count != request->logs || (!begun && !request->has_base) || (begun && request->level != our_level)) {
        refuse("a request that does not fit", "", 0);
        fail(&outcome, false);
    } else if (!begun && begin(request) < 0) {
        fail(&outcome, false);
    } else if (our_level != LEVEL_NAMESPACE) {
        run_beside(request, fds, &outcome, &used);
    } else if ((stale = root_prepare(&root, &request->binds)) == 0) {
        run_inside(request, fds, &outcome, &used);
        if (!network && network_renew() < 0)
            begun = false;
    } else {
        if (stale > 0)
            refuse("it sees another disk than its caller", "", 0);
        fail(&outcome, false);
        begun = false;
    }
    bool last = told || !begun || (our_level == LEVEL_NAMESPACE && !filtered);
    answer(&outcome, &used, stale > 0, last);
    return !last;
}

/* Signals as they are for a new program, whatever our caller's parent ignored or blocked. */
static void clear_signals(void)
{
    struct sigaction heed = {.sa_handler = on_term};
    sigset_t term;
    for (int number = 1; number <= SIGRTMAX; number++)
        signal(number, SIG_DFL); /* refused for a few, which cannot be ignored either */
    sigemptyset(&open_mask);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_SETMASK, &term, NULL);
    sigaction(SIGTERM, &heed, NULL);
}

int main(void)
{
    unsigned char *buffer = NULL;
    size_t room = 0, size = 0, count = 0;
    int fds[DESCRIPTORS];
    bool more = true;
    struct request request;
    clear_signals();
    limits_begin();
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no program looks into what will start the next one */
    umask(022);                         /* the program's user must get through the folders made for it */
    if (fcntl(CALLS, F_SETFD, FD_CLOEXEC) < 0) {
        fputs("fairlead-sandbox is started by Fairlead, with a socket as descriptor 3\n", stderr);
        return 2;
    }
#ifdef SYS_close_range
    syscall(SYS_close_range, CALLS + 1, ~0U, 0); /* whatever the caller's own parent left open */
#endif
    while (more && hear(&buffer, &room, &size, fds, &count)) {
        more = request_read(&request, buffer, size) == 0;
        if (more) {
            more = serve_one(&request, fds, count);
            request_free(&request);
        }
        drop(fds, count);
    }
    free(buffer);
    return 0;
}
