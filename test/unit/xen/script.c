/* SPDX-License-Identifier: MIT */
/* script.h */
#include "script.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/check.h"

#define LINES 64
#define WORDS 96

struct script {
    unsigned count;
    char words[WORDS][SCRIPT_WORD_MAX];
};

static struct script scripts[LINES], now;
static unsigned script_count;

static void load(const char *path)
{
    static char line[8192];
    FILE *file = fopen(path, "r");
    CHECK(file != NULL, "%s", path);
    script_count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        struct script *script = &scripts[script_count];
        script->count = 0;
        for (char *word = strtok(line, " \n"); word != NULL && word[0] != '#';
             word = strtok(NULL, " \n")) {
            CHECK(script->count < WORDS && strlen(word) < SCRIPT_WORD_MAX);
            strcpy(script->words[script->count++], word);
        }
        script_count += script->count != 0;
        CHECK(script_count < LINES);
    }
    fclose(file);
    CHECK(script_count != 0);
}

static const char *any_number(uint64_t *seed)
{
    static const char *const numbers[] = {"0",
                                          "1",
                                          "2",
                                          "-1",
                                          "3",
                                          "255",
                                          "256",
                                          "257",
                                          "32767",
                                          "32768",
                                          "65535",
                                          "65536",
                                          "2147483647",
                                          "2147483648",
                                          "",
                                          "x",
                                          "4 4",
                                          "4294967295",
                                          "4294967296",
                                          "0x4",
                                          "18446744073709551615",
                                          "7",
                                          "4095",
                                          "4096",
                                          "4097",
                                          "123456789012345678901234"};
    return numbers[test_random(seed) % (sizeof(numbers) / sizeof(numbers[0]))];
}

static void change_number(char *word, uint64_t *seed)
{
    char *number = strpbrk(word, "=:+0123456789");
    if (number != NULL) {
        number += *number < '0' || *number > '9';
        snprintf(number, SCRIPT_WORD_MAX - (size_t)(number - word), "%s", any_number(seed));
    }
}

static void insert(unsigned at, const char *word)
{
    if (now.count < WORDS) {
        char copy[SCRIPT_WORD_MAX];
        strcpy(copy, word);
        memmove(now.words[at + 1], now.words[at], (now.count - at) * SCRIPT_WORD_MAX);
        strcpy(now.words[at], copy);
        now.count++;
    }
}

static void change(uint64_t *seed)
{
    unsigned at = (unsigned)(test_random(seed) % now.count);
    unsigned other = (unsigned)(test_random(seed) % now.count);
    const struct script *from = &scripts[test_random(seed) % script_count];
    char swapped[SCRIPT_WORD_MAX];
    switch (test_random(seed) % 6) {
    case 0:
        if (now.count > 1) {
            now.count--;
            memmove(now.words[at], now.words[at + 1], (now.count - at) * SCRIPT_WORD_MAX);
        }
        break;
    case 1:
        insert(at, now.words[other]);
        break;
    case 2:
        memcpy(swapped, now.words[at], sizeof(swapped));
        memmove(now.words[at], now.words[other], sizeof(swapped));
        memcpy(now.words[other], swapped, sizeof(swapped));
        break;
    case 3:
        insert(at, from->words[test_random(seed) % from->count]);
        break;
    default:
        change_number(now.words[at], seed);
        break;
    }
}

/* Whatever ends the process on the way, this tells by what script. */
static void print(void)
{
    fprintf(stderr, "the script:");
    for (unsigned i = 0; i < now.count; i++) {
        fprintf(stderr, " %s", now.words[i]);
    }
    fputc('\n', stderr);
}

static void at_exit(void)
{
    if (now.count != 0) {
        print();
    }
}

void __asan_on_error(void);
void __asan_on_error(void)
{
    at_exit();
}

static void play(const struct script_player *player)
{
    player->begin();
    for (unsigned i = 0; i < now.count; i++) {
        player->step(now.words[i]);
    }
    player->end();
}

void script_play_all(const char *path, const struct script_player *player, unsigned rounds,
                     uint64_t *seed)
{
    static bool registered;
    load(path);
    if (!registered) {
        registered = true;
        atexit(at_exit);
    }
    for (unsigned i = 0; i < script_count + rounds; i++) {
        now = scripts[i < script_count ? i : test_random(seed) % script_count];
        for (uint64_t n = i < script_count ? 0 : 1 + test_random(seed) % 6; n != 0; n--) {
            change(seed);
        }
        play(player);
    }
    now.count = 0;
}

bool script_number(const char *word, const char *prefix, int64_t *number)
{
    size_t length = strlen(prefix);
    if (strncmp(word, prefix, length) != 0) {
        return false;
    }
    *number = strtoll(word + length, NULL, 0);
    return true;
}
