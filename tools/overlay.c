/* SPDX-License-Identifier: MIT */
/* The overlay generator: the rules, a reader of Go assembly that knows statements but not
 * instructions, and the check of what was linked. A Go release that a rule does not fit ends the
 * build with a message. */
#define _GNU_SOURCE
#include "tools/overlay.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "goruntime/gate.h"
#include "tools/insn.h"

/* The packages whose assembly enters the kernel. Of each group at least one must exist, with at
 * least `minimum` SYSCALLs. */
static const struct package_rule {
    const char *import_path;
    unsigned group;
    unsigned minimum;
} package_rules[] = {
    {"runtime", 0, 30},
    {"syscall", 1, 3},
    {"internal/runtime/syscall", 2, 1},       /* to Go 1.25 */
    {"internal/runtime/syscall/linux", 2, 1}, /* from Go 1.26 */
};
#define PACKAGE_RULES (sizeof(package_rules) / sizeof(*package_rules))

/* No SYSCALL may be left in a function whose name begins like this, wherever a later release puts
 * it. */
static const char *const verified_prefixes[] = {"runtime.", "syscall.", "internal/", "runtime/"};

/* Xen PV pushes interrupt frames (64 bytes, 16 for alignment, two of them nested with a fault on
 * entry) on the goroutine's stack. The constant is used for nothing but the guard, so the sizes of
 * new stacks stay as they are: of the first 2048 bytes a goroutine has 864 before it grows, and a
 * stack that shrinks keeps more than a quarter of 4096 + 800 free. */
#define STACK_GUARD_FILE "runtime/stack.go"
#define STACK_GUARD_LINE "stackGuard = stackNosplit + stackSystem + abi.StackSmall\n"
#define STACK_GUARD_RAISED "stackGuard = stackNosplit + stackSystem + abi.StackSmall + 256\n"

/* lea r11, [rip + 7]; mov ecx, GATE_ADDRESS; jmp rcx */
static const uint8_t gate_jump[] = {
    0x4c,
    0x8d,
    0x1d,
    0x07,
    0x00,
    0x00,
    0x00,
    0xb9,
    GATE_ADDRESS & 0xff,
    GATE_ADDRESS >> 8 & 0xff,
    GATE_ADDRESS >> 16 & 0xff,
    GATE_ADDRESS >> 24 & 0xff,
    0xff,
    0xe1,
};
#define GATE_STATEMENTS 3 /* what a SYSCALL becomes: QUAD, LONG, WORD */

static int does_not_fit(const char *path, const char *why)
{
    return fail("%s: %s: this Go release does not fit Unigornel's rules; use another one "
                "(GOTOOLCHAIN=go1.26.0)",
                path, why);
}

/* --- reading assembly
 * -------------------------------------------------------------------------------------------------
 */

enum statement_kind {
    STATEMENT_INSTRUCTION,
    STATEMENT_SYSCALL,
    STATEMENT_JUMP,     /* with an operand N(PC) */
    STATEMENT_FUNCTION, /* TEXT */
    STATEMENT_UNKNOWN,  /* a macro or a preprocessor line: any number of instructions */
};

struct statement {
    enum statement_kind kind;
    size_t start,
        end; /* of the word to replace, in the source: SYSCALL itself, or the number before (PC) */
    long distance;  /* for a jump */
    char *function; /* for TEXT, the name as written, e.g. "runtime·clone" */
};

struct statements {
    struct statement *items;
    size_t count, capacity;
};

static struct statement *add_statement(struct statements *list, enum statement_kind kind)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 512;
        struct statement *items = allocate(capacity * sizeof(*items));
        if (list->count)
            memcpy(items, list->items, list->count * sizeof(*items));
        free(list->items);
        list->items = items;
        list->capacity = capacity;
    }
    struct statement *statement = &list->items[list->count++];
    *statement = (struct statement){.kind = kind};
    return statement;
}

static void free_statements(struct statements *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].function);
    free(list->items);
}

static bool is_word_character(char c)
{
    return isalnum((unsigned char)c) || c == '_' ||
           (unsigned char)c >= 0x80; /* UTF-8 for · and ∕ */
}

static size_t word_length(const char *text, size_t size)
{
    size_t length = 0;
    while (length < size && is_word_character(text[length]))
        length++;
    return length;
}

static bool contains_word(const char *text, size_t size, const char *word)
{
    for (size_t at = 0; at < size;) {
        size_t length = word_length(text + at, size - at);
        if (length == strlen(word) && memcmp(text + at, word, length) == 0)
            return true;
        at += length ? length : 1;
    }
    return false;
}

/* Finds "N(PC)" in an instruction's operands. */
static bool find_relative_jump(const char *text, size_t size, size_t *start, size_t *end,
                               long *distance)
{
    const char *pc = memmem(text, size, "(PC)", 4);
    if (!pc)
        return false;
    const char *first = pc;
    while (first > text && isdigit((unsigned char)first[-1]))
        first--;
    if (first == pc || (first > text && is_word_character(first[-1])))
        return false;
    if (first > text && first[-1] == '-')
        first--;
    *start = (size_t)(first - text);
    *end = (size_t)(pc - text);
    *distance = strtol(first, NULL, 10);
    return true;
}

/* One statement without comments, labels and surrounding blanks; `offset` is where it begins in the
 * source. */
static void read_statement(struct statements *list, const char *text, size_t size, size_t offset)
{
    while (size && isspace((unsigned char)*text)) {
        text++;
        size--;
        offset++;
    }
    while (size && isspace((unsigned char)text[size - 1]))
        size--;
    if (!size)
        return;
    size_t word = word_length(text, size);
    if (word && word < size && text[word] == ':') {
        read_statement(list, text + word + 1, size - word - 1, offset + word + 1);
        return;
    }
    if (word == size && size == 7 && memcmp(text, "SYSCALL", 7) == 0) {
        struct statement *statement = add_statement(list, STATEMENT_SYSCALL);
        statement->start = offset;
        statement->end = offset + size;
        return;
    }
    if (word == 4 && memcmp(text, "TEXT", 4) == 0) {
        size_t at = 4;
        while (at < size && isspace((unsigned char)text[at]))
            at++;
        size_t length = 0;
        while (at + length < size && text[at + length] != '(' && text[at + length] != '<')
            length++;
        add_statement(list, STATEMENT_FUNCTION)->function =
            format_string("%.*s", (int)length, text + at);
        return;
    }
    size_t start, end;
    long distance;
    if (find_relative_jump(text, size, &start, &end, &distance)) {
        struct statement *statement = add_statement(list, STATEMENT_JUMP);
        statement->start = offset + start;
        statement->end = offset + end;
        statement->distance = distance;
        return;
    }
    /* get_tls(CX), NO_LOCAL_POINTERS: an instruction is followed by a blank, and is no longer than
     * this. */
    bool macro = word < size ? text[word] == '(' : memchr(text, '_', size) != NULL;
    add_statement(list, macro || *text == '#' ? STATEMENT_UNKNOWN : STATEMENT_INSTRUCTION);
}

/* Reads the file into statements; `clean` is the source with comments blanked out, so that offsets
 * stay. */
static int read_statements(struct statements *list, const char *path, char *clean)
{
    for (char *p = clean; *p;) {
        if (p[0] == '/' && p[1] == '/') {
            while (*p && *p != '\n')
                *p++ = ' ';
        } else if (p[0] == '/' && p[1] == '*') {
            const char *end = strstr(p + 2, "*/");
            for (end = end ? end + 2 : p + strlen(p); p < end; p++)
                *p = *p == '\n' ? '\n' : ' ';
        } else {
            p++;
        }
    }
    for (char *p = clean; *p;) {
        size_t blank = strspn(p, " \t");
        if (p[blank] == '#') {
            size_t length = strcspn(p, "\n");
            while (p[length] && p[length - 1] == '\\')
                length += 1 + strcspn(p + length + 1, "\n");
            if (contains_word(p, length, "SYSCALL"))
                return does_not_fit(path, "a macro contains SYSCALL");
            add_statement(list, STATEMENT_UNKNOWN);
            p += length;
        } else {
            size_t length = strcspn(p, ";\n");
            read_statement(list, p, length, (size_t)(p - clean));
            p += length;
        }
        p += *p != '\0';
    }
    return 0;
}

/* How far the jump at `index` goes once each SYSCALL it passes is GATE_STATEMENTS long. A macro on
 * the way may be more than one instruction: then the jump really ends earlier, and it can be
 * trusted only where no SYSCALL is near. */
static int corrected_distance(const struct statements *list, size_t index, const char *path,
                              long *distance)
{
    const struct statement *jump = &list->items[index];
    long step = jump->distance < 0 ? -1 : 1, passed = 0;
    bool unknown = false;
    for (long i = step; labs(i) <= labs(jump->distance); i += step) {
        if ((step < 0 && index < (size_t)-i) || (step > 0 && index + (size_t)i >= list->count))
            return does_not_fit(path, "a relative jump leaves the file");
        const struct statement *statement = &list->items[(size_t)((long)index + i)];
        if (statement->kind == STATEMENT_FUNCTION)
            return does_not_fit(path, "a relative jump leaves its function");
        unknown |= statement->kind == STATEMENT_UNKNOWN;
        /* A forward jump to a SYSCALL lands on the first of its statements; a backward one has to
         * pass them. */
        passed += statement->kind == STATEMENT_SYSCALL && !(step > 0 && i == jump->distance);
    }
    if (passed && unknown)
        return does_not_fit(path, "a relative jump passes a macro and a SYSCALL");
    *distance = jump->distance + step * passed * (GATE_STATEMENTS - 1);
    return 0;
}

/* The name that the linker gives: the middle dot stands for a dot, the division slash for a slash.
 */
static char *linker_name(const char *written, const char *import_path)
{
    struct buffer name = {0};
    for (; *written; written++) {
        if (strncmp(written, "\xc2\xb7", 2) == 0) {
            if (name.size == 0)
                buffer_append_string(&name, import_path);
            buffer_append_string(&name, ".");
            written += 1;
        } else if (strncmp(written, "\xe2\x88\x95", 3) == 0) {
            buffer_append_string(&name, "/");
            written += 2;
        } else {
            buffer_append(&name, written, 1);
        }
    }
    buffer_append_string(&name, "");
    return name.bytes;
}

static void add_function(struct overlay *overlay, char *name, unsigned gates)
{
    struct overlay_function *functions =
        allocate((overlay->function_count + 1) * sizeof(*functions));
    if (overlay->function_count)
        memcpy(functions, overlay->functions, overlay->function_count * sizeof(*functions));
    functions[overlay->function_count++] = (struct overlay_function){name, gates};
    free(overlay->functions);
    overlay->functions = functions;
}

static void append_gate_jump(struct buffer *out)
{
    uint64_t quad;
    uint32_t word32;
    uint16_t word16;
    memcpy(&quad, gate_jump, 8);
    memcpy(&word32, gate_jump + 8, 4);
    memcpy(&word16, gate_jump + 12, 2);
    buffer_append_format(out, "QUAD $0x%016llx; LONG $0x%08x; WORD $0x%04x",
                         (unsigned long long)quad, word32, word16);
}

static int rewrite_statements(struct overlay *overlay, const struct statements *list,
                              const char *path, const char *import_path, const char *source,
                              struct buffer *out)
{
    size_t copied = 0;
    int total = 0;
    const char *function = NULL;
    unsigned gates = 0;
    for (size_t i = 0; i <= list->count; i++) {
        const struct statement *statement = i < list->count ? &list->items[i] : NULL;
        if (!statement || statement->kind == STATEMENT_FUNCTION) {
            if (gates)
                add_function(overlay, linker_name(function, import_path), gates);
            gates = 0;
            function = statement ? statement->function : NULL;
            continue;
        }
        if (statement->kind == STATEMENT_SYSCALL) {
            if (!function)
                return does_not_fit(path, "a SYSCALL outside a function");
            buffer_append(out, source + copied, statement->start - copied);
            append_gate_jump(out);
            copied = statement->end;
            gates++;
            total++;
        } else if (statement->kind == STATEMENT_JUMP) {
            long distance = 0;
            if (corrected_distance(list, i, path, &distance) < 0)
                return -1;
            buffer_append(out, source + copied, statement->start - copied);
            buffer_append_format(out, "%ld", distance);
            copied = statement->end;
        }
    }
    buffer_append_string(out, source + copied);
    return total;
}

int overlay_rewrite(struct overlay *overlay, const char *path, const char *import_path,
                    const char *source, struct buffer *out)
{
    struct statements list = {0};
    char *clean = copy_string(source);
    int result = read_statements(&list, path, clean);
    if (result == 0)
        result = rewrite_statements(overlay, &list, path, import_path, source, out);
    free_statements(&list);
    free(clean);
    return result;
}

int overlay_raise_stack_guard(const char *path, const char *source, struct buffer *out)
{
    const char *line = strstr(source, STACK_GUARD_LINE);
    if (!line || strstr(line + 1, STACK_GUARD_LINE))
        return does_not_fit(path, "the stack guard is not where it was");
    buffer_append(out, source, (size_t)(line - source));
    buffer_append_string(out, STACK_GUARD_RAISED);
    buffer_append_string(out, line + strlen(STACK_GUARD_LINE));
    return 0;
}

/* --- the overlay of a toolchain
 * --------------------------------------------------------------------------------------------- */

static void append_json_string(struct buffer *out, const char *text)
{
    buffer_append_string(out, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buffer_append_format(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            buffer_append_format(out, "\\u%04x", *text);
        else
            buffer_append(out, text, 1);
    }
    buffer_append_string(out, "\"");
}

struct overlay_writer {
    struct overlay *overlay;
    const char *directory;
    struct buffer json;
    unsigned file_count;
};

static int add_replacement(struct overlay_writer *writer, const char *path,
                           const struct buffer *contents)
{
    char *copy = format_string("%s/%u-%s", writer->directory, writer->file_count, base_name(path));
    int result = write_file(copy, contents->bytes, contents->size, 0644);
    buffer_append_string(&writer->json, writer->file_count++ ? ",\n" : "\n");
    append_json_string(&writer->json, path);
    buffer_append_string(&writer->json, ": ");
    append_json_string(&writer->json, copy);
    free(copy);
    return result;
}

/* Returns the number of SYSCALLs in the file, or -1 after a message. */
static int overlay_assembly(struct overlay_writer *writer, const char *path,
                            const char *import_path)
{
    struct buffer source = {0}, rewritten = {0};
    int error = read_file(path, &source), count = -1;
    if (error < 0)
        fail("%s: cannot read: %s: repair the Go installation", path, strerror(-error));
    else
        count = overlay_rewrite(writer->overlay, path, import_path, source.bytes, &rewritten);
    if (count > 0 && add_replacement(writer, path, &rewritten) < 0)
        count = -1;
    buffer_free(&source);
    buffer_free(&rewritten);
    return count;
}

static int overlay_stack_guard(struct overlay_writer *writer, const char *goroot)
{
    struct buffer source = {0}, raised = {0};
    char *path = format_string("%s/src/%s", goroot, STACK_GUARD_FILE);
    int result = read_file(path, &source) < 0
                     ? does_not_fit(path, "there is no such file")
                     : overlay_raise_stack_guard(path, source.bytes, &raised);
    if (result == 0)
        result = add_replacement(writer, path, &raised);
    buffer_free(&source);
    buffer_free(&raised);
    free(path);
    return result;
}

/* One line of go list: import path, folder, assembly files, separated by tabs. Returns the rule's
 * index, or -1 after a message. `counts` gets the number of SYSCALLs. */
static int overlay_package(struct overlay_writer *writer, char *line, int *counts)
{
    char *state = NULL;
    const char *import_path = strtok_r(line, "\t", &state);
    const char *folder = strtok_r(NULL, "\t", &state);
    size_t rule = 0;
    while (import_path && rule < PACKAGE_RULES &&
           strcmp(package_rules[rule].import_path, import_path) != 0)
        rule++;
    if (!import_path || rule == PACKAGE_RULES || !folder)
        return 0; /* a package that this release does not have */
    for (char *file = strtok_r(NULL, "\t", &state); file; file = strtok_r(NULL, "\t", &state)) {
        char *path = format_string("%s/%s", folder, file);
        int count = overlay_assembly(writer, path, import_path);
        free(path);
        if (count < 0)
            return -1;
        counts[rule] += count;
    }
    return 0;
}

static int check_counts(const struct go_toolchain *go, const int *counts)
{
    for (unsigned group = 0; group <= package_rules[PACKAGE_RULES - 1].group; group++) {
        const char *name = "";
        bool enough = false;
        for (size_t i = 0; i < PACKAGE_RULES; i++) {
            if (package_rules[i].group == group) {
                enough |= counts[i] >= (int)package_rules[i].minimum;
                name = package_rules[i].import_path;
            }
        }
        if (!enough) {
            char *why =
                format_string("%s: package %s has fewer SYSCALLs than expected", go->version, name);
            int result = does_not_fit(go->root, why);
            free(why);
            return result;
        }
    }
    return 0;
}

int overlay_create(struct overlay *overlay, const struct go_toolchain *go, const char *directory)
{
    *overlay = (struct overlay){.go_version = copy_string(go->version)};
    struct overlay_writer writer = {.overlay = overlay, .directory = directory};
    struct arguments words = {0};
    arguments_add(&words, "list");
    arguments_add(&words, "-e");
    arguments_add(&words, "-f");
    arguments_add(&words, "{{.ImportPath}}\t{{.Dir}}{{range .SFiles}}\t{{.}}{{end}}");
    for (size_t i = 0; i < PACKAGE_RULES; i++)
        arguments_add(&words, package_rules[i].import_path);
    struct buffer listing = {0};
    int counts[PACKAGE_RULES] = {0};
    int result = go_query(go, words.items, &listing);
    arguments_free(&words);

    char *state = NULL;
    for (char *line = result == 0 ? strtok_r(listing.bytes, "\n", &state) : NULL;
         line && result == 0; line = strtok_r(NULL, "\n", &state))
        result = overlay_package(&writer, line, counts);
    if (result == 0)
        result = check_counts(go, counts);
    if (result == 0)
        result = overlay_stack_guard(&writer, go->root);
    buffer_free(&listing);
    if (result == 0) {
        struct buffer json = {0};
        buffer_append_format(&json, "{\"Replace\": {%s\n}}\n", writer.json.bytes);
        overlay->path = format_string("%s/overlay.json", directory);
        result = write_file(overlay->path, json.bytes, json.size, 0644);
        buffer_free(&json);
    }
    buffer_free(&writer.json);
    return result;
}

void overlay_free(struct overlay *overlay)
{
    for (size_t i = 0; i < overlay->function_count; i++)
        free(overlay->functions[i].name);
    free(overlay->functions);
    free(overlay->go_version);
    free(overlay->path);
    *overlay = (struct overlay){0};
}

/* --- the check after the link
 * --------------------------------------------------------------------------------------------- */

static unsigned count_gates(const uint8_t *code, size_t size)
{
    unsigned count = 0;
    for (const uint8_t *end = code + size;
         (code = memmem(code, (size_t)(end - code), gate_jump, sizeof(gate_jump)));
         code += sizeof(gate_jump))
        count++;
    return count;
}

static const struct overlay_function *find_function(const struct overlay *overlay, const char *name)
{
    for (size_t i = 0; i < overlay->function_count; i++) {
        if (strcmp(overlay->functions[i].name, name) == 0)
            return &overlay->functions[i];
    }
    return NULL;
}

int overlay_verify(const struct overlay *overlay, const struct go_binary *binary)
{
    unsigned total = 0;
    for (size_t i = 0; i < binary->function_count; i++) {
        const struct go_function *function = &binary->functions[i];
        bool verified = false;
        for (size_t j = 0; j < sizeof(verified_prefixes) / sizeof(*verified_prefixes); j++)
            verified |=
                strncmp(function->name, verified_prefixes[j], strlen(verified_prefixes[j])) == 0;
        const struct overlay_function *replaced = find_function(overlay, function->name);
        if (!verified && !replaced)
            continue;
        const uint8_t *code = go_function_code(binary, function);
        /* The table lists an assembly function and its Go wrapper under one name; the wrapper has
         * no gate. */
        unsigned gates = replaced ? count_gates(code, function->size) : 0;
        total += gates;
        if (find_syscalls(code, function->size, NULL, NULL) || (gates && gates != replaced->gates))
            return does_not_fit(function->name,
                                "still enters the kernel by SYSCALL after the build");
    }
    if (!total)
        return does_not_fit(overlay->go_version, "the program does not use the overlay");
    verbose("%u SYSCALLs are jumps through the gate", total);
    return 0;
}
