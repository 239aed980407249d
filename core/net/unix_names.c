/* SPDX-License-Identifier: MIT */
/* The names of AF_UNIX sockets: who is bound to which inode or abstract name. A table of lists
 * under unix_lock. */
#include <linux/stat.h>
#include <linux/un.h>

#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/net/unix_internal.h"

#define BUCKETS 64
#define PREFIX sizeof(((union socket_address *)NULL)->family)
#define AUTOBIND_NAMES (1u << 20) /* unix(7): a NUL and five hexadecimal digits */

static struct list buckets[BUCKETS];

static struct list *bucket(uint64_t hash)
{
    struct list *list = &buckets[(hash * 0x9e3779b97f4a7c15ull) >> 58];
    if (list->next == NULL) {
        list_init(list);
    }
    return list;
}

static struct list *bucket_of_inode(const struct inode *inode)
{
    return bucket((uintptr_t)inode);
}

static struct list *bucket_of_bytes(const uint8_t *bytes, unsigned length)
{
    uint64_t hash = length;
    for (unsigned i = 0; i < length; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    }
    return bucket(hash);
}

struct unix_name *unix_name_get(struct unix_name *name)
{
    if (name != NULL) {
        __atomic_add_fetch(&name->references, 1, __ATOMIC_RELAXED);
    }
    return name;
}

void unix_name_put(struct unix_name *name)
{
    if (name != NULL && __atomic_sub_fetch(&name->references, 1, __ATOMIC_ACQ_REL) == 0) {
        kfree(name);
    }
}

int unix_name_show(const struct unix_name *name, union socket_address *address)
{
    address->family = AF_UNIX;
    if (name == NULL) {
        return PREFIX;
    }
    memcpy(address, &name->address, sizeof(*address));
    return (int)name->length;
}

/* Which of the sockets has it. unix_lock held. */
static struct unix_socket *find_abstract(const uint8_t *bytes, unsigned length)
{
    list_for_each (node, bucket_of_bytes(bytes, length)) {
        struct unix_socket *end = list_entry(node, struct unix_socket, name_node);
        if (end->inode == NULL && end->name->length == length + PREFIX &&
            memcmp(end->name->address.bytes + PREFIX, bytes, length) == 0) {
            return end;
        }
    }
    return NULL;
}

static struct unix_socket *find_inode(const struct inode *inode)
{
    list_for_each (node, bucket_of_inode(inode)) {
        struct unix_socket *end = list_entry(node, struct unix_socket, name_node);
        if (end->inode == inode) {
            return end;
        }
    }
    return NULL;
}

/* Whether it is an address of this family; the path in it, if it is one, ends with a NUL in `path`.
 */
static int check_address(const union socket_address *address, unsigned length,
                         char path[UNIX_PATH_MAX + 1])
{
    if (length < PREFIX || length > sizeof(struct sockaddr_un) || address->family != AF_UNIX) {
        return -EINVAL;
    }
    memcpy(path, address->bytes + PREFIX, length - PREFIX);
    path[length - PREFIX] = '\0';
    return 0;
}

int unix_name_find(const union socket_address *address, unsigned length, struct unix_socket **out)
{
    char path[UNIX_PATH_MAX + 1];
    struct inode *inode = NULL;
    int result = check_address(address, length, path);
    if (result == 0 && length == PREFIX) {
        result = -EINVAL;
    }
    if (result == 0 && path[0] != '\0') {
        result = socket_node_find(path, &inode);
    }
    if (result != 0) {
        return result;
    }
    spin_lock(&unix_lock);
    struct unix_socket *end =
        inode != NULL ? find_inode(inode)
                      : find_abstract(address->bytes + PREFIX, length - (unsigned)PREFIX);
    if (end != NULL) {
        __atomic_add_fetch(&end->references, 1, __ATOMIC_RELAXED);
    }
    spin_unlock(&unix_lock);
    if (inode != NULL) {
        inode_put(inode);
    }
    *out = end;
    return end == NULL ? -ECONNREFUSED : 0;
}

/* Puts the socket into the table; takes over name and inode, also when it fails. */
static int publish(struct unix_socket *end, struct unix_name *name, struct inode *inode)
{
    const uint8_t *bytes = name->address.bytes + PREFIX;
    unsigned length = name->length - (unsigned)PREFIX;
    int result = 0;
    spin_lock(&unix_lock);
    if (end->name != NULL) {
        result = -EINVAL;
    } else if (inode == NULL && find_abstract(bytes, length) != NULL) {
        result = -EADDRINUSE;
    } else {
        end->name = name;
        end->inode = inode;
        list_push_back(inode != NULL ? bucket_of_inode(inode) : bucket_of_bytes(bytes, length),
                       &end->name_node);
    }
    spin_unlock(&unix_lock);
    if (result != 0) {
        unix_name_put(name);
        if (inode != NULL) {
            inode_put(inode);
        }
    }
    return result;
}

static struct unix_name *name_new(const union socket_address *address, unsigned length)
{
    struct unix_name *name = kmalloc(sizeof(*name));
    if (name != NULL) {
        name->references = 1;
        name->length = length;
        name->address = *address;
    }
    return name;
}

static int bind_automatic(struct unix_socket *end)
{
    static unsigned next; /* a place to start looking from; racing for it does no harm */
    union socket_address address = {.family = AF_UNIX};
    char digits[8];
    int result = -ENOSPC;
    for (unsigned i = 0; i < AUTOBIND_NAMES; i++) {
        format(digits, sizeof(digits), "%05x",
               __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED) % AUTOBIND_NAMES);
        memcpy(address.bytes + PREFIX + 1, digits, 5);
        struct unix_name *name = name_new(&address, PREFIX + 6);
        result = name == NULL ? -ENOMEM : publish(end, name, NULL);
        if (result != -EADDRINUSE) {
            break;
        }
    }
    return result == -EINVAL ? 0 : result; /* somebody else has just bound it */
}

int unix_name_bind(struct unix_socket *end, const union socket_address *address, unsigned length)
{
    char path[UNIX_PATH_MAX + 1];
    struct inode *inode = NULL;
    int result = check_address(address, length, path);
    if (result != 0) {
        return result;
    }
    if (length == PREFIX) {
        return bind_automatic(end);
    }
    if (end->name != NULL) {
        return -EINVAL;
    }
    if (path[0] != '\0') {
        length = (unsigned)(PREFIX + strlen(path) + 1);
        result = socket_node_make(path, 0777, &inode);
        if (result != 0) {
            return result == -EEXIST ? -EADDRINUSE : result;
        }
    }
    struct unix_name *name = name_new(address, length);
    if (name == NULL) {
        if (inode != NULL) {
            inode_put(inode);
        }
        return -ENOMEM;
    }
    return publish(end, name, inode);
}
