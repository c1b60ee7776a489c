/* What a sandboxed program sees of the disk. mounts.py says how it is arranged and why; this is the same without
 * overlays, for Linux 5.12 and later (mount_setattr). On older kernels mounts.py does it.
 *
 * What differs is the way there. The lasting half is a mount namespace of its own, the *model*, in which nothing else
 * is mounted. A command's first process takes its own mounts along as descriptors, enters the model and makes its
 * copy of it. So what is mounted on the machine is neither copied for each command nor unmounted again. */
#include "mounts.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const ROOTS[] = {"/sys", "/mnt", "/srv", "/media"};
static const char *const LEVERS[] = {"sys", "bus", "fs", "irq"};
static const char *const SECRETS[] = {
    "kcore", "keys", "key-users", "kmsg", "sysrq-trigger", "timer_list", "kallsyms",
};
static const char *const DEVICES[] = {"null", "zero", "full", "random", "urandom"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* ---- places to mount on, in the tmpfs */

static int note_made(struct root *root, const char *path)
{
    char **more = realloc(root->made, (root->made_count + 1) * sizeof *more);
    if (!more)
        return refuse(path, "", ENOMEM);
    root->made = more;
    if (!(more[root->made_count] = strdup(path)))
        return refuse(path, "", ENOMEM);
    root->made_count++;
    return 0;
}

/* A folder or file to mount on, or a link, with the folders on the way. */
static int make_place(struct root *root, const char *dest, const char *link, bool folder)
{
    path_text at;
    if (join(at, root->at, dest) < 0)
        return -1;
    for (char *end = at + strlen(root->at) + 1; (end = strchr(end, '/')); *end++ = '/') {
        *end = 0;
        if (is_folder(at))
            continue;
        if (mkdir(at, 0755) < 0)
            return refuse(at, "", errno);
        if (note_made(root, at) < 0)
            return -1;
    }
    if (link) {
        if (symlink(link, at) < 0)
            return refuse(at, "", errno);
    } else if (!folder) {
        int made = open(at, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        if (made < 0)
            return refuse(at, "", errno);
        close(made);
    } else if (is_folder(at)) { /* the tmpfs's own, such as /dev */
        return 0;
    } else if (mkdir(at, 0755) < 0) {
        return refuse(at, "", errno);
    }
    return note_made(root, at);
}

/* What stands in the place of a bind of `source`: a link (its target in `link`), a folder or a file. */
static bool leads(const char *source, path_text link)
{
    ssize_t length = readlink(source, link, PATH_MAX - 1);
    if (length < 0)
        return false;
    link[length] = 0;
    return true;
}

static bool is_covered(const struct root *root, const char *dest)
{
    return paths_have(&root->lasting, dest, strlen(dest)) || paths_around(&root->lasting, dest);
}

static void forget_places(struct root *root)
{
    for (size_t i = 0; i < root->place_count; i++) {
        free(root->places[i].dest);
        free(root->places[i].link);
    }
    free(root->places);
    root->places = NULL;
    root->place_count = 0;
}

/* Take away what was made for the command before. */
static int clear_places(struct root *root)
{
    forget_places(root);
    while (root->made_count) {
        char *path = root->made[root->made_count - 1];
        if (unlink(path) < 0 && (errno != EISDIR || rmdir(path) < 0))
            return refuse(path, "", errno);
        free(path);
        root->made_count--;
    }
    return 0;
}

static bool same_place(const struct place *place, const char *dest, const char *link, bool folder)
{
    if (strcmp(place->dest, dest) != 0 || !place->link != !link)
        return false;
    return link ? strcmp(place->link, link) == 0 : place->folder == folder;
}

static int add_place(struct root *root, const char *dest, const char *link, bool folder)
{
    struct place *more = realloc(root->places, (root->place_count + 1) * sizeof *more);
    if (!more)
        return refuse(dest, "", ENOMEM);
    root->places = more;
    struct place place = {strdup(dest), link ? strdup(link) : NULL, folder};
    more[root->place_count++] = place;
    return place.dest && (!link || place.link) ? 0 : refuse(dest, "", ENOMEM);
}

/* Make the places that the next command's own binds need, and see that there are no others. If they are those of
 * the command before, as they mostly are, nothing is done. */
int root_prepare(struct root *root, const struct binds *binds)
{
    struct paths own = {0};
    path_text link;
    size_t same = 0;
    bool making = false;
    int done = 0;
    for (size_t pass = 0; pass < 2 && !done; pass++) {
        for (size_t i = 0; i < binds->count && !done; i++) {
            const struct bind *bind = &binds->items[i];
            struct stat found;
            if (pass == 0) {
                bool there = stat(bind->source, &found) == 0;
                if (there != bind->known ||
                    (there && (found.st_dev != bind->device || found.st_ino != bind->inode))) {
                    done = 1;
                    break;
                }
            }
            bool own_place = !is_covered(root, bind->dest) && !paths_around(&own, bind->dest);
            if (paths_add(&own, bind->dest) < 0)
                done = -1;
            else if (own_place) {
                const char *to = leads(bind->source, link) ? link : NULL;
                bool folder = !to && is_folder(bind->source);
                if (making) {
                    if (add_place(root, bind->dest, to, folder) < 0 ||
                        make_place(root, bind->dest, to, folder) < 0)
                        done = -1;
                } else if (same < root->place_count && same_place(&root->places[same], bind->dest, to, folder))
                    same++;
                else
                    same = SIZE_MAX; /* never the number of places */
            }
        }
        free(own.slots);
        own = (struct paths){0};
        if (pass == 0 && !done) {
            if (same == root->place_count)
                return 0;
            making = true;
            done = clear_places(root);
        }
    }
    return done;
}

/* ---- the lasting half */

static int write_once(const char *path, const char *text)
{
    struct stat found;
    if (lstat(path, &found) == 0)
        return 0;
    int made = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (made < 0)
        return refuse(path, "", errno);
    size_t size = strlen(text);
    ssize_t written = write(made, text, size);
    close(made);
    return written == (ssize_t)size ? 0 : refuse(path, "cannot be written", 0);
}

/* The few files programs look up: who am I, who is localhost, how names are resolved. */
static int make_etc(const char *root, const char *hostname)
{
    char passwd[160], group[64], hosts[512];
    snprintf(passwd, sizeof passwd, "root:x:0:0:root:/:/bin/sh\nsandbox:x:%d:%d:sandbox:/tmp:/bin/sh\n", INSIDE,
             INSIDE);
    snprintf(group, sizeof group, "root:x:0:\nsandbox:x:%d:\n", INSIDE);
    if (snprintf(hosts, sizeof hosts, "127.0.0.1 localhost %s\n::1 localhost %s\n", hostname, hostname) >=
        (int)sizeof hosts)
        return refuse("host name", "", ENAMETOOLONG);
    const char *const files[][2] = {
        {"/etc/passwd", passwd},
        {"/etc/group", group},
        {"/etc/hosts", hosts},
        {"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
        {"/etc/host.conf", "multi on\n"},
    };
    path_text at;
    if (join(at, root, "/etc") < 0 || (mkdir(at, 0755) < 0 && errno != EEXIST))
        return refuse(at, "", errno);
    for (size_t i = 0; i < COUNT(files); i++)
        if (join(at, root, files[i][0]) < 0 || write_once(at, files[i][1]) < 0)
            return -1;
    return 0;
}

/* The devices that every program may use, and a place for its shared memory. */
static int make_dev(const char *root)
{
    path_text at, source;
    if (join(at, root, "/dev") < 0 || mkdir(at, 0755) < 0)
        return refuse(at, "", errno);
    for (size_t i = 0; i < COUNT(DEVICES); i++) {
        if (join(source, "/dev/", DEVICES[i]) < 0 || join(at, root, source) < 0 || write_once(at, "") < 0 ||
            mount_on(source, at, NULL, MS_BIND, NULL) < 0)
            return -1;
    }
    const char *const links[][2] = {
        {"/dev/fd", "/proc/self/fd"},
        {"/dev/stdin", "/proc/self/fd/0"},
        {"/dev/stdout", "/proc/self/fd/1"},
        {"/dev/stderr", "/proc/self/fd/2"},
    };
    for (size_t i = 0; i < COUNT(links); i++)
        if (join(at, root, links[i][0]) < 0 || symlink(links[i][1], at) < 0)
            return refuse(at, "", errno);
    if (join(at, root, "/dev/shm") < 0 || mkdir(at, 0755) < 0)
        return refuse(at, "", errno);
    return 0;
}

/* Somewhere to mount a root where no source lies. */
static const char *free_folder(const struct binds *binds)
{
    for (size_t i = 0; i < COUNT(ROOTS); i++) {
        size_t length = strlen(ROOTS[i]);
        bool used = !is_folder(ROOTS[i]);
        for (size_t k = 0; k < binds->count && !used; k++) {
            const char *source = binds->items[k].source;
            used = !strncmp(source, ROOTS[i], length) && (source[length] == '/' || source[length] == 0);
        }
        if (!used)
            return ROOTS[i];
    }
    return NULL;
}

static int bind_lasting(struct root *root, const struct bind *bind)
{
    path_text at, link;
    if (leads(bind->source, link))
        return make_place(root, bind->dest, link, false);
    if (!is_covered(root, bind->dest) && make_place(root, bind->dest, NULL, is_folder(bind->source)) < 0)
        return -1;
    char *dest = strdup(bind->dest); /* the request does not last */
    if (!dest)
        return refuse(bind->dest, "", ENOMEM);
    int tree = join(at, root->at, dest) < 0 ? -1 : bind_of(bind->source, at, false);
    if (tree < 0 || put_bind(tree, at) < 0 || paths_add(&root->lasting, dest) < 0) {
        free(dest);
        return -1;
    }
    return 0;
}

/* Leave all but what stands in this folder, for good. */
static int pivot(const char *folder)
{
    if (chdir(folder) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return refuse("pivot_root", "", errno);
    if (umount2(".", MNT_DETACH) < 0)
        return refuse("leave the old root", "", errno);
    return chdir("/") < 0 ? refuse("/", "", errno) : 0;
}

/* Make the model, and come back to where the machine's disk is seen: places are made, and mounts taken, here. */
static int make_model(struct root *root)
{
    static const char *const own = "/proc/self/ns/mnt";
    int here = open(own, O_RDONLY | O_CLOEXEC);
    if (here < 0 || unshare(CLONE_NEWNS) < 0 || (root->model = open(own, O_RDONLY | O_CLOEXEC)) < 0)
        return refuse("a mount namespace as model", "", errno);
    if (pivot(root->at) < 0)
        return -1;
    if (setns(here, CLONE_NEWNS) < 0)
        return refuse("back from the model", "", errno);
    close(here);
    return 0;
}

int root_begin(struct root *root, const struct base *base)
{
    path_text at;
    struct stat found;
    if (unshare(CLONE_NEWNS) < 0)
        return refuse("a new mount namespace", "", errno);
    if (mount_on("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    if (!(root->at = free_folder(&base->binds)))
        return refuse("none of /sys, /mnt, /srv, /media is free to mount a root on", "", 0);
    root->size = base->tmp;
    if (tmpfs("sandbox", root->at, 0, "755", 16 << 20) < 0)
        return -1;
    for (size_t i = 0; i < base->binds.count; i++)
        if (bind_lasting(root, &base->binds.items[i]) < 0)
            return -1;
    if (cover(root->at, &base->masks) < 0 || make_etc(root->at, base->hostname) < 0 || make_dev(root->at) < 0)
        return -1;
    const char *const folders[] = {"/tmp", "/proc", "/run", "/var"};
    for (size_t i = 0; i < COUNT(folders); i++) {
        if (join(at, root->at, folders[i]) < 0)
            return -1;
        if (mkdir(at, 0755) < 0 && errno != EEXIST)
            return refuse(at, "", errno);
    }
    if (join(at, root->at, "/var/tmp") < 0)
        return -1;
    if (lstat(at, &found) < 0 && symlink("/tmp", at) < 0)
        return refuse(at, "", errno);
    if (sethostname(base->hostname, strlen(base->hostname)) < 0)
        return refuse("host name", "", errno);
    while (root->made_count) /* they stay */
        free(root->made[--root->made_count]);
    return make_model(root);
}

/* ---- in the first process of a command, in a mount namespace of its own */

static bool is_link_place(const struct root *root, const char *dest)
{
    for (size_t i = 0; i < root->place_count; i++)
        if (root->places[i].link && strcmp(root->places[i].dest, dest) == 0)
            return true;
    return false;
}

/* Take along what is to be mounted: a descriptor for each bind, or -1 where a link stands in its place. */
static int take_binds(const struct root *root, const struct binds *binds, int *trees)
{
    bool links = false; /* in most commands there are none to look for */
    for (size_t i = 0; i < root->place_count; i++)
        links |= root->places[i].link != NULL;
    for (size_t i = 0; i < binds->count; i++) {
        const struct bind *bind = &binds->items[i];
        trees[i] = -1;
        if (links && is_link_place(root, bind->dest))
            continue;
        if ((trees[i] = bind_of(bind->source, bind->dest, bind->writable)) < 0)
            return -1;
    }
    return 0;
}

static int put_binds(const struct root *root, const struct binds *binds, const int *trees)
{
    struct paths bound = {0};
    struct stat found;
    for (size_t i = 0; i < binds->count; i++) {
        const char *dest = binds->items[i].dest;
        if (trees[i] < 0)
            continue;
        bool inner = paths_around(&bound, dest) || paths_around(&root->lasting, dest);
        if (inner && (lstat(dest, &found) < 0 || S_ISLNK(found.st_mode)))
            return refuse(dest, "is not there to be mounted on", 0); /* a source is never written to */
        if (paths_add(&bound, dest) < 0 || put_bind(trees[i], dest) < 0)
            return -1;
    }
    return 0; /* `bound` goes with this process */
}

static int mount_proc_part(const char *source, const char *name)
{
    path_text at;
    if (mount(source, name, NULL, MS_BIND, NULL) == 0 || errno == ENOENT)
        return 0;
    int error = errno;
    return join(at, "of proc: ", name) < 0 ? -1 : refuse("mount", at, error);
}

/* /proc of the new process namespace, to be put somewhere; -1 as some containers refuse it. The kernel makes one only
 * where all of another can be seen, so it is made before this process enters the model. */
static int take_proc(void)
{
    int context = (int)syscall(SYS_fsopen, "proc", FS_CLOEXEC), made = -1;
    if (context < 0)
        return -1;
    if (syscall(SYS_fsconfig, context, FS_SET, "source", "proc", 0) == 0 &&
        syscall(SYS_fsconfig, context, FS_CREATE, NULL, NULL, 0) == 0)
        made = (int)syscall(SYS_fsmount, context, FS_CLOEXEC, LOCKED | MS_NOEXEC);
    close(context);
    return made;
}

/* Put it at /proc, without its levers and secrets. */
static int put_proc(int proc)
{
    /* a bind is as read-only as what it is of, so all of it is for a moment */
    struct attributes shut = {.set = MS_RDONLY}, open_again = {.clear = MS_RDONLY};
    if (syscall(SYS_mount_setattr, proc, "", AT_EMPTY_PATH, &shut, sizeof shut) < 0)
        return refuse("mount", "/proc", errno);
    if (put_bind(proc, "/proc") < 0)
        return -1;
    if (chdir("/proc") < 0)
        return refuse("/proc", "", errno);
    for (size_t i = 0; i < COUNT(LEVERS); i++)
        if (mount_proc_part(LEVERS[i], LEVERS[i]) < 0)
            return -1;
    for (size_t i = 0; i < COUNT(SECRETS); i++)
        if (mount_proc_part("/dev/null", SECRETS[i]) < 0)
            return -1;
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/proc", 0, &open_again, sizeof open_again) < 0)
        return refuse("mount", "/proc", errno);
    return chdir("/") < 0 ? refuse("/", "", errno) : 0;
}

int root_enter(const struct root *root, const struct request *request)
{
    int *trees = calloc(request->binds.count + 1, sizeof *trees);
    if (!trees)
        return refuse("binds", "", ENOMEM);
    if (take_binds(root, &request->binds, trees) < 0)
        return -1;
    int proc = take_proc();
    if (setns(root->model, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0)
        return refuse("a copy of the model", "", errno);
    if (put_binds(root, &request->binds, trees) < 0 || cover("", &request->masks) < 0)
        return -1;
    free(trees);
    if (tmpfs("shm", "/dev/shm", 0, "1777", root->size) < 0 || tmpfs("tmp", "/tmp", 0, "1777", root->size) < 0 ||
        (proc >= 0 && put_proc(proc) < 0)) /* without it /proc stays empty */
        return -1;
    struct attributes shut = {.set = LOCKED | MS_RDONLY};
    return syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &shut, sizeof shut) < 0 ? refuse("mount", "/", errno) : 0;
}
