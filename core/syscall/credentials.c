/* SPDX-License-Identifier: MIT */
/* The system calls about user and group ids (credentials(7), setreuid(2)). Each thread has its own
 * and no other changes them, so there is no lock. */
#include "core/sched/credentials.h"

#include <linux/capability.h>
#include <linux/errno.h>

#include "core/sched/sched.h"
#include "core/syscall/process.h"
#include "core/syscall/syscall.h"
#include "hal.h"

#define UNCHANGED UINT32_MAX

static struct credentials *own(void)
{
    return &current_thread()->credentials;
}

/* CAP_SETUID and CAP_SETGID, which root has. */
static bool is_privileged(void)
{
    return own()->uid.effective == 0;
}

static bool may_have(const struct id_set *ids, uint32_t id)
{
    return id == UNCHANGED || id == ids->real || id == ids->effective || id == ids->saved ||
           is_privileged();
}

static uint32_t or_old(uint32_t id, uint32_t old)
{
    return id == UNCHANGED ? old : id;
}

static long set_id(struct id_set *ids, uint64_t argument)
{
    uint32_t id = (uint32_t)argument;
    if (id == UNCHANGED) {
        return -EINVAL;
    }
    if (is_privileged()) {
        ids->real = ids->saved = id;
    } else if (id != ids->real && id != ids->saved) {
        return -EPERM;
    }
    ids->effective = ids->fs = id;
    return 0;
}

static long set_re_id(struct id_set *ids, const struct syscall_args *a)
{
    uint32_t real = (uint32_t)a->arg[0], effective = (uint32_t)a->arg[1], old = ids->real;
    bool real_allowed = is_privileged() || real == UNCHANGED || real == ids->real ||
                        real == ids->effective; /* not the saved one */
    if (!real_allowed || !may_have(ids, effective)) {
        return -EPERM;
    }
    ids->real = or_old(real, ids->real);
    ids->effective = ids->fs = or_old(effective, ids->effective);
    if (real != UNCHANGED || (effective != UNCHANGED && effective != old)) {
        ids->saved = ids->effective;
    }
    return 0;
}

static long set_res_id(struct id_set *ids, const struct syscall_args *a)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!may_have(ids, (uint32_t)a->arg[i])) {
            return -EPERM;
        }
    }
    ids->real = or_old((uint32_t)a->arg[0], ids->real);
    ids->effective = ids->fs = or_old((uint32_t)a->arg[1], ids->effective);
    ids->saved = or_old((uint32_t)a->arg[2], ids->saved);
    return 0;
}

/* Returns the old one in any case (setfsuid(2)). */
static long set_fs_id(struct id_set *ids, uint64_t argument)
{
    uint32_t id = (uint32_t)argument, old = ids->fs;
    if (id != UNCHANGED && may_have(ids, id)) {
        ids->fs = id;
    }
    return old;
}

static long get_res_id(const struct id_set *ids, const struct syscall_args *a)
{
    const uint32_t values[] = {ids->real, ids->effective, ids->saved};
    for (unsigned i = 0; i < 3; i++) {
        if (copy_to_user(a->arg[i], &values[i], sizeof(values[i])) != 0) {
            return -EFAULT;
        }
    }
    return 0;
}

long sys_setuid(struct syscall_args *a)
{
    return set_id(&own()->uid, a->arg[0]);
}

long sys_setgid(struct syscall_args *a)
{
    return set_id(&own()->gid, a->arg[0]);
}

long sys_setreuid(struct syscall_args *a)
{
    return set_re_id(&own()->uid, a);
}

long sys_setregid(struct syscall_args *a)
{
    return set_re_id(&own()->gid, a);
}

long sys_setresuid(struct syscall_args *a)
{
    return set_res_id(&own()->uid, a);
}

long sys_setresgid(struct syscall_args *a)
{
    return set_res_id(&own()->gid, a);
}

long sys_setfsuid(struct syscall_args *a)
{
    return set_fs_id(&own()->uid, a->arg[0]);
}

long sys_setfsgid(struct syscall_args *a)
{
    return set_fs_id(&own()->gid, a->arg[0]);
}

long sys_getuid(struct syscall_args *a)
{
    (void)a;
    return own()->uid.real;
}

long sys_getgid(struct syscall_args *a)
{
    (void)a;
    return own()->gid.real;
}

long sys_geteuid(struct syscall_args *a)
{
    (void)a;
    return own()->uid.effective;
}

long sys_getegid(struct syscall_args *a)
{
    (void)a;
    return own()->gid.effective;
}

long sys_getresuid(struct syscall_args *a)
{
    return get_res_id(&own()->uid, a);
}

long sys_getresgid(struct syscall_args *a)
{
    return get_res_id(&own()->gid, a);
}

long sys_getgroups(struct syscall_args *a)
{
    int32_t room = (int32_t)a->arg[0];
    const struct credentials *credentials = own();
    if (room == 0) {
        return credentials->group_count;
    }
    if (room < (int32_t)credentials->group_count) {
        return -EINVAL;
    }
    int error = copy_to_user(a->arg[1], credentials->groups,
                             credentials->group_count * sizeof(credentials->groups[0]));
    return error != 0 ? error : (long)credentials->group_count;
}

long sys_setgroups(struct syscall_args *a)
{
    uint32_t groups[CREDENTIALS_MAX_GROUPS];
    uint32_t count = (uint32_t)a->arg[0];
    if (!is_privileged()) {
        return -EPERM;
    }
    if (count > CREDENTIALS_MAX_GROUPS) {
        return -EINVAL;
    }
    if (copy_from_user(groups, a->arg[1], count * sizeof(groups[0])) != 0) {
        return -EFAULT;
    }
    struct credentials *credentials = own();
    for (uint32_t i = 0; i < count; i++) {
        credentials->groups[i] = groups[i];
    }
    credentials->group_count = count;
    return 0;
}

/* All of them for root, none for others. */
long sys_capget(struct syscall_args *a)
{
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[2];
    const struct id_set *ids = &own()->uid;
    uint64_t all = (2ull << CAP_LAST_CAP) - 1;
    uint64_t effective = ids->effective == 0 ? all : 0;
    uint64_t permitted =
        ids->real == 0 || ids->saved == 0 || own()->keep_capabilities ? all : effective;
    if (copy_from_user(&header, a->arg[0], sizeof(header)) != 0) {
        return -EFAULT;
    }
    if (header.version != _LINUX_CAPABILITY_VERSION_3) {
        header.version = _LINUX_CAPABILITY_VERSION_3;
        if (copy_to_user(a->arg[0], &header, sizeof(header)) != 0) {
            return -EFAULT;
        }
        return a->arg[1] != 0 ? -EINVAL : 0;
    }
    if (header.pid < 0) {
        return -EINVAL;
    }
    if (header.pid != 0 && header.pid != PROCESS_ID) {
        return -ESRCH;
    }
    for (unsigned i = 0; i < 2; i++) {
        data[i] = (struct __user_cap_data_struct){.effective = (uint32_t)(effective >> (32 * i)),
                                                  .permitted = (uint32_t)(permitted >> (32 * i))};
    }
    return copy_to_user(a->arg[1], data, sizeof(data));
}
