/* Mounting, each way with its own words for what the kernel refuses. */
#include "mounts.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int join(path_text made, const char *folder, const char *name)
{
    if (snprintf(made, PATH_MAX, "%s%s", folder, name) >= PATH_MAX)
        return refuse(name, "", ENAMETOOLONG);
    return 0;
}

bool is_folder(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

int mount_on(const char *source, const char *target, const char *kind, unsigned long flags,
                    const char *options)
{
    return mount(source, target, kind, flags, options) < 0 ? refuse("mount", target, errno) : 0;
}

/* `source`, with all that is mounted in it, as a mount to be put somewhere: its descriptor. */
int bind_of(const char *source, const char *dest, bool writable)
{
    struct attributes wanted = {.set = LOCKED | (writable ? 0 : MS_RDONLY)};
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return refuse("mount", dest, errno);
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &wanted, sizeof wanted) < 0) {
        int error = errno;
        close(tree);
        return refuse("mount", dest, error);
    }
    return tree;
}

int put_bind(int tree, const char *target)
{
    long done = syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
    int error = errno;
    close(tree);
    return done < 0 ? refuse("mount", target, error) : 0;
}

int tmpfs(const char *name, const char *target, unsigned long flags, const char *mode, uint64_t size)
{
    char options[64];
    snprintf(options, sizeof options, "mode=%s,size=%llu", mode, (unsigned long long)size);
    return mount_on(name, target, "tmpfs", LOCKED | flags, options);
}

/* Nothing where these folders are. */
int cover(const char *root, const struct texts *masks)
{
    path_text at;
    for (size_t i = 0; i < masks->count; i++) {
        if (join(at, root, masks->items[i]) < 0)
            return -1;
        if (is_folder(at) && tmpfs("nothing", at, MS_RDONLY, "755", 4096) < 0)
            return -1;
    }
    return 0;
}
