/* SPDX-License-Identifier: MIT */
/* What the consoles of both platforms do for `unigornel run` (goruntime/hostlink.h). No state. */
#include "goruntime/hostlink.h"

#include "core/lib/string.h"
#include "hal/x86_64/x86.h"

void hostlink_write_escaped(const char *bytes, size_t length,
                            void (*write)(const char *bytes, size_t length))
{
    static const char escape = HOSTLINK_ESCAPE;
    while (length > 0) {
        const char *found = memchr(bytes, escape, length);
        size_t piece = found == NULL ? length : (size_t)(found - bytes) + 1;
        write(bytes, piece);
        if (found != NULL) {
            write(&escape, 1);
        }
        bytes += piece;
        length -= piece;
    }
}
