/* SPDX-License-Identifier: MIT */
/* The relay between our standard streams and the guest's two serial channels, which are named
 * pipes: QEMU writes byte by byte, and a pipe packs what a socket would keep in pieces. One thread,
 * one poll loop: signals arrive through a signalfd, and QEMU's end is seen through a pidfd. QEMU
 * runs in a process group of its own, so that the terminal's Ctrl-C reaches the program as SIGINT
 * and not QEMU; it dies with us. */
#define _GNU_SOURCE
#include "tools/relay.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "goruntime/hostlink.h"

#define CHUNK 65536
#define OUTPUT_PIPE (1 << 20)
#define INPUT_PIPE 4096        /* little: what the guest has not asked for stays with us */
#define STATUS_INTERRUPTED 128 /* plus the signal */

enum {
    POLL_SERIAL,
    POLL_DEBUG,
    POLL_GUEST,
    POLL_QEMU_ERRORS,
    POLL_SIGNALS,
    POLL_QEMU,
    POLL_DEBUGGER,
    POLL_INPUT,
    POLL_COUNT
};

/* Where the reader of the debug channel stands in a record. */
enum record_state { RECORD_NONE, RECORD_ESCAPE, RECORD_STATUS, RECORD_REST };

struct relay {
    struct pollfd watch[POLL_COUNT]; /* fd -1: closed, or not read now */
    pid_t qemu, debugger;
    int serial;             /* the pipe to the guest's serial input */
    int errors;             /* where the debug channel's text goes: our standard error or output */
    struct buffer to_guest; /* escaped input that the guest has not taken yet */
    size_t to_guest_at;
    bool started; /* the program runs: input is read from now on */
    bool input_ended;
    bool panicked;
    bool killed;        /* by us; `status` says why */
    int status;         /* -1: not known */
    int pending_signal; /* came before the program ran */
    unsigned signals;
    enum record_state record;
    long record_value;
    struct buffer qemu_errors;
    int64_t deadline; /* monotonic ms; 0: none */
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- starting QEMU
 * ------------------------------------------------------------------------------------------------------------
 */

static _Noreturn void exec_qemu(char *const *words, int errors, pid_t parent, const sigset_t *mask)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(errors, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    execvp(words[0], words);
    _exit(127);
}

/* Makes a named pipe and opens our end, for both directions: so it does not matter when QEMU opens
 * and closes its own. */
static int make_pipe(const char *folder, const char *name, int size)
{
    char *path = format_string("%s/%s", folder, name);
    int fd = mkfifo(path, 0600) < 0 ? -1 : open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        fail("%s: cannot make a channel to QEMU: %s", path, strerror(errno));
    else
        fcntl(fd, F_SETPIPE_SZ, size); /* a wish */
    free(path);
    return fd;
}

/* 0, or -1 after a message. */
static int make_channels(struct relay *relay, struct channels *channels)
{
    channels->folder = temporary_directory();
    if (!channels->folder)
        return -1;
    relay->serial = make_pipe(channels->folder, CHANNEL_SERIAL_IN, INPUT_PIPE);
    relay->watch[POLL_SERIAL].fd = make_pipe(channels->folder, CHANNEL_SERIAL_OUT, OUTPUT_PIPE);
    relay->watch[POLL_DEBUG].fd = make_pipe(channels->folder, CHANNEL_DEBUG, OUTPUT_PIPE);
    return relay->serial < 0 || relay->watch[POLL_SERIAL].fd < 0 || relay->watch[POLL_DEBUG].fd < 0
               ? -1
               : 0;
}

/* Forks QEMU. 0, or -1 after a message. */
static int start_qemu(struct relay *relay, const struct machine *machine, const sigset_t *mask)
{
    int errors[2];
    struct channels channels;
    if (make_channels(relay, &channels) < 0)
        return -1; /* the command ends */
    if (pipe2(errors, O_CLOEXEC) < 0)
        return fail("cannot make a channel to QEMU: %s", strerror(errno));
    struct arguments words = {0};
    qemu_arguments(machine, &channels, &words);
    char *line = shell_quote_all(words.items);
    verbose("%s", line);
    free(line);
    pid_t parent = getpid();
    relay->qemu = fork();
    if (relay->qemu == 0)
        exec_qemu(words.items, errors[1], parent, mask);
    arguments_free(&words);
    free(channels.folder);
    close(errors[1]);
    if (relay->qemu < 0)
        return fail("fork: %s", strerror(errno));
    relay->watch[POLL_QEMU_ERRORS].fd = errors[0];
    relay->watch[POLL_QEMU].fd = (int)syscall(SYS_pidfd_open, relay->qemu, 0);
    if (relay->watch[POLL_QEMU].fd < 0)
        return fail("cannot watch QEMU: %s", strerror(errno));
    return 0;
}

static int start_debugger(struct relay *relay, char *const *words, const sigset_t *mask)
{
    pid_t parent = getpid();
    relay->debugger = fork();
    if (relay->debugger == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        sigprocmask(SIG_SETMASK, mask, NULL);
        execvp(words[0], words);
        fail("%s: cannot be run: %s: install Debian's gdb", words[0], strerror(errno));
        _exit(127);
    }
    if (relay->debugger < 0)
        return fail("fork: %s", strerror(errno));
    relay->watch[POLL_DEBUGGER].fd = (int)syscall(SYS_pidfd_open, relay->debugger, 0);
    return 0;
}

static void kill_qemu(struct relay *relay, int status)
{
    if (!relay->killed) {
        relay->killed = true;
        relay->status = status;
        kill(relay->qemu, SIGKILL);
    }
}

/* --- from the guest
 * -------------------------------------------------------------------------------------------------------------
 */

static void write_out(struct relay *relay, int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t put = write(fd, bytes, size);
        if (put >= 0) {
            bytes += put;
            size -= (size_t)put;
        } else if (errno == EAGAIN) { /* somebody else has made our terminal non-blocking */
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            /* Nobody reads on: the program would get SIGPIPE. */
            if (errno == EPIPE && fd == STDOUT_FILENO)
                kill_qemu(relay, STATUS_INTERRUPTED + SIGPIPE);
            return;
        }
    }
}

static void send_signal(struct relay *relay, int number);

static void program_started(struct relay *relay)
{
    relay->started = true;
    if (relay->pending_signal)
        send_signal(relay, relay->pending_signal);
}

/* One byte of the debug channel; bytes of standard error are moved to `out`. Returns how many (0 to
 * 2). */
static size_t read_record(struct relay *relay, uint8_t byte, char *out)
{
    switch (relay->record) {
    case RECORD_NONE:
        if (byte == HOSTLINK_ESCAPE) {
            relay->record = RECORD_ESCAPE;
            return 0;
        }
        out[0] = (char)byte;
        return 1;
    case RECORD_ESCAPE:
        relay->record = RECORD_REST;
        if (byte == 'X') {
            relay->record = RECORD_STATUS;
            relay->record_value = -1;
        } else if (byte == 'P') {
            relay->panicked = true;
        } else if (byte == 'B') {
            program_started(relay);
        } else {
            relay->record = RECORD_NONE;
            out[0] = HOSTLINK_ESCAPE;
            out[1] = (char)byte;
            return byte == HOSTLINK_ESCAPE ? 1 : 2;
        }
        return 0;
    case RECORD_STATUS:
        if (isdigit(byte) && relay->record_value < 256)
            relay->record_value =
                (relay->record_value < 0 ? 0 : relay->record_value * 10) + (byte - '0');
        if (byte == '\n' && relay->record_value >= 0 && !relay->killed)
            relay->status = (int)(relay->record_value & 255);
        break;
    case RECORD_REST:
        break;
    }
    if (byte == '\n')
        relay->record = RECORD_NONE;
    return 0;
}

static void close_watch(struct pollfd *watch)
{
    close(watch->fd);
    watch->fd = -1;
}

/* Reads what is there; false when nothing was. */
static bool read_channel(struct relay *relay, unsigned which)
{
    char bytes[CHUNK], text[2 * CHUNK];
    ssize_t got = read(relay->watch[which].fd, bytes, sizeof(bytes));
    if (got <= 0)
        return false;
    if (which == POLL_SERIAL) {
        write_out(relay, STDOUT_FILENO, bytes, (size_t)got);
        return true;
    }
    size_t length = 0;
    for (ssize_t i = 0; i < got; i++)
        length += read_record(relay, (uint8_t)bytes[i], text + length);
    write_out(relay, relay->errors, text, length);
    return true;
}

/* QEMU says so and then keeps the stopped machine for ever (accel/kvm/kvm-all.c, kvm_cpu_exec). */
static bool stopped_by_kvm(const char *errors)
{
    return strstr(errors, "KVM internal error") || strstr(errors, "kvm run failed") ||
           strstr(errors, "KVM: entry failed");
}

static void read_qemu_errors(struct relay *relay)
{
    char bytes[4096];
    ssize_t got = read(relay->watch[POLL_QEMU_ERRORS].fd, bytes, sizeof(bytes));
    if (got > 0) {
        buffer_append(&relay->qemu_errors, bytes, (size_t)got);
        if (stopped_by_kvm(relay->qemu_errors.bytes) && relay->debugger <= 0)
            kill_qemu(relay, STATUS_MACHINE);
    } else if (got == 0 || errno != EINTR)
        close_watch(&relay->watch[POLL_QEMU_ERRORS]);
}

/* --- to the guest
 * ------------------------------------------------------------------------------------------------------------------
 */

static void flush_to_guest(struct relay *relay)
{
    while (relay->to_guest_at < relay->to_guest.size) {
        ssize_t put = write(relay->serial, relay->to_guest.bytes + relay->to_guest_at,
                            relay->to_guest.size - relay->to_guest_at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return; /* full; POLL_GUEST says when it is not */
        relay->to_guest_at += (size_t)put;
    }
    relay->to_guest.size = relay->to_guest_at = 0;
}

static void send_record(struct relay *relay, char code)
{
    char record[2] = {HOSTLINK_ESCAPE, code};
    buffer_append(&relay->to_guest, record, sizeof(record));
    flush_to_guest(relay);
}

static void send_signal(struct relay *relay, int number)
{
    send_record(relay, number == SIGINT ? HOSTLINK_INTERRUPT : HOSTLINK_TERMINATE);
}

static void end_input(struct relay *relay)
{
    relay->input_ended = true;
    send_record(relay, HOSTLINK_EOF);
}

static void read_input(struct relay *relay)
{
    char bytes[4096];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        end_input(relay);
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == HOSTLINK_ESCAPE)
            buffer_append(&relay->to_guest, &bytes[i], 1);
        buffer_append(&relay->to_guest, &bytes[i], 1);
    }
    flush_to_guest(relay);
}

static void take_signal(struct relay *relay)
{
    struct signalfd_siginfo info;
    if (read(relay->watch[POLL_SIGNALS].fd, &info, sizeof(info)) != sizeof(info) ||
        relay->debugger > 0)
        return;
    int number = (int)info.ssi_signo;
    if (relay->signals++ > 0)
        kill_qemu(relay, STATUS_INTERRUPTED + number);
    else if (relay->started)
        send_signal(relay, number);
    else
        relay->pending_signal = number;
}

/* --- the loop
 * ------------------------------------------------------------------------------------------------------------------------
 */

static int poll_timeout(const struct relay *relay)
{
    if (!relay->deadline)
        return -1;
    int64_t left = relay->deadline - now_ms();
    return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

/* Relays until QEMU has ended. */
static void relay_loop(struct relay *relay)
{
    struct pollfd *watch = relay->watch;
    for (;;) {
        bool pending = relay->to_guest_at < relay->to_guest.size;
        /* No more input is taken than the guest can take: what it leaves stays for the next reader.
         */
        watch[POLL_INPUT].fd =
            relay->started && !relay->input_ended && !pending && relay->debugger <= 0 ? STDIN_FILENO
                                                                                      : -1;
        watch[POLL_GUEST] = (struct pollfd){.fd = pending ? relay->serial : -1, .events = POLLOUT};
        if (poll(watch, POLL_COUNT, poll_timeout(relay)) < 0)
            continue;
        if (relay->deadline && now_ms() >= relay->deadline && !relay->killed)
            kill_qemu(relay, STATUS_TIMEOUT);
        /* What came first cannot be told; a program mostly writes its results before it complains.
         */
        if (watch[POLL_SERIAL].revents)
            read_channel(relay, POLL_SERIAL);
        if (watch[POLL_DEBUG].fd >= 0 && watch[POLL_DEBUG].revents)
            read_channel(relay, POLL_DEBUG);
        if (watch[POLL_QEMU_ERRORS].fd >= 0 && watch[POLL_QEMU_ERRORS].revents)
            read_qemu_errors(relay);
        if (watch[POLL_SIGNALS].revents)
            take_signal(relay);
        if (pending && watch[POLL_GUEST].revents)
            flush_to_guest(relay);
        if (watch[POLL_INPUT].fd >= 0 && watch[POLL_INPUT].revents & POLLNVAL)
            end_input(relay);
        else if (watch[POLL_INPUT].fd >= 0 && watch[POLL_INPUT].revents)
            read_input(relay);
        if (watch[POLL_DEBUGGER].fd >= 0 && watch[POLL_DEBUGGER].revents)
            kill_qemu(relay, 0);
        if (watch[POLL_QEMU].revents)
            break;
    }
    while (read_channel(relay, POLL_SERIAL))
        ;
    while (watch[POLL_DEBUG].fd >= 0 && read_channel(relay, POLL_DEBUG))
        ;
    while (watch[POLL_QEMU_ERRORS].fd >= 0)
        read_qemu_errors(relay);
}

/* QEMU has ended with `raw` (as from waitpid): what that means for our own status. */
static int final_status(struct relay *relay, int raw, long timeout)
{
    int code = WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
    if (relay->killed) {
        if (relay->status == STATUS_TIMEOUT)
            fail("the program did not end within %ld s (--timeout): ended it", timeout);
        if (relay->status == STATUS_MACHINE)
            fail("KVM cannot run this machine: use --accel tcg (-v shows QEMU's command)");
        return relay->status;
    }
    if (relay->panicked || code == (DEBUG_EXIT_PANIC << 1 | 1)) {
        fail("the kernel panicked: its report is above; log=debug (--log debug) tells more");
        return STATUS_KERNEL_PANIC;
    }
    if (relay->status >= 0)
        return relay->status;
    if (relay->debugger > 0)
        return 0; /* gdb has killed it */
    /* Without a record the debug-exit port has the status. QEMU's own failure is 1, which stands
     * for a program's 0. */
    if (code > (relay->started ? 0 : 1) && (code & 1) && code >> 1 < DEBUG_EXIT_CLIPPED)
        return code >> 1;
    if (relay->started && code == (DEBUG_EXIT_REBOOT << 1 | 1))
        return 0;
    const char *message = relay->qemu_errors.size ? relay->qemu_errors.bytes : "";
    int length = (int)strcspn(message, "\n");
    if (!WIFEXITED(raw))
        fail("QEMU was ended by signal %d%s%.*s", WTERMSIG(raw), length ? ": " : "", length,
             message);
    else if (length)
        fail("QEMU failed: %.*s", length, message);
    else
        fail("the machine stopped without an exit status (QEMU's was %d): a triple fault, or too "
             "little memory (-m)",
             code);
    return STATUS_MACHINE;
}

int relay_run(const struct machine *machine, const struct relay_options *options)
{
    struct relay relay = {
        .status = -1, .serial = -1, .errors = machine->merged ? STDOUT_FILENO : STDERR_FILENO};
    for (size_t i = 0; i < POLL_COUNT; i++)
        relay.watch[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    sigset_t handled, old;
    sigemptyset(&handled);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGHUP);
    sigprocmask(SIG_BLOCK, &handled, &old);
    signal(SIGPIPE, SIG_IGN);
    relay.watch[POLL_SIGNALS].fd = signalfd(-1, &handled, SFD_CLOEXEC);
    if (options->timeout)
        relay.deadline = now_ms() + options->timeout * 1000;
    int status = STATUS_MACHINE;
    if (start_qemu(&relay, machine, &old) == 0 &&
        (!options->debugger || start_debugger(&relay, options->debugger, &old) == 0)) {
        relay_loop(&relay);
        int raw;
        while (waitpid(relay.qemu, &raw, 0) < 0 && errno == EINTR)
            ;
        status = final_status(&relay, raw, options->timeout);
        if (relay.debugger > 0)
            waitpid(relay.debugger, NULL, 0);
    } else if (relay.qemu > 0) {
        kill(relay.qemu, SIGKILL);
        waitpid(relay.qemu, NULL, 0);
    }
    for (size_t i = 0; i < POLL_COUNT; i++) {
        if (i != POLL_INPUT && i != POLL_GUEST && relay.watch[i].fd >= 0)
            close(relay.watch[i].fd);
    }
    if (relay.serial >= 0)
        close(relay.serial);
    buffer_free(&relay.to_guest);
    buffer_free(&relay.qemu_errors);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return status;
}
