/* SPDX-License-Identifier: MIT */
/* The guest's command line: what is quoted comes back as it was, through the same rules as
 * core/options.c has. */
#include <stdlib.h>
#include <string.h>

#include "test/unit/tools/errors.h"
#include "tools/run.h"

static const char *const words[] = {"plain",     "",   "two words", "\"", "\\",       "a\\\"b c",
                                    "tab\there", "--", "x=\"y\"",   "'",  "line\nend"};
#define WORDS (sizeof(words) / sizeof(*words))

int main(void)
{
    struct machine machine = {.kind = "microvm"};
    arguments_add(&machine.kernel_words, "env.A=b c");
    arguments_add(&machine.kernel_words, "log=debug");
    for (size_t i = 0; i < WORDS; i++)
        arguments_add(&machine.program_words, words[i]);
    char *line = guest_command_line(&machine);
    struct arguments kernel = {0}, program = {0};
    EXPECT(parse_guest_line(line, &kernel, &program) == 0);
    EXPECT(kernel.count == 2 && strcmp(kernel.items[0], "env.A=b c") == 0 &&
           strcmp(kernel.items[1], "log=debug") == 0);
    EXPECT(program.count == WORDS);
    for (size_t i = 0; i < WORDS && i < program.count; i++)
        EXPECT(strcmp(program.items[i], words[i]) == 0);
    EXPECT(failed_with(parse_guest_line("a \"b", &kernel, &program), "quote"));
    free(line);
    arguments_free(&kernel);
    arguments_free(&program);
    arguments_free(&machine.kernel_words);
    arguments_free(&machine.program_words);
    return 0;
}
