/* SPDX-License-Identifier: MIT */
/* The CA certificates that a program trusts when it names none: crypto/x509 looks for a bundle of
 * the system's, which a guest has only if it is put there. */
#pragma once

#include <stdbool.h>

/* Whether there are certificates where crypto/x509 looks, in the root file system at `folder`. */
bool roots_present(const char *folder);

/* Copies the build machine's bundle ($SSL_CERT_FILE, or the first where crypto/x509 looks) to
 * etc/ssl/certs/ca-certificates.crt below `folder`. 0, also when the machine has none, or -1 after
 * a message. */
int roots_add(const char *folder);

/* A fresh folder (temporary_directory) with all that is in `files` (NULL: nothing) and the bundle;
 * NULL after a message. */
char *roots_stage(const char *files);
