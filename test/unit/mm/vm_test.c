/* SPDX-License-Identifier: MIT */
/* The address space against a model with one entry for each page: random mmap, munmap, mprotect,
 * madvise and mremap, each page read and written through faults. Then single rules: errors, huge
 * pages, files, running out of memory. */
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <string.h>

#include "core/fs/file.h"
#include "core/fs/fs.h"
#include "core/lib/errno.h"
#include "core/lib/symbols.h"
#include "core/mm/kmalloc.h"
#include "core/mm/mm_internal.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/signal/signal.h"
#include "core/syscall/process.h"
#include "fakes/check.h"
#include "fakes/fake_memory.h"
#include "fakes/fake_paging.h"
#include "goruntime/image_info.h"

#define BASE 0xc000000000ul
#define PAGES 4096u /* of the model: 16 MiB */
#define MAP_ANON_PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_R | PROT_W)

/* --- neighbours ------------------------------------------------------------------------------ */

const struct image_info image_info = {
    .magic = IMAGE_INFO_MAGIC,
    .segment_count = 2,
    .segments =
        {{.address = PROGRAM_MIN, .file_size = 0x2345, .size = 0x2345, .prot = PROT_R | PROT_X},
         {.address = PROGRAM_MIN + 0x10000, .file_size = 0x1800, .size = 0x9000, .prot = RW}},
};

static struct signal_info last_signal;
static bool fixup_available;
static int locks_held;

void rwlock_init(struct rwlock *rwlock)
{
    rwlock->count = 0;
}

void rwlock_read_lock(struct rwlock *rwlock)
{
    CHECK(rwlock->count == 0, "read lock while %d", rwlock->count);
    rwlock->count = 1;
    locks_held++;
}

void rwlock_read_unlock(struct rwlock *rwlock)
{
    CHECK(rwlock->count == 1);
    rwlock->count = 0;
    locks_held--;
}

void rwlock_write_lock(struct rwlock *rwlock)
{
    CHECK(rwlock->count == 0, "write lock while %d", rwlock->count);
    rwlock->count = -1;
    locks_held++;
}

void rwlock_write_unlock(struct rwlock *rwlock)
{
    CHECK(rwlock->count == -1);
    rwlock->count = 0;
    locks_held--;
}

struct file *file_get(struct file *file)
{
    file->references++;
    return file;
}

void file_put(struct file *file)
{
    CHECK(locks_held == 0, "a file is let go with the lock held");
    CHECK(file->references-- != 0);
}

char *file_path(struct file *file, char *buffer, size_t size)
{
    (void)file;
    snprintf(buffer, size, "/file");
    return buffer;
}

/* Memory of the program, as the CPU and the kernel's fault handler see it. */
static uint8_t *touch(uintptr_t address, unsigned prot)
{
    for (unsigned tries = 0; tries < 2; tries++) {
        uint64_t physical = fake_paging_translate(address, prot);
        if (physical != 0) {
            return direct_map(physical);
        }
        if (tries == 0 && vm_fault(address, (prot & PROT_W) != 0, (prot & PROT_X) != 0) != 0) {
            return NULL;
        }
    }
    CHECK(false, "a resolved fault comes again at %#lx", address);
    return NULL;
}

int copy_to_user(uintptr_t to, const void *from, size_t size)
{
    CHECK(locks_held == 0, "the program's memory is touched with the lock held");
    for (size_t i = 0; i < size; i++) {
        uint8_t *byte = touch(to + i, PROT_W);
        if (byte == NULL) {
            return -EFAULT;
        }
        *byte = ((const uint8_t *)from)[i];
    }
    return 0;
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t *byte = touch(from + i, PROT_R);
        if (byte == NULL) {
            return -EFAULT;
        }
        ((uint8_t *)to)[i] = *byte;
    }
    return 0;
}

uintptr_t program_symbol(const char *name)
{
    return strcmp(name, "runtime.throw") == 0 ? 0x401230 : 0;
}

void process_kill(int signal)
{
    CHECK(false, "killed by signal %d", signal);
    abort();
}

void signal_force(const struct signal_info *info)
{
    last_signal = *info;
}

bool hal_fixup_nofault(struct regs *regs)
{
    (void)regs;
    return false;
}

bool hal_fixup_fault(struct regs *regs)
{
    (void)regs;
    return fixup_available;
}

void panic_regs(const struct regs *regs, const char *format, ...)
{
    (void)regs;
    CHECK(false, "panic: %s", format);
    abort();
}

void thread_prepare_sleep(enum thread_state state)
{
    (void)state;
}

int thread_sleep(uint64_t deadline)
{
    (void)deadline;
    return 0;
}

uint64_t hal_clock_monotonic(void)
{
    return 0;
}

/* --- the model ------------------------------------------------------------------------------- */

struct model_page {
    bool mapped, shared;
    uint8_t prot;
    uint64_t value; /* of its first word */
};

static struct model_page model[PAGES];

static uintptr_t page_address(unsigned page)
{
    return BASE + page * PAGE_SIZE;
}

static void check_page(unsigned page)
{
    const struct model_page *expected = &model[page];
    uint64_t *word = (uint64_t *)touch(page_address(page), PROT_R);
    CHECK((word != NULL) == (expected->mapped && expected->prot != 0), "page %u readable: %d", page,
          word != NULL);
    if (word != NULL) {
        CHECK(*word == expected->value, "page %u holds %#lx, not %#lx", page, *word,
              expected->value);
    } else {
        int error = vm_fault(page_address(page), false, false);
        CHECK(error == (expected->mapped ? -EACCES : -EFAULT), "fault at page %u: %d", page, error);
    }
}

static void write_page(unsigned page, uint64_t value)
{
    struct model_page *expected = &model[page];
    uint64_t *word = (uint64_t *)touch(page_address(page), PROT_W);
    CHECK((word != NULL) == (expected->mapped && (expected->prot & PROT_W) != 0),
          "page %u writable: %d", page, word != NULL);
    if (word != NULL) {
        *word = value;
        expected->value = value;
    }
}

static void check_all_vmas(void)
{
    const struct vma *previous = NULL;
    bool seen[PAGES] = {false};
    for (const struct vma *vma = vm.tree.first; vma != NULL; vma = vma->next) {
        CHECK(previous == NULL || previous->end <= vma->start);
        CHECK(previous == NULL || !vma_can_merge(previous, vma), "%#lx was not merged", vma->start);
        for (uintptr_t at = vma->start;
             vma->start >= BASE && vma->end <= page_address(PAGES) && at < vma->end;
             at += PAGE_SIZE) {
            seen[(at - BASE) / PAGE_SIZE] = true;
        }
        previous = vma;
    }
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK(seen[i] == model[i].mapped, "page %u is mapped: %d", i, seen[i]);
    }
}

static void do_mmap(unsigned first, unsigned count, uint64_t dice)
{
    static const unsigned prots[] = {RW, RW, PROT_R, 0};
    unsigned prot = prots[dice % 4];
    bool shared = dice % 32 >= 28;
    long at = vm_mmap(page_address(first), count * PAGE_SIZE, prot,
                      (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED, NULL, 0);
    CHECK(at == (long)page_address(first), "mmap: %ld", at);
    for (unsigned i = first; i < first + count; i++) {
        model[i] = (struct model_page){.mapped = true, .shared = shared, .prot = (uint8_t)prot};
    }
}

static bool all_mapped(unsigned first, unsigned count)
{
    unsigned i = first;
    while (i < first + count && model[i].mapped) {
        i++;
    }
    return i == first + count;
}

static void do_mprotect(unsigned first, unsigned count, uint64_t dice)
{
    static const unsigned prots[] = {RW, RW, PROT_R, 0, PROT_R | PROT_X};
    unsigned prot = prots[dice % 5];
    int error = vm_mprotect(page_address(first), count * PAGE_SIZE, prot);
    CHECK(error == (all_mapped(first, count) ? 0 : -ENOMEM), "mprotect: %d", error);
    for (unsigned i = first; error == 0 && i < first + count; i++) {
        model[i].prot = (uint8_t)prot;
    }
}

static void do_madvise(unsigned first, unsigned count, uint64_t dice)
{
    static const int advices[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
                                  MADV_POPULATE_READ};
    int advice = advices[dice % 5];
    int error = vm_madvise(page_address(first), count * PAGE_SIZE, advice);
    bool readable = true;
    for (unsigned i = first; i < first + count; i++) {
        readable = readable && model[i].prot != 0;
        if (advice == MADV_DONTNEED && model[i].mapped && !model[i].shared) {
            model[i].value = 0;
        }
    }
    if (advice != MADV_POPULATE_READ || readable) {
        CHECK(error == (all_mapped(first, count) ? 0 : -ENOMEM), "madvise %d: %d", advice, error);
    }
}

static bool same_vma(unsigned first, unsigned count)
{
    const struct vma *vma = vma_find(&vm.tree, page_address(first));
    return vma != NULL && vma->start <= page_address(first) &&
           vma->end >= page_address(first + count);
}

static void do_mremap(unsigned first, unsigned count, uint64_t dice)
{
    unsigned to = (unsigned)(dice % PAGES), new_count = 1 + (unsigned)((dice >> 16) % (2 * count));
    if (to + new_count > PAGES || (to < first + count && first < to + new_count)) {
        return;
    }
    bool possible = same_vma(first, count);
    long result = vm_mremap(page_address(first), count * PAGE_SIZE, new_count * PAGE_SIZE,
                            MREMAP_MAYMOVE | MREMAP_FIXED, page_address(to));
    CHECK(result == (possible ? (long)page_address(to) : -EFAULT), "mremap: %ld", result);
    if (!possible) {
        return;
    }
    struct model_page fresh = model[first];
    fresh.value = 0;
    for (unsigned i = 0; i < new_count; i++) {
        model[to + i] = i < count ? model[first + i] : fresh;
    }
    memset(&model[first], 0, count * sizeof(model[0]));
}

static void do_collapse(unsigned first)
{
    unsigned block = first / 512 * 512;
    int error = vm_madvise(page_address(block), HUGE_PAGE_SIZE, MADV_COLLAPSE);
    bool whole = same_vma(block, 512) && model[block].prot != 0;
    CHECK((error == 0) == whole, "collapse: %d", error);
    CHECK(!whole || hal_query(page_address(block), NULL, NULL, NULL) == HUGE_PAGE_SIZE);
}

static void test_random_operations(void)
{
    uint64_t seed = 99, small, huge;
    for (unsigned step = 0; step < 60000; step++) {
        uint64_t dice = test_random(&seed);
        unsigned first = (unsigned)((dice >> 8) % PAGES);
        unsigned count = 1 + (unsigned)((dice >> 24) % ((dice >> 40) % 4 != 0 ? 20 : 1500));
        count = count > PAGES - first ? PAGES - first : count;
        switch (dice % 16) {
        case 0:
        case 1:
            do_mmap(first, count, dice >> 44);
            break;
        case 2:
            CHECK(vm_munmap(page_address(first), count * PAGE_SIZE) == 0);
            memset(&model[first], 0, count * sizeof(model[0]));
            break;
        case 3:
            do_mprotect(first, count, dice >> 44);
            break;
        case 4:
            do_madvise(first, count, dice >> 44);
            break;
        case 5:
            do_mremap(first, count, dice >> 34);
            break;
        case 6:
            if (step % 8 == 0) {
                do_collapse(first);
            }
            break;
        case 7: /* a stream */
            for (unsigned i = first; i < first + count; i++) {
                write_page(i, dice + i);
            }
            break;
        default:
            if (dice % 2 != 0) {
                write_page(first, dice);
            } else {
                check_page(first);
            }
        }
        if (step % 500 == 0) {
            check_all_vmas();
            for (unsigned i = 0; i < PAGES; i++) {
                check_page(i);
            }
            fake_paging_count(&small, &huge);
            CHECK(vm.resident == small + huge * 512 + 3 + 2, "%lu resident, %lu small, %lu huge",
                  vm.resident, small, huge);
        }
    }
    CHECK(vm_munmap(BASE, PAGES * PAGE_SIZE) == 0);
    memset(model, 0, sizeof(model));
    fake_paging_count(&small, &huge);
    CHECK(small == 0 && huge == 0, "%lu pages, %lu huge ones are still mapped", small, huge);
    check_all_vmas();
}

/* --- single rules ---------------------------------------------------------------------------- */

static void test_errors(void)
{
    CHECK(vm_mmap(0, 0, RW, MAP_ANON_PRIVATE, NULL, 0) == -EINVAL);
    CHECK(vm_mmap(0, 4096, RW, MAP_ANONYMOUS, NULL, 0) == -EINVAL);
    CHECK(vm_mmap(0, 4096, RW | PROT_X, MAP_ANON_PRIVATE, NULL, 0) == -EACCES);
    CHECK(vm_mmap(0x1000, 4096, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) == -EPERM);
    CHECK(vm_mmap(BASE + 1, 4096, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) == -EINVAL);
    CHECK(vm_mmap(USER_END - 4096, 8192, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) == -ENOMEM);
    CHECK(vm_mmap(KERNEL_IMAGE_BASE, 4096, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) == -EPERM);
    CHECK(vm_mmap(PROGRAM_MIN, 4096, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) == -EPERM);
    CHECK(vm_mmap(PROGRAM_MIN, 4096, RW, MAP_ANON_PRIVATE | MAP_FIXED_NOREPLACE, NULL, 0) ==
          -EEXIST);
    CHECK(vm_mmap(0, 1ul << 40, RW, MAP_ANON_PRIVATE, NULL, 0) == -ENOMEM, "more than all memory");
    CHECK(vm_mmap(0, ~0ul, 0, MAP_ANON_PRIVATE, NULL, 0) == -ENOMEM);
    CHECK(vm_mmap(0, 4096, PROT_R, MAP_PRIVATE, NULL, 0) == -EBADF);
    CHECK(vm_munmap(PROGRAM_MIN, 4096) == -EPERM && vm_munmap(BASE + 1, 1) == -EINVAL &&
          vm_munmap(BASE, 0) == -EINVAL);
    CHECK(vm_mprotect(BASE, 4096, RW) == -ENOMEM && vm_mprotect(BASE, 0, RW) == 0);
    CHECK(vm_mprotect(BASE, 4096, RW | PROT_X) == -EACCES);
    CHECK(vm_mprotect(KERNEL_IMAGE_BASE, 4096, RW) == -EACCES);
    CHECK(vm_madvise(BASE, 4096, MADV_DONTNEED) == -ENOMEM &&
          vm_madvise(BASE, 4096, 12345) == -EINVAL);
    CHECK(vm_madvise(PROGRAM_MIN, 4096, MADV_DONTNEED) == -EINVAL);
    CHECK(vm_fault(0, false, false) == -EFAULT && vm_fault(USER_MIN, false, false) == -EFAULT);
    CHECK(vm_fault(KERNEL_IMAGE_BASE, false, false) == -EACCES);
    CHECK(vm_mremap(BASE, 4096, 8192, MREMAP_MAYMOVE, 0) == -EFAULT &&
          vm_mremap(BASE, 0, 1, 0, 0) == -EINVAL);

    long reserved = vm_mmap(0, 1ul << 46, 0, MAP_ANON_PRIVATE | MAP_NORESERVE, NULL, 0);
    CHECK(reserved > 0 && reserved % HUGE_PAGE_SIZE == 0, "64 TiB reserved: %ld", reserved);
    struct vm_usage with, without;
    vm_usage(&with);
    CHECK(vm_munmap((uintptr_t)reserved, 1ul << 46) == 0);
    vm_usage(&without);
    CHECK(with.mapped == without.mapped + (1ul << 46) && with.mapped_peak == with.mapped &&
              without.mapped_peak == with.mapped_peak,
          "%lu of %lu", without.mapped, without.mapped_peak);

    uintptr_t bss = PROGRAM_MIN + 0x10000 + 0x2000;
    uint64_t faults = this_cpu()->counts.faults;
    CHECK(vm_fault(bss, true, false) == 0 && vm_fault(bss, false, true) == -EACCES);
    CHECK(this_cpu()->counts.faults == faults + 2 && this_cpu()->counts.major_faults == 0);
    CHECK(vm_madvise(bss, PAGE_SIZE, MADV_DONTNEED) == 0);
    uintptr_t end = vm_brk(0);
    CHECK(end == PROGRAM_MIN + 0x10000 + 0x9000 && vm_brk(end + 10000) == end + 10000, "brk %#lx",
          end);
    CHECK(touch(end + 9999, PROT_W) != NULL && vm_brk(end) == end && touch(end, PROT_W) == NULL);
    CHECK(vm_brk(end - 1) == end && vm_brk(end + (2ul << 30)) == end);

    CHECK(vm_mmap(BASE, 4 * 4096, RW, MAP_ANON_PRIVATE, NULL, 0) == (long)BASE, "a hint");
    CHECK(vm_mmap(BASE, 4096, RW, MAP_ANON_PRIVATE, NULL, 0) != (long)BASE, "a hint that is taken");
    CHECK(vm_mincore(BASE, 8 * 4096, BASE) == -ENOMEM);
    uint8_t *vector = touch(BASE, PROT_W);
    CHECK(touch(BASE + 3 * 4096, PROT_W) != NULL && vm_mincore(BASE, 4 * 4096, BASE) == 0);
    CHECK(vector[0] == 1 && vector[1] == 0 && vector[2] == 0 && vector[3] == 1);
    CHECK(vm_mlock(BASE, 4 * 4096, true, false) == 0 && vm_mincore(BASE, 4 * 4096, BASE) == 0 &&
          vector[2] == 1);
    CHECK(vm_madvise(BASE, 4096, MADV_DONTNEED) == -EINVAL &&
          vm_mlock(BASE, 4 * 4096, false, false) == 0);
    CHECK(vm_mlockall(0) == -EINVAL && vm_msync(BASE, 4096, MS_SYNC | MS_ASYNC) == -EINVAL);
    CHECK(vm_msync(BASE, 4096, MS_SYNC) == 0 && vm_msync(BASE, 5 * 4096, MS_SYNC) == -ENOMEM);
    CHECK(vm_mremap(BASE, 4 * 4096, 8 * 4096, 0, 0) == (long)BASE, "grow in place");
    *touch(BASE, PROT_W) = 42;
    CHECK(vm_mmap(BASE + 8 * 4096, 4096, PROT_R, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) > 0);
    CHECK(vm_mremap(BASE, 8 * 4096, 9 * 4096, 0, 0) == -ENOMEM, "no room");
    long moved = vm_mremap(BASE, 8 * 4096, 9 * 4096, MREMAP_MAYMOVE, 0);
    CHECK(moved > 0 && *touch((uintptr_t)moved, PROT_R) == 42 && touch(BASE, PROT_R) == NULL,
          "moved to %#lx", moved);
    CHECK(vm_munmap((uintptr_t)moved, 9 * 4096) == 0 && vm_munmap(BASE, 16 * 4096) == 0);
}

static void test_streams(void)
{
    uint64_t small, huge, faults = 0;
    uintptr_t size = 64ul << 20;
    CHECK(vm_mmap(BASE, size, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) > 0);
    for (uintptr_t at = BASE; at < BASE + size; at += PAGE_SIZE) {
        faults += fake_paging_translate(at, PROT_W) == 0;
        CHECK(touch(at, PROT_W) != NULL);
    }
    fake_paging_count(&small, &huge);
    CHECK(huge >= 30 && faults < 60, "%lu faults, %lu huge pages for 64 MiB", faults, huge);
    CHECK(vm_munmap(BASE, size) == 0);

    CHECK(vm_mmap(BASE, size, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) > 0);
    uint64_t seed = 5, touched = 0;
    for (unsigned i = 0; i < 200; i++) {
        uintptr_t at = BASE + test_random(&seed) % size;
        touched += fake_paging_translate(at, PROT_W) == 0;
        CHECK(touch(at, PROT_W) != NULL);
    }
    fake_paging_count(&small, &huge);
    CHECK(huge == 0 && small < touched + 20, "%lu pages, %lu huge for %lu random touches", small,
          huge, touched);
    CHECK(vm_munmap(BASE, size) == 0);

    CHECK(vm_mmap(BASE, 8ul << 20, RW, MAP_ANON_PRIVATE | MAP_FIXED | MAP_POPULATE, NULL, 0) > 0);
    fake_paging_count(&small, &huge);
    CHECK(huge == 4 && small == 0, "populate: %lu pages, %lu huge", small, huge);
    CHECK(vm_madvise(BASE + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED) == 0);
    fake_paging_count(&small, &huge);
    CHECK(huge == 3 && small == 511, "part of a huge page given back: %lu pages, %lu huge", small,
          huge);
    CHECK(vm_munmap(BASE, 8ul << 20) == 0);
}

/* --- a file ---------------------------------------------------------------------------------- */

#define FILE_PAGES 6
static uint64_t file_pages[FILE_PAGES];
static int file_maps[FILE_PAGES], file_write_maps;

static int file_map_page(struct file *file, uint64_t offset, bool write, uint64_t *physical)
{
    (void)file;
    if (offset / PAGE_SIZE >= FILE_PAGES) {
        return -EIO;
    }
    file_maps[offset / PAGE_SIZE]++;
    file_write_maps += write;
    *physical = file_pages[offset / PAGE_SIZE];
    return 0;
}

static void file_unmap_page(struct file *file, uint64_t offset, uint64_t physical)
{
    (void)file;
    CHECK(physical == file_pages[offset / PAGE_SIZE], "page %lu of the file is another",
          offset / PAGE_SIZE);
    CHECK(file_maps[offset / PAGE_SIZE]-- > 0);
}

static int file_maps_left(void)
{
    int count = 0;
    for (unsigned i = 0; i < FILE_PAGES; i++) {
        count += file_maps[i];
    }
    return count;
}

static void test_file(void)
{
    static const struct file_operations operations = {.map_page = file_map_page,
                                                      .unmap_page = file_unmap_page};
    static const struct file_operations no_operations;
    struct file file = {.operations = &operations, .references = 1, .flags = O_RDWR};
    for (unsigned i = 0; i < FILE_PAGES; i++) {
        file_pages[i] = page_alloc(0, PAGE_ZERO);
        *(uint8_t *)direct_map(file_pages[i]) = (uint8_t)(i + 1);
    }
    size_t size = 8 * PAGE_SIZE;

    CHECK(vm_mmap(BASE, size, RW, MAP_SHARED | MAP_FIXED, &file, 0) > 0 && file.references == 2);
    CHECK(*touch(BASE + PAGE_SIZE, PROT_R) == 2 && file_write_maps > 0);
    *touch(BASE + PAGE_SIZE, PROT_W) = 77;
    CHECK(*(uint8_t *)direct_map(file_pages[1]) == 77, "a shared mapping writes the file");
    CHECK(vm_fault(BASE + 6 * PAGE_SIZE, false, false) == -EIO);
    CHECK(vm_munmap(BASE + 2 * PAGE_SIZE, PAGE_SIZE) == 0 && file.references == 3, "%u references",
          file.references);
    CHECK(*touch(BASE + 3 * PAGE_SIZE, PROT_R) == 4);
    CHECK(vm_mremap(BASE, 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
                    BASE + 0x100000) > 0);
    CHECK(*touch(BASE + 0x101000, PROT_R) == 77);
    CHECK(vm_munmap(BASE, 0x200000) == 0 && file.references == 1 && file_maps_left() == 0,
          "%u references, %d maps", file.references, file_maps_left());

    CHECK(vm_mmap(BASE, size, PROT_R, MAP_PRIVATE | MAP_FIXED, &file, PAGE_SIZE) > 0);
    CHECK(*touch(BASE, PROT_R) == 77 && *touch(BASE + PAGE_SIZE, PROT_R) == 3 &&
          file_maps_left() > 0);
    CHECK(touch(BASE, PROT_W) == NULL && vm_mprotect(BASE, PAGE_SIZE, RW) == 0);
    *touch(BASE, PROT_W) = 78;
    CHECK(*(uint8_t *)direct_map(file_pages[1]) == 77, "a private mapping does not write the file");
    CHECK(vm_mprotect(BASE, PAGE_SIZE, PROT_R) == 0 && *touch(BASE, PROT_R) == 78,
          "its copy stays");
    CHECK(vm_madvise(BASE, PAGE_SIZE, MADV_DONTNEED) == 0 && *touch(BASE, PROT_R) == 77,
          "the file is back");
    CHECK(vm_munmap(BASE, size) == 0 && file.references == 1 && file_maps_left() == 0);

    file.flags = O_RDONLY;
    CHECK(vm_mmap(BASE, size, RW, MAP_SHARED, &file, 0) == -EACCES);
    CHECK(vm_mmap(BASE, size, PROT_R, MAP_SHARED | MAP_FIXED, &file, 0) > 0);
    CHECK(vm_mprotect(BASE, size, RW) == -EACCES && vm_munmap(BASE, size) == 0);
    file.operations = &no_operations;
    CHECK(vm_mmap(BASE, size, PROT_R, MAP_SHARED, &file, 0) == -ENODEV && file.references == 1);
}

static bool is_there(uintptr_t address)
{
    return fake_paging_translate(address, PROT_R) != 0;
}

/* A file that becomes shorter or is replaced takes its pages away; so does a lack of memory. */
static void test_changed_file(void)
{
    static const struct file_operations operations = {
        .map_page = file_map_page, .unmap_page = file_unmap_page, .map_read_only = true};
    struct inode *inode = (struct inode *)file_pages; /* never looked into */
    struct file file = {
        .operations = &operations, .references = 1, .flags = O_RDWR, .inode = inode};
    uintptr_t shared = BASE, private = BASE + 0x100000, part = BASE + 0x200000;
    size_t size = FILE_PAGES * PAGE_SIZE;
    CHECK(vm_mmap(0, size, RW, MAP_SHARED, &file, 0) == -ENODEV, "only for reading");
    CHECK(vm_mmap(shared, size, PROT_R, MAP_SHARED | MAP_FIXED, &file, 0) > 0);
    CHECK(vm_mprotect(shared, size, RW) == -EACCES);
    CHECK(vm_mmap(private, size, RW, MAP_PRIVATE | MAP_FIXED, &file, 0) > 0);
    CHECK(vm_mmap(part, PAGE_SIZE, PROT_R, MAP_SHARED | MAP_FIXED, &file, 3 * PAGE_SIZE) > 0);
    for (uintptr_t at = 0; at < size; at += PAGE_SIZE) {
        touch(shared + at, PROT_R);
        touch(private + at, PROT_W);
    }
    touch(part, PROT_R);
    vm_unmap_file((struct inode *)&file, 0, UINT64_MAX, true);
    CHECK(is_there(shared) && is_there(private) && is_there(part), "another file");
    vm_unmap_file(inode, 2 * PAGE_SIZE, 3 * PAGE_SIZE - 1, false);
    CHECK(is_there(shared + PAGE_SIZE) && !is_there(shared + 2 * PAGE_SIZE) &&
              is_there(shared + 3 * PAGE_SIZE) && is_there(private + 2 * PAGE_SIZE) &&
              is_there(part),
          "one page");
    vm_unmap_file(inode, 3 * PAGE_SIZE, UINT64_MAX, true);
    CHECK(is_there(shared + PAGE_SIZE) && !is_there(shared + 3 * PAGE_SIZE) &&
              !is_there(shared + 5 * PAGE_SIZE) && is_there(private + 2 * PAGE_SIZE) &&
              !is_there(private + 3 * PAGE_SIZE) && !is_there(part),
          "all from page 3 on");
    touch(part, PROT_R);
    vm_reclaim();
    CHECK(!is_there(shared) && !is_there(part) && is_there(private) && file_maps_left() == 0,
          "lack of memory");
    CHECK(*touch(shared + 2 * PAGE_SIZE, PROT_R) == 3, "and back");
    CHECK(vm_munmap(BASE, 0x300000) == 0 && file.references == 1 && file_maps_left() == 0);
}

/* --- faults and the end of memory ------------------------------------------------------------ */

static void test_signals(void)
{
    struct regs regs = {.rflags = 0x202, .error = 4};
    core_page_fault(&regs, 0x10, true);
    CHECK(last_signal.signo == 11 && last_signal.code == 1 && last_signal.fault.address == 0x10,
          "nil: %d %d", last_signal.signo, last_signal.code);
    regs.error = 7;
    core_page_fault(&regs, PROGRAM_MIN + 0x1234, true);
    CHECK(last_signal.signo == 11 && last_signal.code == 2, "text: code %d", last_signal.code);
    fixup_available = true;
    core_page_fault(&regs, 0x10, false);
    fixup_available = false;
}

/* Last: afterwards there is no memory. */
static void test_out_of_memory(void)
{
    struct thread *thread = current_thread();
    uintptr_t stack = BASE + PAGE_SIZE - 64, tls = BASE + 128;
    size_t size = page_total() * PAGE_SIZE;
    CHECK(vm_mmap(BASE, size, RW, MAP_ANON_PRIVATE | MAP_FIXED, NULL, 0) > 0);
    *(uint64_t *)touch(tls - 8, PROT_W) = 0x1122334455667788; /* g */
    thread->hal.fs_base = tls;
    uintptr_t at = BASE;
    while (touch(at, PROT_W) != NULL) {
        at += PAGE_SIZE;
    }
    CHECK(at - BASE > size - (8ul << 20), "only %lu of %lu MiB could be touched", (at - BASE) >> 20,
          size >> 20);
    CHECK(vm_fault(at, true, false) == -ENOMEM);
    struct regs regs = {.rflags = 0x602, .error = 6, .rip = 0x400777, .rsp = stack};
    core_page_fault(&regs, at, true);
    CHECK(regs.rip == 0x401230 && regs.rsp == stack - 8 &&
          *(uint64_t *)touch(stack - 8, PROT_R) == 0x400777);
    CHECK(regs.r14 == 0x1122334455667788 && (regs.rflags & 0x400) == 0);
    const char *message = (const char *)touch(regs.rax, PROT_R);
    CHECK(regs.rbx == strlen(message) && strstr(message, "out of memory") != NULL, "%s", message);
    CHECK(touch(at, PROT_W) != NULL, "the reporting thread has the reserve");
}

int main(void)
{
    static struct thread thread;
    static struct cpu cpu = {.hal = {.self = &cpu.hal, .current = &thread.hal}};
    fake_cpu = &cpu.hal;
    fake_memory_reset();
    fake_memory_add(0x800000, 240ul << 20);
    page_init();
    kmalloc_init();
    vm_init();
    test_errors();
    uint64_t before = page_free_count();
    test_random_operations();
    CHECK(before - page_free_count() < 32, "%lu pages are lost", before - page_free_count());
    test_streams();
    test_file();
    test_changed_file();
    test_signals();
    CHECK(before - page_free_count() < 40, "%lu pages are lost", before - page_free_count());
    test_out_of_memory();
    return 0;
}
