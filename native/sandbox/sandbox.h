/* What the parts of the native launcher share.
 *
 * The launcher is the twin of fairlead/build/sandbox/init.py: it hears requests at a socket, descriptor 3, and
 * starts one sandboxed program at a time. init.py says why the sandbox is made as it is; the comments here say
 * only where this program differs. It exists because an interpreter that forks itself and calls the kernel by
 * ctypes costs each command milliseconds. init.py stays: for recorded commands and overlays, where this program
 * cannot be had, and as what the tests compare this one with.
 *
 * Rejected: to have init.py make the namespaces and start this program in them. Its 30 ms would be paid by each
 * launcher, and an exec in between would need rights to survive it that are better given up at once.
 */
#ifndef FAIRLEAD_SANDBOX_H
#define FAIRLEAD_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CALLS = 3 };             /* descriptor: the launcher's socket */
enum { INSIDE = 1000 };         /* user and group number of the program inside */
enum level { LEVEL_NONE, LEVEL_LANDLOCK, LEVEL_NAMESPACE };
enum limit { LIMIT_MEMORY, LIMIT_CPU, LIMIT_FILE, LIMIT_PROCESSES, LIMITS };
#define NO_LIMIT UINT64_MAX

/* ---- problem.c: the one reason why the current request failed */

#define PROBLEM_SIZE 1024
extern char problem[PROBLEM_SIZE];
int refuse(const char *what, const char *where, int error); /* notes "what where: error"; always -1 */

/* ---- request.c: a request, which points into the buffer that it was read from */

struct bytes {
    const unsigned char *data;
    size_t size;
};

struct texts {
    char **items; /* with a NULL after the last, as exec wants it */
    size_t count;
};

/* `known` with what tells the source from another one at its path; else nothing stood there. */
struct bind {
    const char *source, *dest;
    bool writable, known;
    uint64_t device, inode;
};

struct binds {
    struct bind *items;
    size_t count;
};

struct rule {
    const char *path;
    uint64_t rights;
};

struct rules {
    struct rule *items;
    size_t count;
};

/* What a launcher's commands have in common: said once, with its first command. */
struct base {
    struct bytes own_filter, filter; /* of system calls: this process's, then what its level adds */
    struct binds binds;
    struct texts masks;
    bool network;
    const char *hostname;
    uint64_t tmp;
    uint32_t outside;
};

struct request {
    enum level level;
    bool has_base;
    struct base base;
    struct texts argv, env;
    const char *cwd;
    struct binds binds;
    struct texts masks;
    uint64_t limits[LIMITS];
    unsigned logs;
    struct bytes ruleset; /* the first argument of landlock_create_ruleset */
    uint64_t on_files;    /* of a rule's rights, those that a file can have */
    struct rules rules;
};

int request_read(struct request *request, const unsigned char *data, size_t size); /* -1 if it is malformed */
void request_free(struct request *request);

/* ---- paths.c: sets of paths */

struct paths {
    const char **slots;
    size_t size, count; /* size: a power of two, or 0 */
};

int paths_add(struct paths *set, const char *path); /* keeps the pointer */
bool paths_have(const struct paths *set, const char *path, size_t length);
size_t paths_around(const struct paths *set, const char *path); /* length of the innermost one around, or 0 */

/* ---- root.c: what a program sees of the disk; the twin of mounts.py */

struct place {
    char *dest, *link; /* `link`: where it leads, if a link stands in this place */
    bool folder;
};

struct root {
    const char *at; /* where the lasting half is mounted beside the machine's disk, for places to be made in it */
    int model;      /* the namespace in which it is alone */
    uint64_t size;
    struct paths lasting;
    struct place *places;
    size_t place_count;
    char **made;
    size_t made_count;
};

int root_begin(struct root *root, const struct base *base);
int root_prepare(struct root *root, const struct binds *binds); /* 1 if the disk is another than the caller's */
int root_enter(const struct root *root, const struct request *request);

/* ---- spaces.c: namespaces that last from command to command */

int spaces_enter(const struct base *base);
int spaces_close(void);   /* when the root is mounted: give up what nobody needs any more */
int network_begin(void);  /* make the new network namespace usable, and note how its counters stand */
int network_renew(void);  /* after a command: another one, unless this one is as it was */
int write_file(const char *path, const char *text);

/* ---- program.c: what becomes of a process that is to run the program */

int filter_install(const struct bytes *filter);
void limits_begin(void); /* once */
int limits_set(const uint64_t limits[LIMITS], enum level level);
int privileges_drop(void);
void end_with_parent(int pipe);      /* be killed when it ends; -1, or a pipe that it reads */
int logs_take(const int *fds, unsigned count);
pid_t program_spawn(const struct request *request, const int *fds); /* -1 with errno; see `exec_failed` */
extern bool exec_failed; /* of the last program_spawn that failed: it is the program that could not be started */

#endif
