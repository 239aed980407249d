/* SPDX-License-Identifier: MIT */
/* Kernel memory. Objects up to SMALL_MAX come from slabs: pages that begin with a struct slab, so
 * an object finds its slab by rounding its address down, and is never page-aligned. Larger ones are
 * whole pages, always page-aligned; a hash table knows how many, and what the buddy allocator gave
 * beyond that goes back at once. Each class has a lock for its slabs, large.lock guards the table;
 * the free lists of each CPU are guarded by masked interrupts. No lock is held while pages are
 * asked for, since that may call shrinkers, and those kfree. */
#include "core/mm/kmalloc.h"

#include "core/lib/list.h"
#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/mm_internal.h"
#include "core/mm/page.h"
#include "hal.h"

#define SLAB_HEADER 64
#define GRANULE 16
#define SMALL_MAX 1984
#define CACHE_BYTES 4096 /* what a CPU keeps of each class */
#define CACHE_OBJECTS 32
#define FIRST_BUCKETS 32
#define OBJECTS_PER_BUCKET 4

/* As many as fit behind the header in steps of 64 bytes, so that little of a page is lost. */
static const uint16_t class_sizes[] = {16,  32,  48,  64,  128, 192,  256,
                                       320, 448, 576, 768, 960, 1344, SMALL_MAX};
#define CLASSES (sizeof(class_sizes) / sizeof(class_sizes[0]))

struct slab {
    struct list node; /* in size_class.partial while something is free */
    void *free;       /* objects given back, each begins with the next */
    uint16_t in_use;  /* objects handed out, to CPUs' lists too */
    uint16_t carved;  /* objects that were ever handed out */
    uint16_t capacity;
    uint8_t class_index;
    bool listed;
};
_Static_assert(sizeof(struct slab) <= SLAB_HEADER, "the slab's header");

struct size_class {
    struct spinlock lock;
    struct list partial; /* lock */
};

struct object_cache {
    void *head;
    uint32_t count;
};

struct large_object {
    struct large_object *next;
    uintptr_t address;
    uint64_t pages;
};

static struct size_class classes[CLASSES];
static uint8_t class_of[SMALL_MAX / GRANULE + 1]; /* by size in granules, rounded up */
static struct object_cache boot_cache[CLASSES];
static struct object_cache *caches[HAL_MAX_CPUS] = {
    boot_cache}; /* NULL: that CPU has allocated nothing yet */

static struct large_object *first_buckets[FIRST_BUCKETS];
static struct {
    struct spinlock lock;
    struct large_object **buckets;
    uint64_t mask; /* their number less one */
    uint64_t count;
} large;

void kmalloc_init(void)
{
    unsigned granules = 0;
    for (unsigned i = 0; i < CLASSES; i++) {
        spinlock_init(&classes[i].lock, LOCK_KMALLOC);
        list_init(&classes[i].partial);
        while (granules * GRANULE <= class_sizes[i]) {
            class_of[granules++] = (uint8_t)i;
        }
    }
    spinlock_init(&large.lock, LOCK_KMALLOC);
    large.buckets = first_buckets;
    large.mask = FIRST_BUCKETS - 1;
}

/* --- slabs ----------------------------------------------------------------------------------- */

static inline struct slab *slab_of(void *object)
{
    return (struct slab *)((uintptr_t)object & ~(PAGE_SIZE - 1));
}

static uint32_t cache_limit(unsigned class_index)
{
    uint32_t limit = CACHE_BYTES / class_sizes[class_index];
    return limit < CACHE_OBJECTS ? limit : CACHE_OBJECTS;
}

/* An object of a slab with room. Class lock held. */
static void *slab_take(struct slab *slab)
{
    void *object = slab->free;
    if (object != NULL) {
        slab->free = *(void **)object;
    } else {
        object = (char *)slab + SLAB_HEADER + slab->carved * class_sizes[slab->class_index];
        slab->carved++;
    }
    slab->in_use++;
    if (slab->in_use == slab->capacity) {
        list_remove(&slab->node);
        slab->listed = false;
    }
    return object;
}

/* Returns the slab when it is to be freed. Class lock held. */
static struct slab *slab_give(struct size_class *class, void *object)
{
    struct slab *slab = slab_of(object);
    *(void **)object = slab->free;
    slab->free = object;
    slab->in_use--;
    if (!slab->listed) {
        list_push_front(&class->partial, &slab->node);
        slab->listed = true;
    }
    bool only_one = class->partial.next == class->partial.prev;
    if (slab->in_use != 0 || only_one) {
        return NULL;
    }
    list_remove(&slab->node);
    return slab;
}

static struct slab *slab_create(unsigned class_index)
{
    uint64_t page = page_alloc(0, 0);
    if (page == 0) {
        return NULL;
    }
    struct slab *slab = direct_map(page);
    slab->free = NULL;
    slab->in_use = 0;
    slab->carved = 0;
    slab->capacity = (uint16_t)((PAGE_SIZE - SLAB_HEADER) / class_sizes[class_index]);
    slab->class_index = (uint8_t)class_index;
    slab->listed = true;
    return slab;
}

/* One object, and up to `more` others into `cache`. Interrupts masked. */
static void *class_take(unsigned class_index, struct object_cache *cache, uint32_t more)
{
    struct size_class *class = &classes[class_index];
    spin_lock(&class->lock);
    if (list_empty(&class->partial)) {
        spin_unlock(&class->lock);
        struct slab *slab = slab_create(class_index);
        if (slab == NULL) {
            return NULL;
        }
        spin_lock(&class->lock);
        list_push_front(&class->partial, &slab->node);
    }
    void *object = slab_take(list_entry(class->partial.next, struct slab, node));
    while (more > 0 && !list_empty(&class->partial)) {
        void *extra = slab_take(list_entry(class->partial.next, struct slab, node));
        *(void **)extra = cache->head;
        cache->head = extra;
        cache->count++;
        more--;
    }
    spin_unlock(&class->lock);
    return object;
}

/* Gives objects of the cache back until `keep` are left. Interrupts masked. */
static void class_give(unsigned class_index, struct object_cache *cache, uint32_t keep)
{
    struct size_class *class = &classes[class_index];
    struct slab *empty = NULL; /* linked through `free` */
    spin_lock(&class->lock);
    while (cache->count > keep) {
        void *object = cache->head;
        cache->head = *(void **)object;
        cache->count--;
        struct slab *slab = slab_give(class, object);
        if (slab != NULL) {
            slab->free = empty;
            empty = slab;
        }
    }
    spin_unlock(&class->lock);
    while (empty != NULL) {
        struct slab *slab = empty;
        empty = slab->free;
        page_free(direct_map_physical(slab), 0);
    }
}

/* The cache is empty, or the CPU has none yet. Interrupts masked. */
static void *small_alloc_slowly(unsigned class_index, unsigned cpu)
{
    if (caches[cpu] == NULL) {
        struct object_cache *made =
            class_take(class_of[(sizeof(boot_cache) + GRANULE - 1) / GRANULE], NULL, 0);
        if (made == NULL) {
            return class_take(class_index, NULL, 0);
        }
        memset(made, 0, sizeof(boot_cache));
        caches[cpu] = made;
    }
    return class_take(class_index, &caches[cpu][class_index], cache_limit(class_index) / 2);
}

static void small_free(void *object)
{
    unsigned class_index = slab_of(object)->class_index;
    bool irq = hal_irq_save();
    struct object_cache *cache = caches[hal_this_cpu()->id];
    if (__builtin_expect(cache == NULL, 0)) {
        *(void **)object = NULL;
        struct object_cache one = {object, 1};
        class_give(class_index, &one, 0);
    } else {
        cache += class_index;
        *(void **)object = cache->head;
        cache->head = object;
        cache->count++;
        if (cache->count > cache_limit(class_index)) {
            class_give(class_index, cache, cache->count / 2);
        }
    }
    hal_irq_restore(irq);
}

/* --- whole pages ----------------------------------------------------------------------------- */

static struct large_object **large_bucket(uintptr_t address)
{
    uint64_t hash =
        (address >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ul; /* 2^64 divided by the golden ratio */
    return &large.buckets[(hash >> 32) & large.mask];
}

/* Makes the table larger when its chains get long; that may fail, then they stay long. No lock
 * held. */
static void large_grow(void)
{
    uint64_t old_count = large.mask + 1;
    uint64_t new_count = old_count == FIRST_BUCKETS ? PAGE_SIZE / sizeof(void *) : old_count * 2;
    unsigned order = (unsigned)__builtin_ctzll(new_count * sizeof(void *) / PAGE_SIZE);
    uint64_t pages = page_alloc(order, PAGE_ZERO);
    if (pages == 0) {
        return;
    }
    bool irq = spin_lock_irqsave(&large.lock);
    struct large_object **old = large.buckets;
    if (large.mask + 1 != old_count) {
        spin_unlock_irqrestore(&large.lock, irq); /* another CPU was first */
        page_free(pages, order);
        return;
    }
    large.buckets = direct_map(pages);
    large.mask = new_count - 1;
    for (uint64_t i = 0; i < old_count; i++) {
        for (struct large_object *object = old[i], *next; object != NULL; object = next) {
            next = object->next;
            struct large_object **bucket = large_bucket(object->address);
            object->next = *bucket;
            *bucket = object;
        }
    }
    spin_unlock_irqrestore(&large.lock, irq);
    if (old != first_buckets) {
        page_free_run(direct_map_physical(old), old_count * sizeof(void *) / PAGE_SIZE);
    }
}

static void *large_alloc(size_t size)
{
    if (size > PAGE_SIZE << PAGE_MAX_ORDER) {
        return NULL;
    }
    uint64_t pages = (size + PAGE_SIZE - 1) >> PAGE_SHIFT;
    unsigned order = pages == 1 ? 0 : 64 - (unsigned)__builtin_clzll(pages - 1);
    struct large_object *object = kmalloc(sizeof(*object));
    uint64_t physical = object != NULL ? page_alloc(order, 0) : 0;
    if (physical == 0) {
        kfree(object);
        return NULL;
    }
    if (pages != 1ull << order) {
        page_free_run(physical + (pages << PAGE_SHIFT), (1ull << order) - pages);
    }
    object->address = (uintptr_t)direct_map(physical);
    object->pages = pages;
    uintptr_t address = object->address;
    bool irq = spin_lock_irqsave(&large.lock);
    struct large_object **bucket = large_bucket(address);
    object->next = *bucket;
    *bucket = object;
    bool grow = ++large.count > (large.mask + 1) * OBJECTS_PER_BUCKET;
    spin_unlock_irqrestore(&large.lock, irq);
    if (grow) {
        large_grow();
    }
    return (void *)address;
}

/* Where the object hangs; large.lock held. */
static struct large_object **large_find(uintptr_t address)
{
    struct large_object **link = large_bucket(address);
    while (*link != NULL && (*link)->address != address) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        panic("kfree of %#lx, which was not allocated", address);
    }
    return link;
}

static void large_free(uintptr_t address)
{
    bool irq = spin_lock_irqsave(&large.lock);
    struct large_object **link = large_find(address);
    struct large_object *object = *link;
    *link = object->next;
    large.count--;
    spin_unlock_irqrestore(&large.lock, irq);
    uint64_t physical = direct_map_physical((void *)address);
    if (object->pages == 1) {
        page_free(physical, 0);
    } else {
        page_free_run(physical, object->pages);
    }
    small_free(object);
}

/* --- what others call ------------------------------------------------------------------------ */

static inline bool is_large(const void *pointer)
{
    return ((uintptr_t)pointer & (PAGE_SIZE - 1)) == 0;
}

void *kmalloc(size_t size)
{
    if (__builtin_expect(size > SMALL_MAX, 0)) {
        return large_alloc(size);
    }
    unsigned class_index = class_of[(size + GRANULE - 1) / GRANULE];
    bool irq = hal_irq_save();
    unsigned cpu = hal_this_cpu()->id;
    struct object_cache *cache = caches[cpu];
    void *object;
    if (__builtin_expect(cache != NULL && cache[class_index].head != NULL, 1)) {
        cache += class_index;
        object = cache->head;
        cache->head = *(void **)object;
        cache->count--;
    } else {
        object = small_alloc_slowly(class_index, cpu);
    }
    hal_irq_restore(irq);
    return object;
}

void *kzalloc(size_t size)
{
    void *object = kmalloc(size);
    if (object != NULL) {
        memset(object, 0, size);
    }
    return object;
}

void kfree(void *pointer)
{
    if (pointer == NULL) {
        return;
    }
    if (is_large(pointer)) {
        large_free((uintptr_t)pointer);
    } else {
        small_free(pointer);
    }
}

static size_t usable_size(void *pointer)
{
    if (!is_large(pointer)) {
        return class_sizes[slab_of(pointer)->class_index];
    }
    bool irq = spin_lock_irqsave(&large.lock);
    uint64_t pages = (*large_find((uintptr_t)pointer))->pages;
    spin_unlock_irqrestore(&large.lock, irq);
    return pages << PAGE_SHIFT;
}

void *krealloc(void *old, size_t size)
{
    if (old == NULL) {
        return kmalloc(size);
    }
    size_t have = usable_size(old);
    if (size <= have && size > have / 2) {
        return old;
    }
    void *new = kmalloc(size);
    if (new == NULL) {
        return size <= have ? old : NULL;
    }
    memcpy(new, old, size < have ? size : have);
    kfree(old);
    return new;
}
