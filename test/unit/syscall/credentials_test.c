/* SPDX-License-Identifier: MIT */
/* User and group ids: what root and others may set (credentials(7)). */
#include "core/sched/credentials.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "core/sched/sched.h"
#include "core/syscall/syscall.h"

#define SYSCALL_HANDLER(name) long sys_##name(struct syscall_args *a);
#include "core/syscall/process_calls.h"
#undef SYSCALL_HANDLER

static struct thread self;
static struct hal_cpu cpu = {.current = &self.hal};
_Thread_local struct hal_cpu *fake_cpu = &cpu;

int copy_to_user(uintptr_t to, const void *from, size_t size)
{
    if (to == 0) {
        return -EFAULT;
    }
    memcpy((void *)to, from, size);
    return 0;
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (from == 0) {
        return -EFAULT;
    }
    memcpy(to, (const void *)from, size);
    return 0;
}

#define CHECK_CALL(expected, ...)                                                                  \
    do {                                                                                           \
        long result_ = (__VA_ARGS__);                                                              \
        CHECK(result_ == (expected), "%s gave %ld", #__VA_ARGS__, result_);                        \
    } while (0)
#define CALL(name, ...) sys_##name(&(struct syscall_args){.arg = {__VA_ARGS__}})
#define P(pointer) (uint64_t)(uintptr_t)(pointer)
#define SAME ((uint64_t)-1)

static void expect_ids(const struct id_set *ids, uint32_t real, uint32_t effective, uint32_t saved,
                       uint32_t fs)
{
    CHECK(ids->real == real && ids->effective == effective && ids->saved == saved && ids->fs == fs,
          "%u %u %u %u", ids->real, ids->effective, ids->saved, ids->fs);
}

static void test_uid(void)
{
    struct id_set *uid = &self.credentials.uid;
    memset(&self, 0, sizeof(self));
    CHECK_CALL(-EINVAL, CALL(setuid, SAME));
    CHECK_CALL(0, CALL(setresuid, 1, 2, 3));
    expect_ids(uid, 1, 2, 3, 2);
    CHECK_CALL(1, CALL(getuid, 0));
    CHECK_CALL(2, CALL(geteuid, 0));
    CHECK_CALL(-EPERM, CALL(setuid, 0));
    CHECK_CALL(-EPERM, CALL(setuid, 2)); /* neither real nor saved */
    CHECK_CALL(0, CALL(setuid, 3));
    expect_ids(uid, 1, 3, 3, 3);
    CHECK_CALL(-EPERM, CALL(setresuid, SAME, 4, SAME));
    CHECK_CALL(0, CALL(setresuid, 3, 1, SAME));
    expect_ids(uid, 3, 1, 3, 1);
    CHECK_CALL(1, CALL(setfsuid, 9)); /* refused without an error */
    CHECK_CALL(1, CALL(setfsuid, 3));
    expect_ids(uid, 3, 1, 3, 3);

    memset(&self, 0, sizeof(self));
    CHECK_CALL(0, CALL(setreuid, SAME, 5));
    expect_ids(uid, 0, 5, 5, 5);
    CHECK_CALL(0, CALL(setreuid, SAME, 0)); /* back to the real one, which is not saved */
    expect_ids(uid, 0, 0, 5, 0);
    CHECK_CALL(0, CALL(setuid, 7));
    expect_ids(uid, 7, 7, 7, 7);
    CHECK_CALL(-EPERM, CALL(setreuid, 0, SAME));
    uint32_t values[3];
    CHECK_CALL(0, CALL(getresuid, P(&values[0]), P(&values[1]), P(&values[2])));
    CHECK(values[0] == 7 && values[2] == 7, "%u %u", values[0], values[2]);
    CHECK_CALL(-EFAULT, CALL(getresuid, P(&values[0]), 0, P(&values[2])));
}

static void test_groups(void)
{
    uint32_t groups[CREDENTIALS_MAX_GROUPS + 1] = {4, 5, 6}, got[3] = {0};
    memset(&self, 0, sizeof(self));
    CHECK_CALL(0, CALL(setgroups, 3, P(groups)));
    CHECK_CALL(3, CALL(getgroups, 0, 0));
    CHECK_CALL(-EINVAL, CALL(getgroups, 2, P(got)));
    CHECK_CALL(-EINVAL, CALL(getgroups, SAME, P(got)));
    CHECK_CALL(3, CALL(getgroups, 3, P(got)));
    CHECK(memcmp(got, groups, sizeof(got)) == 0, "%u", got[0]);
    CHECK_CALL(-EINVAL, CALL(setgroups, CREDENTIALS_MAX_GROUPS + 1, P(groups)));
    CHECK_CALL(-EFAULT, CALL(setgroups, 1, 0));
    CHECK_CALL(0, CALL(setgroups, 0, 0));
    CHECK_CALL(0, CALL(setgid, 8));
    expect_ids(&self.credentials.gid, 8, 8, 8, 8);
    CHECK_CALL(0, CALL(setuid, 1));
    CHECK_CALL(-EPERM, CALL(setgroups, 0, 0));
    CHECK_CALL(-EPERM, CALL(setgid, 0));
}

int main(void)
{
    test_uid();
    test_groups();
    return 0;
}
