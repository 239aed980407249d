/* SPDX-License-Identifier: MIT */
/* Control messages of AF_UNIX: open files that are sent (SCM_RIGHTS) and credentials. A socket that
 * is itself in a queue is in flight; one to which nothing but queues refer can never be read, so
 * unix_rights_collect looks for such and empties their queues. unix_lock guards the counts and the
 * list of sockets in flight. */
#include <asm/socket.h>

#include "core/fs/fs_internal.h"
#include "core/net/unix_internal.h"
#include "core/syscall/process.h"

static struct list flying = LIST_INIT(flying);
static unsigned flying_count;
static unsigned flying_kept; /* how many were left by the last look */

/* A look takes time for each socket in flight. Few are looked at whenever a socket is closed; of
 * many the looks come as often as their number doubles, so that each costs the same in the end. */
#define FLYING_FEW 64

/* --- sending
 * --------------------------------------------------------------------------------------------------------
 */

static int take_files(const int32_t *fds, unsigned count, struct unix_rights **out)
{
    struct unix_rights *rights = kmalloc(sizeof(*rights) + count * sizeof(void *));
    if (rights == NULL) {
        return -ENOMEM;
    }
    rights->count = 0;
    rights->in_flight = false;
    for (unsigned i = 0; i < count; i++) {
        int result = fd_lookup(fds[i], &rights->files[i]);
        if (result != 0) {
            unix_rights_free(rights);
            return result;
        }
        rights->count++;
    }
    *out = rights;
    return 0;
}

/* There is one process and one user, and nobody who may claim to be another. */
static int check_credentials(const struct control_header *header)
{
    struct unix_credentials credentials;
    if (header->length != sizeof(*header) + sizeof(credentials)) {
        return -EINVAL;
    }
    memcpy(&credentials, header + 1, sizeof(credentials));
    return credentials.pid == PROCESS_ID && credentials.uid == 0 && credentials.gid == 0 ? 0
                                                                                         : -EPERM;
}

int unix_rights_parse(const struct socket_message *message, struct unix_rights **rights)
{
    const struct control_header *header = NULL;
    int result = 0;
    *rights = NULL;
    while (result == 0 && (header = control_next(message, header, &result)) != NULL) {
        if (header->level != SOL_SOCKET) {
            continue;
        }
        size_t count = (header->length - sizeof(*header)) / sizeof(int32_t);
        if (header->type == SCM_CREDENTIALS) {
            result = check_credentials(header);
        } else if (header->type != SCM_RIGHTS || count > RIGHTS_MAX || *rights != NULL) {
            result = -EINVAL;
        } else if (count != 0) {
            result = take_files((const int32_t *)(header + 1), (unsigned)count, rights);
        }
    }
    if (result != 0) {
        unix_rights_free(*rights);
        *rights = NULL;
    }
    return result;
}

void unix_rights_free(struct unix_rights *rights)
{
    for (unsigned i = 0; rights != NULL && i < rights->count; i++) {
        file_put(rights->files[i]);
    }
    kfree(rights);
}

/* --- receiving
 * ------------------------------------------------------------------------------------------------------
 */

void unix_rights_receive(struct unix_rights *rights, struct socket_message *to)
{
    int32_t fds[RIGHTS_MAX];
    if (rights == NULL) {
        return;
    }
    size_t left = to->control_room - to->control_length;
    size_t room = left < sizeof(struct control_header)
                      ? 0
                      : (left - sizeof(struct control_header)) / sizeof(fds[0]);
    unsigned count = 0;
    for (; count < MIN(rights->count, room); count++) {
        fds[count] = fd_install(file_get(rights->files[count]),
                                (to->flags & (unsigned)MSG_CMSG_CLOEXEC) != 0, 0);
        if (fds[count] < 0) {
            break;
        }
    }
    if (count != 0) {
        (void)control_put(to, SOL_SOCKET, SCM_RIGHTS, fds, count * sizeof(fds[0]));
    }
    if (count < rights->count) {
        to->result_flags |= MSG_CTRUNC;
    }
}

/* --- in flight
 * ------------------------------------------------------------------------------------------------------
 */

static struct unix_socket *unix_of_file(struct file *file)
{
    struct socket *socket = socket_of_file(file);
    return socket != NULL && socket->domain == AF_UNIX ? (struct unix_socket *)socket : NULL;
}

void unix_rights_sent(struct unix_rights *rights)
{
    if (rights == NULL) {
        return;
    }
    rights->in_flight = true;
    for (unsigned i = 0; i < rights->count; i++) {
        struct unix_socket *end = unix_of_file(rights->files[i]);
        if (end != NULL && end->in_flight++ == 0) {
            end->file = rights->files[i];
            list_push_back(&flying, &end->flight_node);
            flying_count++;
        }
    }
}

void unix_rights_landed(struct unix_rights *rights)
{
    if (rights == NULL || !rights->in_flight) {
        return;
    }
    rights->in_flight = false;
    for (unsigned i = 0; i < rights->count; i++) {
        struct unix_socket *end = unix_of_file(rights->files[i]);
        if (end != NULL && --end->in_flight == 0) {
            end->file = NULL;
            list_remove(&end->flight_node);
            flying_count--;
        }
    }
}

/* Adds `step` to what is unexplained of each candidate in the queues of one socket, and of the
 * connections that wait in it. */
static void scan(struct unix_socket *end, unsigned step)
{
    list_for_each (node, &end->messages) {
        struct unix_rights *rights = list_entry(node, struct unix_message, node)->rights;
        for (unsigned i = 0; rights != NULL && i < rights->count; i++) {
            struct unix_socket *inner = unix_of_file(rights->files[i]);
            if (inner != NULL && inner->candidate) {
                inner->unexplained += step;
            }
        }
    }
    list_for_each (node, &end->pending) {
        scan(list_entry(node, struct unix_socket, pending_node), step);
    }
}

static void take_queues(struct unix_socket *end, struct list *messages)
{
    unix_take_messages(end, messages);
    list_for_each (node, &end->pending) {
        take_queues(list_entry(node, struct unix_socket, pending_node), messages);
    }
}

/* A candidate is a socket whose file is held by queues only. References from queues of candidates
 * explain nothing; a candidate with any other is reachable, and so is what lies in its queue. */
void unix_rights_collect(void)
{
    struct list messages = LIST_INIT(messages);
    spin_lock(&unix_lock);
    if (flying_count > FLYING_FEW && flying_count / 2 < flying_kept) {
        spin_unlock(&unix_lock);
        return;
    }
    list_for_each (node, &flying) {
        struct unix_socket *end = list_entry(node, struct unix_socket, flight_node);
        end->candidate =
            __atomic_load_n(&end->file->references, __ATOMIC_ACQUIRE) == end->in_flight;
        end->scanned = false;
        end->unexplained = end->in_flight;
    }
    list_for_each (node, &flying) {
        struct unix_socket *end = list_entry(node, struct unix_socket, flight_node);
        if (end->candidate) {
            scan(end, -1u);
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        list_for_each (node, &flying) {
            struct unix_socket *end = list_entry(node, struct unix_socket, flight_node);
            if (end->candidate && end->unexplained != 0 && !end->scanned) {
                end->scanned = changed = true;
                scan(end, 1);
            }
        }
    }
    /* Emptying one queue takes others off the list: start over each time. */
    for (bool changed = true; changed;) {
        changed = false;
        list_for_each (node, &flying) {
            struct unix_socket *end = list_entry(node, struct unix_socket, flight_node);
            if (end->candidate && !end->scanned) {
                end->candidate = false;
                take_queues(end, &messages);
                changed = true;
                break;
            }
        }
    }
    flying_kept = flying_count;
    spin_unlock(&unix_lock);
    unix_messages_free(&messages);
}
