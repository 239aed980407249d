/* SPDX-License-Identifier: MIT */
/* `unigornel exec` and `unigornel test`: programs that Go has built, run inside with the files of
 * the current folder. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/build.h"
#include "tools/commands.h"
#include "tools/link.h"
#include "tools/mkfs.h"
#include "tools/run.h"
#include "tools/stage.h"
#include "tools/std.h"

#define DEFAULT_MEMORY "2G"
#define MOST_CPUS 4 /* by default */

const struct option_table exec_options = {
    .usage = "exec [OPTIONS] PROGRAM ARGS...",
    .about =
        "Boots a static Go program with the files of the current folder, and exits with its "
        "status: for\n"
        "go test -exec 'unigornel exec' and go run -exec 'unigornel exec'. "
        "UNIGORNEL_EXEC_MEMORY (2G) and\n"
        "UNIGORNEL_EXEC_CPUS (the host's, at most 4) change the defaults. The program sees the "
        "module that the\ncurrent folder belongs to, and what it writes there stays; " EXEC_FILES
        " (of unigornel mkfs)\nis its root instead, and what it writes is lost. With " EXEC_PLATFORM
        "=xen-pv or xen-pvh it runs\nas a domain, which keeps nothing: " XEN_RUN
        " is a shell command that gets a configuration for\nxl create, copies the domain's "
        "console to its output and ends with the program's status, such as\n"
        "test/qemu/xen/run.py.",
    .specs = run_specs,
    .count = RUN_OPTION_COUNT,
};

const struct option_table test_options = {
    .usage = "test [GO TEST FLAGS] [PACKAGES] | test std [OPTIONS] [PACKAGES]",
    .about = "go test with the overlay, and the tests running inside (see unigornel exec --help); "
             "with std the standard\nlibrary's own tests and a table (see unigornel test std "
             "--help).",
};

/* Go's own variables and those that tell a program where and who it is. */
static bool is_passed_on(const char *variable)
{
    static const char *const names[] = {
        "HOME=", "LANG=", "LC_ALL=", "LOGNAME=", "PATH=", "PWD=", "SHELL=", "TZ=", "USER="};
    if (strncmp(variable, "GO", 2) == 0)
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

static long default_cpus(void)
{
    const char *given = getenv("UNIGORNEL_EXEC_CPUS");
    if (given && *given)
        return parse_number("UNIGORNEL_EXEC_CPUS", given, 1, 255);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 1 : cpus > MOST_CPUS ? MOST_CPUS : cpus;
}

/* --- what the program sees of the host
 * -----------------------------------------------------------------------------------
 */

struct exec_request {
    const char *program;   /* its file, without links */
    const char *directory; /* where it begins */
    const char *root;      /* a file system for it; NULL: none is given */
    const char *image;
};

/* Where the folder of the program's file is seen when it is in none of those that are shared. */
#define PROGRAM_FOLDER "/run/program"

/* Whether a folder may be seen at its own path: not where the guest has files of its own. */
static bool can_share(const char *folder)
{
    static const char *const own[] = {"/dev", "/etc", "/proc", "/run", "/sys"};
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
        if (path_is_below(folder, own[i]))
            return false;
    }
    return folder[1] != '\0';
}

static bool has_file(const char *folder, const char *name)
{
    char *path = format_string("%s/%s", folder, name);
    bool found = is_file(path);
    free(path);
    return found;
}

/* The module that a folder belongs to, or the workspace of the module, whose tests may read each
 * other's files; without a module the folder itself. */
static char *module_of(const char *directory)
{
    char *path = copy_string(directory), *found = NULL;
    for (bool module = false; *path; *strrchr(path, '/') = '\0') {
        bool here = !module && has_file(path, "go.mod");
        module |= here;
        if (here || (module && has_file(path, "go.work"))) {
            free(found);
            found = copy_string(path);
        }
    }
    free(path);
    return found ? found : copy_string(directory);
}

/* The folder of the GOROOT in use that has the time zones, or NULL: GOROOT is named by the
 * environment, or is the one of the `go` in PATH. */
static char *time_zones(void)
{
    const char *root = getenv("GOROOT");
    char *found = NULL;
    if (root && *root == '/') {
        found = format_string("%s/lib/time", root);
    } else {
        char *command = find_command("go"), *real = command ? real_path(command) : NULL;
        for (int level = 0; real && level < 2 && strrchr(real, '/'); level++)
            *strrchr(real, '/') = '\0';
        if (real)
            found = format_string("%s/lib/time", real);
        free(command);
        free(real);
    }
    if (found && has_file(found, "zoneinfo.zip"))
        return found;
    free(found);
    return NULL;
}

static int share(struct machine *machine, const char *folder, const char *seen, bool writable)
{
    char *text = format_string("%s:%s%s", folder, seen, writable ? ":rw" : "");
    int result = machine_share(machine, text);
    free(text);
    return result;
}

/* Shares by 9P what the program may look for. A root that is given has all but its own file. */
static int share_files(struct machine *machine, const struct exec_request *request)
{
    const char *directory = request->directory, *program = request->program;
    bool files = request->root != NULL;
    char *module = module_of(directory), *zones = time_zones(), *folder = copy_string(program);
    bool shared = !files && can_share(module);
    int result = shared ? share(machine, module, module, true) : 0;
    if (!files && !shared && directory[1])
        result = fail("exec: %s cannot be shown to the program, which has its own %.*s", directory,
                      (int)strcspn(directory + 1, "/") + 1, directory);
    if (result == 0 && !files && zones && can_share(zones) && !path_is_below(zones, module))
        result = share(machine, zones, zones, false);
    if (shared && path_is_below(program, module)) {
        arguments_addf(&machine->kernel_words, "exe=%s", program);
    } else if (result == 0) {
        char *slash = strrchr(folder, '/');
        slash[slash == folder] = '\0';
        result = share(machine, folder, PROGRAM_FOLDER, false);
        arguments_addf(&machine->kernel_words, "exe=" PROGRAM_FOLDER "/%s", base_name(program));
    }
    free(module);
    free(zones);
    free(folder);
    return result;
}

static int run_in_qemu(const struct exec_request *request, struct run_settings *settings)
{
    struct machine *machine = &settings->machine;
    if (share_files(machine, request) < 0)
        return STATUS_FAILED;
    arguments_addf(&machine->kernel_words, "root=%s", request->root ? "initrd" : "none");
    machine->image = request->image;
    machine->initrd = request->root;
    return run_machine(settings);
}

/* --- as a domain of Xen
 * ------------------------------------------------------------------------------------------------
 */

/* Makes a disk image of the folder `stage`, and the domain's next disk of that. */
static int add_staged_disk(struct arguments *xen, const char *stage)
{
    char *image = format_string("%s.erofs", stage);
    int result = make_directories(stage) < 0 ? -1 : make_file_system(stage, image, false);
    remove_tree(stage);
    arguments_addf(xen, "--disk=%s,ro", image);
    free(image);
    return result;
}

/* Shows what share_files does, by disks: a domain has no 9P. Adds options of `unigornel xen` and
 * words for the kernel. */
static int add_disks(const struct exec_request *request, struct arguments *xen,
                     struct arguments *words)
{
    char *folder = temporary_directory();
    if (!folder)
        return -1;
    char *files = format_string("%s/files", folder), *own = format_string("%s/program", folder);
    char *module = module_of(request->directory), *zones = time_zones();
    int result = 0;
    arguments_add(words, "root=xvda");
    arguments_add(words, "mount=xvdb:" PROGRAM_FOLDER);
    arguments_addf(words, "exe=" PROGRAM_FOLDER "%s", request->program);
    if (request->root)
        arguments_addf(xen, "--disk=%s,ro", request->root);
    else if (stage_copy(module, files) < 0 || (zones && stage_copy(zones, files) < 0))
        result = -1;
    else
        result = add_staged_disk(xen, files);
    if (result == 0)
        result = stage_copy(request->program, own) < 0 ? -1 : add_staged_disk(xen, own);
    free(module);
    free(zones);
    free(own);
    free(files);
    free(folder);
    return result;
}

/* Has XEN_RUN run the configuration, for at most `timeout` seconds (0: for ever). The exit status
 * of the whole command. */
static int run_configuration(const char *path, long timeout)
{
    const char *run = getenv(XEN_RUN);
    char *script = format_string("%s \"$1\"", run);
    struct arguments words = {0};
    if (timeout) {
        arguments_add(&words, "timeout");
        arguments_addf(&words, "%ld", timeout);
    }
    arguments_add(&words, "sh");
    arguments_add(&words, "-c");
    arguments_add(&words, script);
    arguments_add(&words, "sh");
    arguments_add(&words, path);
    int status = run_command(&(struct command){.words = words.items});
    arguments_free(&words);
    free(script);
    return status < 0 ? STATUS_FAILED : status;
}

static int run_domain(const struct exec_request *request, struct run_settings *settings,
                      const char *type)
{
    struct machine *machine = &settings->machine;
    struct arguments xen = {0};
    const char *run = getenv(XEN_RUN);
    if (!run || !*run)
        return fail("exec: " EXEC_PLATFORM " wants " XEN_RUN ", a command that runs a domain"),
               STATUS_USAGE;
    char *path = format_string("%s.cfg", request->image);
    arguments_addf(&xen, "--type=%s", type);
    arguments_addf(&xen, "--name=%s.%d", base_name(request->program), (int)getpid());
    arguments_addf(&xen, "-o=%s", path);
    arguments_addf(&xen, "-m=%s", machine->memory);
    arguments_addf(&xen, "--smp=%ld", machine->cpus);
    int status = STATUS_FAILED;
    if (add_disks(request, &xen, &machine->kernel_words) == 0) {
        char *line = guest_command_line(machine);
        arguments_addf(&xen, "--append=%s", line);
        free(line);
        arguments_add(&xen, request->image);
        status = command_xen(xen.items);
    }
    if (status == 0)
        status = run_configuration(path, settings->timeout);
    arguments_free(&xen);
    free(path);
    return status;
}

/* "pv", "pvh", "" for QEMU, or NULL after a message. */
static const char *domain_type(void)
{
    const char *platform = getenv(EXEC_PLATFORM);
    if (!platform || !*platform || strcmp(platform, "kvm") == 0)
        return "";
    if (strcmp(platform, "xen-pv") == 0 || strcmp(platform, "xen-pvh") == 0)
        return platform + strlen("xen-");
    fail(EXEC_PLATFORM "=%s: give kvm, xen-pv or xen-pvh", platform);
    return NULL;
}

int command_exec(char **words)
{
    struct option_cursor cursor = {.table = &exec_options, .words = words};
    const char *memory = getenv("UNIGORNEL_EXEC_MEMORY"), *given = getenv(EXEC_FILES);
    struct run_settings settings = {
        .machine = {.kind = "microvm",
                    .accel = "auto",
                    .memory = memory && *memory ? memory : DEFAULT_MEMORY}};
    int option = run_options_parse(&cursor, &settings);
    if (option == OPTION_HELP)
        return 0;
    if (option == OPTION_ERROR)
        return STATUS_USAGE;
    if (settings.files) {
        fail("exec: the current folder is the program's: --fs is for build and run");
        return STATUS_USAGE;
    }
    if (!settings.machine.cpus)
        settings.machine.cpus = default_cpus();
    if (settings.machine.cpus < 0)
        return STATUS_USAGE;
    const char *program = words[cursor.at];
    if (!program) {
        fail("exec: give a program: unigornel exec PROGRAM ARGS");
        return STATUS_USAGE;
    }
    struct machine *machine = &settings.machine;
    if (machine_check(machine) < 0)
        return STATUS_USAGE;
    const char *type = domain_type();
    if (!type)
        return STATUS_USAGE;
    char *directory = current_directory();
    if (*directory != '/') {
        free(directory);
        return fail("exec: the current folder has been removed"), STATUS_FAILED;
    }
    char *folder = temporary_directory();
    char *image = folder ? format_string("%s/image.elf", folder) : NULL, *file = real_path(program);
    struct exec_request request = {
        .program = file, .directory = directory, .root = given, .image = image};
    int status = STATUS_FAILED;
    if (image &&
        link_files(program, base_name(program), NULL, &(struct link_options){0}, image) == 0) {
        for (char **variable = environ; *variable; variable++) {
            if (is_passed_on(*variable))
                arguments_addf(&machine->kernel_words, "env.%s", *variable);
        }
        arguments_addf(&machine->kernel_words, "cwd=%s", directory);
        for (char **word = &words[cursor.at + 1]; *word; word++)
            arguments_add(&machine->program_words, *word);
        status = *type ? run_domain(&request, &settings, type) : run_in_qemu(&request, &settings);
    }
    arguments_free(&machine->kernel_words);
    arguments_free(&machine->program_words);
    arguments_free(&machine->extra);
    arguments_free(&machine->disks);
    network_free(&machine->network);
    arguments_free(&machine->shares);
    free(directory);
    free(folder);
    free(image);
    free(file);
    return status;
}

/* --- test
 * ------------------------------------------------------------------------------------------------------------------
 */

/* go's -exec takes words apart at blanks and knows quotes. */
static char *exec_word(void)
{
    char *self = own_path();
    char *word = strpbrk(self, " '\"")
                     ? format_string("%c%s%c exec", strchr(self, '\'') ? '"' : '\'', self,
                                     strchr(self, '\'') ? '"' : '\'')
                     : format_string("%s exec", self);
    free(self);
    return word;
}

int command_test(char **words)
{
    if (words[0] && strcmp(words[0], "std") == 0)
        return command_test_std(words + 1);
    if (words[0] && (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0)) {
        print_help(&test_options);
        return 0;
    }
    struct go_toolchain go = {0};
    struct overlay overlay = {0};
    struct arguments all = {0};
    char *folder = temporary_directory(), *exec = exec_word();
    int status = STATUS_FAILED;
    if (folder && go_find(&go, NULL) == 0 && overlay_create(&overlay, &go, folder) == 0) {
        arguments_add(&all, "test");
        arguments_addf(&all, "-overlay=%s", overlay.path);
        arguments_addf(&all, "-exec=%s", exec);
        for (; *words; words++)
            arguments_add(&all, *words);
        status = go_run(&go, all.items);
        if (status < 0)
            status = STATUS_FAILED;
    }
    arguments_free(&all);
    overlay_free(&overlay);
    go_free(&go);
    free(folder);
    free(exec);
    return status;
}
