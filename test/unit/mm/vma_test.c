/* SPDX-License-Identifier: MIT */
/* The VMA tree against a map with one byte for each page: random insertions, removals, splits,
 * merges, and the search for gaps. */
#include <string.h>

#include "core/mm/mm_internal.h"
#include "fakes/check.h"

#define BASE 0x10000ul
#define PAGES 3000u
#define TOP (BASE + PAGES * PAGE_SIZE)

static struct vma_tree tree;
static uint8_t map[PAGES]; /* 0 free, else the prot + 1 of the VMA */

static unsigned check_subtree(const struct vma *node, const struct vma *parent, size_t *gap_max)
{
    if (node == NULL) {
        *gap_max = 0;
        return 0;
    }
    size_t left_gap, right_gap;
    CHECK(node->parent == parent, "parent of %#lx", node->start);
    unsigned left = check_subtree(node->left, node, &left_gap);
    unsigned right = check_subtree(node->right, node, &right_gap);
    CHECK(left <= right + 1 && right <= left + 1, "%#lx is out of balance: %u, %u", node->start,
          left, right);
    CHECK(node->height == (left > right ? left : right) + 1, "height of %#lx", node->start);
    CHECK(node->left == NULL || node->left->start < node->start, "order at %#lx", node->start);
    CHECK(node->right == NULL || node->right->start > node->start, "order at %#lx", node->start);
    size_t gap = node->start - (node->previous != NULL ? node->previous->end : 0);
    gap = left_gap > gap ? left_gap : gap;
    gap = right_gap > gap ? right_gap : gap;
    CHECK(node->gap_max == gap, "largest gap of %#lx is %#lx, not %#lx", node->start, gap,
          node->gap_max);
    *gap_max = gap;
    return node->height;
}

static void check_tree(void)
{
    size_t gap;
    check_subtree(tree.root, NULL, &gap);
    unsigned count = 0;
    const struct vma *previous = NULL;
    uint8_t seen[PAGES] = {0};
    for (const struct vma *vma = tree.first; vma != NULL; vma = vma->next) {
        CHECK(vma->previous == previous && vma->start < vma->end, "list at %#lx", vma->start);
        CHECK(previous == NULL || previous->end <= vma->start, "overlap at %#lx", vma->start);
        memset(&seen[(vma->start - BASE) / PAGE_SIZE], vma->prot + 1,
               (vma->end - vma->start) / PAGE_SIZE);
        previous = vma;
        count++;
    }
    CHECK(tree.last == previous && tree.count == count, "%u in the list, %u counted", count,
          tree.count);
    CHECK(memcmp(seen, map, PAGES) == 0, "the tree does not match the model");
}

static void split_at(uintptr_t address)
{
    struct vma *vma = vma_find(&tree, address);
    if (vma != NULL && vma->start < address) {
        vma_split(&tree, vma, address, malloc(sizeof(*vma)));
    }
}

static void remove_range(uintptr_t start, uintptr_t end)
{
    split_at(start);
    split_at(end);
    struct vma *next;
    for (struct vma *vma = vma_find(&tree, start); vma != NULL && vma->start < end; vma = next) {
        next = vma->next;
        vma_remove(&tree, vma);
        free(vma);
    }
    memset(&map[(start - BASE) / PAGE_SIZE], 0, (end - start) / PAGE_SIZE);
}

static void merge_all(void)
{
    for (struct vma *vma = tree.first; vma != NULL; vma = vma->next) {
        while (vma->next != NULL && vma_can_merge(vma, vma->next)) {
            struct vma *next = vma->next;
            uintptr_t end = next->end;
            vma_remove(&tree, next);
            vma_resize(&tree, vma, vma->start, end);
            free(next);
        }
    }
    for (struct vma *vma = tree.first; vma != NULL && vma->next != NULL; vma = vma->next) {
        CHECK(vma->end != vma->next->start || vma->prot != vma->next->prot, "%#lx was not merged",
              vma->next->start);
    }
}

static void add(uintptr_t start, uintptr_t end, uint8_t prot)
{
    remove_range(start, end);
    struct vma *vma = calloc(1, sizeof(*vma));
    vma->start = start;
    vma->end = end;
    vma->prot = prot;
    vma_insert(&tree, vma);
    memset(&map[(start - BASE) / PAGE_SIZE], prot + 1, (end - start) / PAGE_SIZE);
}

static uintptr_t model_gap(unsigned pages, uintptr_t low, uintptr_t high, size_t align,
                           size_t phase)
{
    for (uintptr_t at = high - pages * PAGE_SIZE; at >= low && at <= high; at -= PAGE_SIZE) {
        if (((at - phase) & (align - 1)) != 0) {
            continue;
        }
        unsigned i = 0;
        while (i < pages && map[(at - BASE) / PAGE_SIZE + i] == 0) {
            i++;
        }
        if (i == pages) {
            return at;
        }
    }
    return 0;
}

static void check_gaps(uint64_t *seed)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned pages = 1 + (unsigned)(test_random(seed) % (i < 2 ? 8 : 80));
        uintptr_t low = BASE + test_random(seed) % 200 * PAGE_SIZE;
        uintptr_t high = TOP - test_random(seed) % 200 * PAGE_SIZE;
        size_t align = PAGE_SIZE << (i % 2 != 0 ? test_random(seed) % 5 : 0);
        size_t phase = test_random(seed) % 16 * PAGE_SIZE & (align - 1);
        uintptr_t expected = model_gap(pages, low, high, align, phase);
        uintptr_t found = vma_find_gap(&tree, pages * PAGE_SIZE, low, high, align, phase);
        CHECK(found == expected, "gap of %u pages, align %#zx+%#zx in %#lx-%#lx: %#lx, not %#lx",
              pages, align, phase, low, high, found, expected);
    }
}

static void check_find(uint64_t *seed)
{
    unsigned page = (unsigned)(test_random(seed) % PAGES);
    uintptr_t address = BASE + page * PAGE_SIZE + 123;
    const struct vma *vma = vma_find(&tree, address);
    bool inside = vma != NULL && vma->start <= address;
    CHECK(inside == (map[page] != 0), "find %#lx", address);
    CHECK(!inside || vma->prot + 1 == map[page], "find %#lx: wrong VMA", address);
    CHECK(vma == NULL || vma->previous == NULL || vma->previous->end <= address,
          "find %#lx: not the first", address);
}

static void test_random_operations(void)
{
    uint64_t seed = 4711;
    for (unsigned i = 0; i < 60000; i++) {
        uint64_t dice = test_random(&seed);
        unsigned most = (i / 5000) % 2 == 0 ? 12 : 200;
        unsigned first = (unsigned)((dice >> 8) % PAGES);
        unsigned pages = 1 + (unsigned)((dice >> 32) % most);
        pages = pages > PAGES - first ? PAGES - first : pages;
        uintptr_t start = BASE + first * PAGE_SIZE, end = start + pages * PAGE_SIZE;
        switch (dice % 8) {
        case 0:
        case 1:
        case 2:
            add(start, end, (uint8_t)((dice >> 4) % 3));
            break;
        case 3:
        case 4:
        case 5:
            remove_range(start, end);
            break;
        case 6:
            split_at(start);
            break;
        default:
            merge_all();
            break;
        }
        check_find(&seed);
        if (i % 16 == 0) {
            check_tree();
            check_gaps(&seed);
        }
    }
    remove_range(BASE, TOP);
    check_tree();
    CHECK(tree.count == 0 && tree.root == NULL, "the tree is not empty");
}

/* A file's VMAs merge only where the file goes on. */
static void test_file_merge(void)
{
    struct file *file = (struct file *)&tree;
    struct vma low = {.start = BASE,
                      .end = BASE + 2 * PAGE_SIZE,
                      .prot = PROT_R,
                      .file = file,
                      .offset = PAGE_SIZE};
    struct vma high = low;
    high.start = low.end;
    high.end = high.start + PAGE_SIZE;
    CHECK(!vma_can_merge(&low, &high), "offsets do not fit");
    high.offset = 3 * PAGE_SIZE;
    CHECK(vma_can_merge(&low, &high), "offsets fit");
    high.flags = VMA_SHARED;
    CHECK(!vma_can_merge(&low, &high), "flags differ");
    vma_insert(&tree, &low);
    struct vma upper;
    vma_split(&tree, &low, BASE + PAGE_SIZE, &upper);
    CHECK(upper.offset == 2 * PAGE_SIZE && low.offset == PAGE_SIZE, "offset %#lx", upper.offset);
    vma_remove(&tree, &low);
    vma_remove(&tree, &upper);
}

/* Ascending and descending insertion are the worst for a tree that does not balance. */
static void test_balance(void)
{
    enum { COUNT = 4096 };
    static struct vma vmas[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        unsigned at = i % 2 != 0 ? i : 2 * COUNT - i;
        vmas[i] = (struct vma){.start = BASE + at * 2 * PAGE_SIZE,
                               .end = BASE + (at * 2 + 1) * PAGE_SIZE};
        vma_insert(&tree, &vmas[i]);
    }
    CHECK(tree.root->height <= 18, "height %u for %d", tree.root->height, COUNT); /* 1.44 log2 n */
    for (unsigned i = 0; i < COUNT; i++) {
        vma_remove(&tree, &vmas[i]);
    }
}

int main(void)
{
    test_random_operations();
    test_file_merge();
    test_balance();
    return 0;
}
