/* The ways of mounting that root.c puts together. */
#ifndef FAIRLEAD_MOUNTS_H
#define FAIRLEAD_MOUNTS_H

#include "sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* What older headers lack; the numbers of these calls are the same on all machines. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4
#endif
enum { FS_CLOEXEC = 1, FS_SET = 1, FS_CREATE = 6 }; /* FSOPEN_, FSMOUNT_CLOEXEC; FSCONFIG_SET_STRING, _CMD_CREATE */
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#define LOCKED (MS_NOSUID | MS_NODEV) /* no set-user-id programs, no devices */

struct attributes { /* the kernel's struct mount_attr, which older headers lack; flags as in mount(2) */
    uint64_t set, clear, propagation, userns;
};

typedef char path_text[PATH_MAX];

int join(path_text made, const char *folder, const char *name);
bool is_folder(const char *path);
int mount_on(const char *source, const char *target, const char *kind, unsigned long flags, const char *options);
int bind_of(const char *source, const char *dest, bool writable);
int put_bind(int tree, const char *target);
int tmpfs(const char *name, const char *target, unsigned long flags, const char *mode, uint64_t size);
int cover(const char *root, const struct texts *masks);

#endif
