/* SPDX-License-Identifier: MIT */
/* Kept inputs for what comes from other domains: a file with a script in each line, a script being
 * words of which each is a step. They are played as they are, and then changed at random: words go,
 * come twice, change places, come from other scripts, and have other numbers in them. The run
 * repeats: same seed, same scripts. What was found by a run is kept by adding its line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SCRIPT_WORD_MAX 64

/* Plays the scripts of the file, and then `rounds` that are changed. `play` is called for the words
 * of one between begin and end. A script that fails is printed by script_print. */
struct script_player {
    void (*begin)(void);
    void (*step)(const char *word);
    void (*end)(void);
};
void script_play_all(const char *path, const struct script_player *player, unsigned rounds,
                     uint64_t *seed);

/* The number behind `prefix`, if the word begins with it. */
bool script_number(const char *word, const char *prefix, int64_t *number);
