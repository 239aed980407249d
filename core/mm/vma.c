/* SPDX-License-Identifier: MIT */
/* The tree of VMAs: an AVL tree by address, with a list through it in order. Each node knows the
 * largest gap in front of a VMA of its subtree, so that room for a mapping is found in O(log n).
 * Knows nothing of pages; vm.lock guards it. */
#include "core/mm/mm_internal.h"

static unsigned height(const struct vma *node)
{
    return node != NULL ? node->height : 0;
}

static size_t gap_before(const struct vma *vma)
{
    return vma->start - (vma->previous != NULL ? vma->previous->end : 0);
}

/* Brings what `node` knows of its subtree up to date; whether that changed. */
static bool update(struct vma *node)
{
    unsigned left = height(node->left), right = height(node->right);
    uint8_t new_height = (uint8_t)((left > right ? left : right) + 1);
    size_t gap = gap_before(node);
    if (node->left != NULL && node->left->gap_max > gap) {
        gap = node->left->gap_max;
    }
    if (node->right != NULL && node->right->gap_max > gap) {
        gap = node->right->gap_max;
    }
    bool changed = gap != node->gap_max || new_height != node->height;
    node->gap_max = gap;
    node->height = new_height;
    return changed;
}

static void replace_child(struct vma_tree *tree, struct vma *parent, struct vma *old,
                          struct vma *new)
{
    if (parent == NULL) {
        tree->root = new;
    } else if (parent->left == old) {
        parent->left = new;
    } else {
        parent->right = new;
    }
    if (new != NULL) {
        new->parent = parent;
    }
}

static struct vma *rotate_left(struct vma_tree *tree, struct vma *node)
{
    struct vma *top = node->right;
    replace_child(tree, node->parent, node, top);
    node->right = top->left;
    if (node->right != NULL) {
        node->right->parent = node;
    }
    top->left = node;
    node->parent = top;
    update(node);
    update(top);
    return top;
}

static struct vma *rotate_right(struct vma_tree *tree, struct vma *node)
{
    struct vma *top = node->left;
    replace_child(tree, node->parent, node, top);
    node->left = top->right;
    if (node->left != NULL) {
        node->left->parent = node;
    }
    top->right = node;
    node->parent = top;
    update(node);
    update(top);
    return top;
}

/* Restores balance and knowledge from `node` up to the root. */
static void rebalance(struct vma_tree *tree, struct vma *node)
{
    while (node != NULL) {
        update(node);
        unsigned left = height(node->left), right = height(node->right);
        if (left > right + 1) {
            if (height(node->left->right) > height(node->left->left)) {
                rotate_left(tree, node->left);
            }
            node = rotate_right(tree, node);
        } else if (right > left + 1) {
            if (height(node->right->left) > height(node->right->right)) {
                rotate_right(tree, node->right);
            }
            node = rotate_left(tree, node);
        }
        node = node->parent;
    }
}

/* The gap in front of `node` has changed. */
static void update_gap(struct vma *node)
{
    while (node != NULL && update(node)) {
        node = node->parent;
    }
}

struct vma *vma_find(const struct vma_tree *tree, uintptr_t address)
{
    struct vma *node = tree->root, *best = NULL;
    while (node != NULL) {
        if (address < node->end) {
            best = node;
            if (address >= node->start) {
                break;
            }
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

static void count_size(struct vma_tree *tree, size_t more)
{
    tree->size += more;
    tree->peak = tree->size > tree->peak ? tree->size : tree->peak;
}

void vma_insert(struct vma_tree *tree, struct vma *vma)
{
    struct vma *parent = NULL, *previous = NULL, *next = NULL;
    for (struct vma *node = tree->root; node != NULL;) {
        parent = node;
        if (vma->start < node->start) {
            next = node;
            node = node->left;
        } else {
            previous = node;
            node = node->right;
        }
    }
    vma->left = vma->right = NULL;
    vma->parent = parent;
    vma->previous = previous;
    vma->next = next;
    *(previous != NULL ? &previous->next : &tree->first) = vma;
    *(next != NULL ? &next->previous : &tree->last) = vma;
    if (parent == NULL) {
        tree->root = vma;
    } else if (vma->start < parent->start) {
        parent->left = vma;
    } else {
        parent->right = vma;
    }
    tree->count++;
    count_size(tree, vma->end - vma->start);
    vma->height = 0;
    rebalance(tree, vma);
    update_gap(next);
}

void vma_remove(struct vma_tree *tree, struct vma *vma)
{
    struct vma *next = vma->next, *lowest_changed;
    *(vma->previous != NULL ? &vma->previous->next : &tree->first) = next;
    *(next != NULL ? &next->previous : &tree->last) = vma->previous;
    if (vma->left == NULL || vma->right == NULL) {
        lowest_changed = vma->parent;
        replace_child(tree, vma->parent, vma, vma->left != NULL ? vma->left : vma->right);
    } else {
        /* `next` is the leftmost of the right subtree: it takes the place. */
        lowest_changed = next->parent != vma ? next->parent : next;
        if (next->parent != vma) {
            replace_child(tree, next->parent, next, next->right);
            next->right = vma->right;
            next->right->parent = next;
        }
        next->left = vma->left;
        next->left->parent = next;
        replace_child(tree, vma->parent, vma, next);
        next->height = vma->height;
    }
    tree->count--;
    tree->size -= vma->end - vma->start;
    rebalance(tree, lowest_changed);
    update_gap(next);
}

void vma_resize(struct vma_tree *tree, struct vma *vma, uintptr_t start, uintptr_t end)
{
    count_size(tree, (end - start) - (vma->end - vma->start));
    vma->start = start;
    vma->end = end;
    update_gap(vma);
    update_gap(vma->next);
}

void vma_split(struct vma_tree *tree, struct vma *vma, uintptr_t address, struct vma *upper)
{
    *upper = *vma;
    upper->start = address;
    upper->offset = vma->file != NULL ? vma_file_offset(vma, address) : 0;
    vma_resize(tree, vma, vma->start, address);
    vma_insert(tree, upper);
}

bool vma_can_merge(const struct vma *lower, const struct vma *upper)
{
    return lower->end == upper->start && lower->prot == upper->prot &&
           lower->flags == upper->flags && lower->file == upper->file &&
           lower->name == upper->name && (lower->flags & VMA_PINNED) == 0 &&
           (lower->file == NULL || vma_file_offset(lower, lower->end) == upper->offset);
}

/* The highest place for `size` bytes in a gap, or 0. */
static uintptr_t place_in(uintptr_t gap_start, uintptr_t gap_end, size_t size, uintptr_t low,
                          uintptr_t high, size_t align, size_t phase)
{
    gap_start = gap_start > low ? gap_start : low;
    gap_end = gap_end < high ? gap_end : high;
    if (gap_end < gap_start || gap_end - gap_start < size) {
        return 0;
    }
    uintptr_t address = gap_end - size;
    address -= (address - phase) & (align - 1);
    return address >= gap_start && address <= gap_end - size ? address : 0;
}

static uintptr_t find_gap_in(const struct vma *node, size_t size, uintptr_t low, uintptr_t high,
                             size_t align, size_t phase)
{
    if (node == NULL || node->gap_max < size) {
        return 0;
    }
    uintptr_t found = 0;
    if (node->end < high) {
        found = find_gap_in(node->right, size, low, high, align, phase);
    }
    uintptr_t gap_start = node->previous != NULL ? node->previous->end : 0;
    if (found == 0) {
        found = place_in(gap_start, node->start, size, low, high, align, phase);
    }
    if (found == 0 && gap_start > low) {
        found = find_gap_in(node->left, size, low, high, align, phase);
    }
    return found;
}

uintptr_t vma_find_gap(const struct vma_tree *tree, size_t size, uintptr_t low, uintptr_t high,
                       size_t align, size_t phase)
{
    uintptr_t last_end = tree->last != NULL ? tree->last->end : 0;
    uintptr_t found = place_in(last_end, USER_END, size, low, high, align, phase);
    return found != 0 ? found : find_gap_in(tree->root, size, low, high, align, phase);
}
