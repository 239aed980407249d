/* SPDX-License-Identifier: MIT */
/* The trace of system calls. What each argument is comes from a signature string, one letter an
 * argument. */
#include "core/syscall/strace.h"

#include <asm/unistd_64.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/sched/sched.h"

#define SIGNATURE_MAX 6
#define TEXT_MAX 32 /* bytes shown of a string or buffer */

/* In the order of syscall_index, each with a NUL. */
static const char names[] =
#define SYSCALL_HANDLER(name) #name "\0"
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER
    ;

/* d: decimal, x: hexadecimal, o: octal, s: path, b: a buffer that was written to the file, its
 * length is the next argument. Calls without an entry show six hexadecimal words. */
static const struct {
    uint16_t number;
    char arguments[SIGNATURE_MAX + 1];
} signatures[] = {
    {__NR_read, "dxd"},
    {__NR_write, "dbd"},
    {__NR_close, "d"},
    {__NR_openat, "dsxo"},
    {__NR_mmap, "xdxxdx"},
    {__NR_munmap, "xd"},
    {__NR_mprotect, "xdx"},
    {__NR_madvise, "xdd"},
    {__NR_futex, "xddxxd"},
    {__NR_clone, "xxxxx"},
    {__NR_exit, "d"},
    {__NR_exit_group, "d"},
    {__NR_getpid, ""},
    {__NR_gettid, ""},
    {__NR_getppid, ""},
    {__NR_tgkill, "ddd"},
    {__NR_rt_sigaction, "dxxd"},
    {__NR_rt_sigprocmask, "dxxd"},
    {__NR_rt_sigreturn, ""},
    {__NR_sigaltstack, "xx"},
    {__NR_nanosleep, "xx"},
    {__NR_sched_yield, ""},
    {__NR_epoll_ctl, "dddx"},
    {__NR_epoll_pwait, "dxddxd"},
    {__NR_epoll_create1, "x"},
    {__NR_fcntl, "ddx"},
    {__NR_newfstatat, "dsxx"},
    {__NR_readlinkat, "dsxd"},
    {__NR_arch_prctl, "xx"},
    {__NR_sched_getaffinity, "ddx"},
    {__NR_getrandom, "xdx"},
    {__NR_prlimit64, "ddxx"},
    {__NR_pipe2, "xx"},
    {__NR_eventfd2, "dx"},
    {__NR_clock_gettime, "dx"},
    {__NR_kill, "dd"},
    {__NR_socket, "dxd"},
    {__NR_socketpair, "dxdx"},
    {__NR_bind, "dxd"},
    {__NR_listen, "dd"},
    {__NR_connect, "dxd"},
    {__NR_accept4, "dxxx"},
    {__NR_sendto, "dbdxxd"},
    {__NR_recvfrom, "dxdxxx"},
    {__NR_sendmsg, "dxx"},
    {__NR_recvmsg, "dxx"},
    {__NR_shutdown, "dd"},
    {__NR_setsockopt, "dddxd"},
    {__NR_getsockopt, "dddxx"},
    {__NR_getsockname, "dxx"},
    {__NR_getpeername, "dxx"},
};

static const char *name_of(uint64_t number)
{
    int index = syscall_index(number);
    const char *name = names;
    for (; index > 0; index--) {
        name += strlen(name) + 1;
    }
    return index < 0 ? "?" : name;
}

static const char *signature_of(uint64_t number)
{
    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
        if (signatures[i].number == number) {
            return signatures[i].arguments;
        }
    }
    return "xxxxxx";
}

static size_t append_text(char *line, size_t size, uintptr_t address, size_t length)
{
    char bytes[TEXT_MAX];
    size_t shown = length < TEXT_MAX ? length : TEXT_MAX;
    if (copy_from_user(bytes, address, shown) != 0) {
        return (size_t)format(line, size, "%#lx", address);
    }
    size_t used = (size_t)format(line, size, "\"");
    for (size_t i = 0; i < shown && used + 8 < size; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte == '\n') {
            used += (size_t)format(line + used, size - used, "\\n");
        } else if (byte < 32 || byte > 126) {
            used += (size_t)format(line + used, size - used, "\\x%02x", byte);
        } else {
            used += (size_t)format(line + used, size - used, "%c", byte);
        }
    }
    return used + (size_t)format(line + used, size - used, length > TEXT_MAX ? "\"..." : "\"");
}

static size_t append_path(char *line, size_t size, uintptr_t address)
{
    char path[128];
    long length = copy_string_from_user(path, address, sizeof(path));
    return length < 0 ? (size_t)format(line, size, "%#lx", address)
                      : (size_t)format(line, size, "\"%s\"", path);
}

static size_t append_argument(char *line, size_t size, char kind, const struct syscall_args *args,
                              unsigned index)
{
    uint64_t value = args->arg[index];
    switch (kind) {
    case 'd':
        return (size_t)format(
            line, size, "%ld",
            (long)(int64_t)(value == (uint32_t)value ? (int32_t)value : (int64_t)value));
    case 'o':
        return (size_t)format(line, size, "%#lo", (unsigned long)value);
    case 's':
        return append_path(line, size, value);
    case 'b':
        return append_text(line, size, value, args->arg[index + 1]);
    default:
        return (size_t)format(line, size, "%#lx", (unsigned long)value);
    }
}

static size_t append_call(char *line, size_t size, uint64_t number, const struct syscall_args *args)
{
    const char *signature = signature_of(number);
    size_t used = (size_t)format(line, size, "[%d] %s(", current_thread()->tid, name_of(number));
    for (unsigned i = 0; signature[i] != 0; i++) {
        used += (size_t)format(line + used, size - used, i == 0 ? "" : ", ");
        used += append_argument(line + used, size - used, signature[i], args, i);
    }
    return used + (size_t)format(line + used, size - used, ")");
}

void strace_enter(uint64_t number, const struct syscall_args *args)
{
    char line[400];
    if (number == __NR_exit || number == __NR_exit_group || number == __NR_rt_sigreturn) {
        append_call(line, sizeof(line), number, args);
        log_write(LOG_STRACE, "%s = ?", line);
    }
}

void strace_leave(uint64_t number, const struct syscall_args *args, long result)
{
    char line[400];
    append_call(line, sizeof(line), number, args);
    if (result < 0 && result > -4096) {
        log_write(LOG_STRACE, "%s = -1 (errno %ld)", line, -result);
    } else {
        log_write(LOG_STRACE, result > 0xffff ? "%s = %#lx" : "%s = %ld", line, result);
    }
}
