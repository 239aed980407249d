/* SPDX-License-Identifier: MIT */
/* Builds QEMU's command line, and finds out by trying whether KVM works. */
#define _GNU_SOURCE
#include "tools/qemu.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "goruntime/hostlink.h"
#include "tools/elf_file.h"
#include "tools/link.h"

#define QEMU "qemu-system-x86_64"
#define PROBE_TIMEOUT_MS 5000 /* a working one needs a tenth of a second */
#define KILL_TIMEOUT_MS 5000

/* The least that the kernel needs. microvm: without option ROMs its small firmware loads the image
 * itself. */
static const struct machine_kind {
    const char *name;
    const char *options;
} machine_kinds[] = {
    {"microvm", "microvm,x-option-roms=off,auto-kernel-cmdline=off,acpi=on,pit=on,pic=off,rtc=on,"
                "isa-serial=on"},
    {"q35", "q35,sata=off,smbus=off,usb=off,vmport=off"},
    {"pc", "pc,usb=off,vmport=off"},
};
#define MACHINE_KINDS (sizeof(machine_kinds) / sizeof(*machine_kinds))

/* --- folders of the host
 * -------------------------------------------------------------------------------------------------
 */

#define SHARE_TAG "share"

static bool is_writable(const char *share)
{
    size_t length = strlen(share);
    return length > 3 && strcmp(share + length - 3, ":rw") == 0;
}

/* The part with the guest's folder and what follows, from its colon on; NULL: there is none. */
static const char *share_directory(const char *share)
{
    const char *end = share + strlen(share) - (is_writable(share) ? 3 : 0);
    while (end > share && *--end != ':') {
    }
    return *end == ':' && end[1] == '/' ? end : NULL;
}

int machine_environment(struct machine *machine, const char *variable)
{
    if (!strchr(variable, '=') || *variable == '=')
        return fail("--env %s: give NAME=VALUE", variable);
    arguments_addf(&machine->kernel_words, "env.%s", variable);
    return 0;
}

int machine_share(struct machine *machine, const char *share)
{
    const char *directory = share_directory(share);
    if (!directory)
        return fail("--mount %s: give HOSTDIR:DIR or HOSTDIR:DIR:rw, DIR from / on", share);
    char *folder = format_string("%.*s", (int)(directory - share), share);
    int result = is_directory(folder) ? 0 : fail("--mount %s: not a folder", folder);
    free(folder);
    arguments_add(&machine->shares, share);
    return result;
}

/* By 9P. QEMU acts for the guest as the user who runs it. */
static void add_share(const char *share, size_t index, bool mmio, struct arguments *words)
{
    struct buffer folder = {0};
    for (const char *at = share; at < share_directory(share); at++)
        buffer_append(&folder, *at == ',' ? ",," : at, *at == ',' ? 2 : 1);
    buffer_append_string(&folder, "");
    arguments_add(words, "-fsdev");
    arguments_addf(words, "local,id=" SHARE_TAG "%zu,security_model=none,multidevs=remap,%spath=%s",
                   index, is_writable(share) ? "" : "readonly=on,", folder.bytes);
    arguments_add(words, "-device");
    arguments_addf(words, "virtio-9p-%s,fsdev=" SHARE_TAG "%zu,mount_tag=" SHARE_TAG "%zu",
                   mmio ? "device" : "pci", index, index);
    buffer_free(&folder);
}

/* --- the guest's command line
 * -------------------------------------------------------------------------------------------- */

static void append_word(struct buffer *line, const char *word)
{
    if (line->size)
        buffer_append_string(line, " ");
    if (*word && !strpbrk(word, " \t\n\"\\")) {
        buffer_append_string(line, word);
        return;
    }
    buffer_append_string(line, "\"");
    for (; *word; word++) {
        if (*word == '"' || *word == '\\')
            buffer_append_string(line, "\\");
        buffer_append(line, word, 1);
    }
    buffer_append_string(line, "\"");
}

char *guest_command_line(const struct machine *machine)
{
    struct buffer line = {0};
    if (machine->hostlink) /* first, so that it counts when a later word is refused */
        append_word(&line, machine->merged ? "hostlink=merged" : "hostlink");
    for (size_t i = 0; i < machine->kernel_words.count; i++)
        append_word(&line, machine->kernel_words.items[i]);
    for (size_t i = 0; i < machine->shares.count; i++) {
        char *word =
            format_string("mount=" SHARE_TAG "%zu%s", i, share_directory(machine->shares.items[i]));
        append_word(&line, word);
        free(word);
    }
    if (machine->program_words.count)
        append_word(&line, "--");
    for (size_t i = 0; i < machine->program_words.count; i++)
        append_word(&line, machine->program_words.items[i]);
    buffer_append_string(&line, "");
    return line.bytes;
}

/* --- the accelerator
 * ------------------------------------------------------------------------------------------------------
 */

/* Waits for a child until `timeout_ms` have passed, then ends it, and gives it up when it cannot
 * even be killed. Its status as from waitpid; -1: it did not end by itself. */
static int wait_limited(pid_t child, int timeout_ms)
{
    int descriptor = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd watch = {.fd = descriptor, .events = POLLIN};
    int status = -1;
    bool ended = descriptor >= 0 && poll(&watch, 1, timeout_ms) == 1;
    if (!ended)
        kill(child, SIGKILL);
    if (ended || descriptor < 0 || poll(&watch, 1, KILL_TIMEOUT_MS) == 1)
        waitpid(child, &status, 0);
    if (descriptor >= 0)
        close(descriptor);
    return ended ? status : -1;
}

/* Runs QEMU with nothing to read and nothing to say, for at most PROBE_TIMEOUT_MS; returns as
 * wait_limited does. */
static int run_probe(char *const *words)
{
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        int null = open("/dev/null", O_RDWR);
        for (int i = 0; i < 3; i++)
            dup2(null, i);
        execvp(words[0], words);
        _exit(127);
    }
    return child > 0 ? wait_limited(child, PROBE_TIMEOUT_MS) : -1;
}

/* Boots the kernel under KVM. A KVM that emulates the guest, as some nested ones do, runs the first
 * instructions and then stops at one that it does not know; so nothing less than our own way to
 * long mode, to all CPUs and to a halt that an interrupt ends says that it works. */
static bool probe_kvm(void)
{
    int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (device < 0)
        return false;
    close(device);
    char *kernel = kernel_path(false, false);
    struct machine machine = {
        .kind = "microvm", .accel = "kvm", .memory = "32M", .cpus = 2, .image = kernel};
    arguments_add(&machine.kernel_words, "probe");
    struct arguments words = {0};
    qemu_arguments(&machine, &(struct channels){0}, &words);
    int status = run_probe(words.items);
    arguments_free(&words);
    arguments_free(&machine.kernel_words);
    free(kernel);
    return status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == (PROBE_STATUS << 1 | 1);
}

bool kvm_works(void)
{
    struct buffer identity = {0}, known = {0};
    char *cache = build_folder_path("kvm-probe");
    bool identified = read_file("/proc/sys/kernel/random/boot_id", &identity) == 0 && identity.size;
    bool works;
    char *kernel = kernel_path(false, false);
    struct stat probed = {0};
    identified = identified && stat(kernel, &probed) == 0;
    free(kernel);
    /* The file: what the answer is true for (the host's boot, our user, the kernel that was tried),
     * then yes or no. */
    if (identified)
        buffer_append_format(&identity, "%d %lld.%09ld\n", (int)getuid(),
                             (long long)probed.st_mtim.tv_sec, probed.st_mtim.tv_nsec);
    if (identified && read_file(cache, &known) == 0 && known.size > identity.size &&
        memcmp(known.bytes, identity.bytes, identity.size) == 0) {
        works = known.bytes[identity.size] == 'y';
    } else {
        works = probe_kvm();
        buffer_append_string(&identity, works ? "yes\n" : "no\n");
        char *parent = build_folder_path(".");
        if (identified && access(parent, W_OK) == 0)
            write_file(cache, identity.bytes, identity.size, 0644);
        free(parent);
    }
    buffer_free(&identity);
    buffer_free(&known);
    free(cache);
    return works;
}

/* --- QEMU's command line
 * -------------------------------------------------------------------------------------------------------
 */

static const struct machine_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < MACHINE_KINDS; i++) {
        if (strcmp(machine_kinds[i].name, name) == 0)
            return &machine_kinds[i];
    }
    return NULL;
}

int check_memory(const char *memory)
{
    size_t digits = strspn(memory, "0123456789");
    if (!digits || digits > 9 ||
        (memory[digits] &&
         (!strchr("KMGT", toupper((unsigned char)memory[digits])) || memory[digits + 1])))
        return fail("-m %s: give an amount of memory such as 128M or 2G", memory);
    return 0;
}

uint64_t memory_size(const char *memory)
{
    char *suffix;
    uint64_t amount = strtoull(memory, &suffix, 10);
    switch (toupper((unsigned char)*suffix)) {
    case 'K':
        return amount << 10;
    case 'G':
        return amount << 30;
    case 'T':
        return amount << 40;
    default:
        return amount << 20;
    }
}

int machine_check_memory(const struct machine *machine)
{
    struct elf_file file;
    struct stat status;
    uint64_t end = 0;
    if (elf_file_open(&file, machine->image) < 0)
        return -1;
    for (size_t i = 0; i < file.segment_count; i++) {
        const Elf64_Phdr *segment = &file.segments[i];
        if (segment->p_type == PT_LOAD && segment->p_paddr + segment->p_memsz > end)
            end = segment->p_paddr + segment->p_memsz;
    }
    elf_file_close(&file);
    if (machine->initrd && stat(machine->initrd, &status) == 0)
        end += (uint64_t)status.st_size;
    if (memory_size(machine->memory) >= end)
        return 0;
    return fail("-m %s: too little memory to load this image: give at least %luM", machine->memory,
                (unsigned long)(end >> 20) + 3);
}

int machine_check(struct machine *machine)
{
    if (!find_kind(machine->kind))
        return fail("--machine %s: give microvm, q35 or pc", machine->kind);
    if (check_memory(machine->memory) < 0)
        return -1;
    bool automatic = strcmp(machine->accel, "auto") == 0;
    if (!automatic && strcmp(machine->accel, "kvm") != 0 && strcmp(machine->accel, "tcg") != 0)
        return fail("--accel %s: give auto, kvm or tcg", machine->accel);
    if (!command_exists(QEMU))
        return fail(QEMU " is not in PATH: install Debian's qemu-system-x86 (scripts/setup does)");
    if (automatic) {
        machine->accel = kvm_works() ? "kvm" : "tcg";
        verbose("--accel auto: took %s", machine->accel);
    }
    return 0;
}

char *disk_file(const char *disk, bool *read_only)
{
    size_t length = strlen(disk);
    *read_only = length > 3 && strcmp(disk + length - 3, ",ro") == 0;
    return format_string("%.*s", (int)(length - (*read_only ? 3 : 0)), disk);
}

/* The format is told by the name, since QEMU distrusts a raw disk whose format it has to guess. */
static void add_disk(const char *disk, size_t index, bool mmio, struct arguments *words)
{
    bool read_only;
    char *path = disk_file(disk, &read_only);
    size_t length = strlen(path);
    bool qcow2 = length > 6 && strcmp(path + length - 6, ".qcow2") == 0;
    struct buffer file = {0};
    for (size_t i = 0; i < length; i++) /* QEMU wants each comma of a value doubled */
        buffer_append(&file, path[i] == ',' ? ",," : path + i, path[i] == ',' ? 2 : 1);
    arguments_add(words, "-drive");
    arguments_addf(words, "if=none,id=disk%zu,format=%s,readonly=%s,discard=unmap,file=%s", index,
                   qcow2 ? "qcow2" : "raw", read_only ? "on" : "off", file.size ? file.bytes : "");
    arguments_add(words, "-device");
    arguments_addf(words, "virtio-blk-%s,drive=disk%zu", mmio ? "device" : "pci", index);
    buffer_free(&file);
    free(path);
}

void qemu_arguments(const struct machine *machine, const struct channels *channels,
                    struct arguments *words)
{
    arguments_add(words, QEMU);
    arguments_add(words, "-M");
    arguments_add(words, find_kind(machine->kind)->options);
    arguments_add(words, "-accel");
    arguments_add(words, strcmp(machine->accel, "kvm") == 0 ? "kvm" : "tcg");
    arguments_add(words, "-cpu");
    arguments_add(words, machine->cpu ? machine->cpu : "max");
    arguments_add(words, "-m");
    /* Without a suffix QEMU means MiB; so do we. */
    arguments_add(words, machine->memory);
    arguments_add(words, "-smp");
    arguments_addf(words, "%ld", machine->cpus);
    static const char *const always[] = {
        "-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-vga", "none"};
    bool microvm = strcmp(machine->kind, "microvm") == 0;
    for (size_t i = 0; i < sizeof(always) / sizeof(*always) - (microvm ? 2 : 0); i++)
        arguments_add(words, always[i]);
    if (microvm) { /* by default its virtio devices are those of 2011 */
        arguments_add(words, "-global");
        arguments_add(words, "virtio-mmio.force-legacy=false");
    }

    arguments_add(words, "-chardev");
    if (channels->folder)
        arguments_addf(words, "pipe,id=serial,path=%s/" CHANNEL_SERIAL, channels->folder);
    else
        arguments_add(words, "stdio,id=serial,signal=off");
    arguments_add(words, "-serial");
    arguments_add(words, "chardev:serial");
    arguments_add(words, "-chardev");
    if (channels->folder)
        arguments_addf(words, "file,id=debug,append=on,path=%s/" CHANNEL_DEBUG, channels->folder);
    else
        arguments_add(words, "file,id=debug,path=/dev/stderr");
    arguments_add(words, "-device");
    arguments_addf(words, "isa-debugcon,iobase=%#x,chardev=debug", DEBUG_CONSOLE_PORT);
    arguments_add(words, "-device");
    arguments_addf(words, "isa-debug-exit,iobase=%#x,iosize=4", DEBUG_EXIT_PORT);

    for (size_t i = 0; i < machine->disks.count; i++)
        add_disk(machine->disks.items[i], i, microvm, words);
    for (size_t i = 0; i < machine->shares.count; i++)
        add_share(machine->shares.items[i], i, microvm, words);
    if (machine->wait_for_debugger) {
        arguments_add(words, "-S");
        arguments_add(words, "-s");
    }
    network_arguments(&machine->network, microvm, words);
    for (size_t i = 0; i < machine->extra.count; i++)
        arguments_add(words, machine->extra.items[i]);
    arguments_add(words, "-kernel");
    arguments_add(words, machine->image);
    if (machine->initrd) {
        arguments_add(words, "-initrd");
        arguments_add(words, machine->initrd);
    }
    char *line = guest_command_line(machine);
    if (*line) {
        arguments_add(words, "-append");
        arguments_add(words, line);
    }
    free(line);
}
