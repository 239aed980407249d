/* SPDX-License-Identifier: MIT */
/* Page faults: what to map, and what happens when that cannot be done. Faults hold vm.lock for
 * reading, so several CPUs fill the same VMA at once; who loses the race for a page gives its own
 * back. Nothing is kept for a page or a stream of touches: the page tables themselves tell whether
 * touches come in sequence. */
#include <asm-generic/siginfo.h>
#include <asm/signal.h>
#include <linux/mman.h>

#include "core/fs/file.h"
#include "core/lib/errno.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/lib/symbols.h"
#include "core/mm/mm_internal.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/signal/signal.h"
#include "core/syscall/process.h"

/* Bits of a page fault's error code (Intel SDM 3A 4.7). */
#define FAULT_WRITE 2
#define FAULT_RESERVED 8
#define FAULT_FETCH 16
#define RFLAGS_IF 0x200
#define RFLAGS_DF 0x400

#define WINDOW_MAX (HUGE_PAGE_SIZE / PAGE_SIZE)
#define FILE_WINDOW_MAX 16
#define HUGE_RUN (HUGE_PAGE_SIZE / 2) /* touched in sequence before a stream gets huge pages */
#define OOM_GRACE_NS 2000000000ull    /* for another thread to report and end the program */

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void vm_count_resident(uint64_t pages)
{
    uint64_t now = __atomic_add_fetch(&vm.resident, pages, __ATOMIC_RELAXED);
    uint64_t peak = __atomic_load_n(&vm.peak, __ATOMIC_RELAXED);
    while (now > peak && !__atomic_compare_exchange_n(&vm.peak, &peak, now, true, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED)) {
    }
}

static bool is_mapped(uintptr_t address)
{
    return hal_query(address, NULL, NULL, NULL) != 0;
}

/* Whether what lies below `block` (2 MiB aligned) was touched in sequence: a huge page, or pages at
 * all probed places. */
static bool follows_stream(const struct vma *vma, uintptr_t block)
{
    if (block < vma->start + HUGE_RUN) {
        return false;
    }
    size_t below = hal_query(block - PAGE_SIZE, NULL, NULL, NULL);
    if (below != PAGE_SIZE) {
        return below == HUGE_PAGE_SIZE;
    }
    for (size_t back = HUGE_RUN / 8; back <= HUGE_RUN; back += HUGE_RUN / 8) {
        if (!is_mapped(block - back)) {
            return false;
        }
    }
    return true;
}

static bool wants_huge(const struct vma *vma, uintptr_t address, size_t wanted, size_t hole)
{
    uintptr_t block = address & ~(HUGE_PAGE_SIZE - 1);
    if (hole < HUGE_PAGE_SIZE || block < vma->start || vma->end - block < HUGE_PAGE_SIZE ||
        (vma->flags & VMA_NO_HUGE) != 0 || !page_is_plentiful(WINDOW_MAX)) {
        return false;
    }
    return (vma->flags & VMA_HUGE) != 0 || (address == block && wanted >= HUGE_PAGE_SIZE) ||
           follows_stream(vma, block);
}

/* Bytes from `address` on that are mapped afterwards, or 0: not done, try small pages. */
static long map_huge(struct vma *vma, uintptr_t address)
{
    uintptr_t block = address & ~(HUGE_PAGE_SIZE - 1);
    uint64_t physical = page_alloc(HUGE_PAGE_ORDER, PAGE_ZERO);
    if (physical == 0) {
        return 0;
    }
    if (hal_map_page(block, physical, HUGE_PAGE_ORDER, vma_page_prot(vma)) != 0) {
        page_free(physical, HUGE_PAGE_ORDER);
        return 0;
    }
    vm_count_resident(WINDOW_MAX);
    return (long)(block + HUGE_PAGE_SIZE - address);
}

/* How many pages to map from `address` on: as many as are mapped in a row below it, so that a
 * stream doubles its window. */
static size_t choose_window(const struct vma *vma, uintptr_t address, size_t wanted, size_t most)
{
    size_t window = wanted / PAGE_SIZE;
    if (window == 0) {
        window = 1;
        while (window < most && address - vma->start >= window * PAGE_SIZE &&
               is_mapped(address - window * PAGE_SIZE)) {
            window *= 2;
        }
        window = window > 1 ? window / 2 : 1;
    }
    uintptr_t block_end = (address & ~(HUGE_PAGE_SIZE - 1)) + HUGE_PAGE_SIZE;
    uintptr_t end = block_end < vma->end ? block_end : vma->end;
    window = min_size(min_size(window, most), (end - address) / PAGE_SIZE);
    return page_is_plentiful(window) ? window : 1;
}

/* One page of an anonymous mapping, or a copy of a file's page for a private one. */
static int map_own_page(struct vma *vma, uintptr_t address)
{
    uint64_t physical = page_alloc(0, vma->file == NULL ? PAGE_ZERO : 0);
    if (physical == 0) {
        return -ENOMEM;
    }
    int error = 0;
    if (vma->file != NULL) {
        uint64_t offset = vma_file_offset(vma, address), source;
        error = vma->file->operations->map_page(vma->file, offset, false, &source);
        if (error == 0) {
            memcpy(direct_map(physical), direct_map(source), PAGE_SIZE);
            vma->file->operations->unmap_page(vma->file, offset, source);
        }
    }
    if (error == 0) {
        error = hal_map_page(address, physical, 0, vma_page_prot(vma));
    }
    if (error != 0) {
        page_free(physical, 0);
    }
    return error;
}

static int map_borrowed_page(struct vma *vma, uintptr_t address)
{
    uint64_t offset = vma_file_offset(vma, address), physical;
    bool write = (vma->prot & PROT_W) != 0;
    int error = vma->file->operations->map_page(vma->file, offset, write, &physical);
    if (error != 0) {
        return error;
    }
    error = hal_map_page(address, physical, 0, vma_page_prot(vma));
    if (error != 0) {
        vma->file->operations->unmap_page(vma->file, offset, physical);
    }
    return error;
}

long fault_in(struct vma *vma, uintptr_t address, size_t wanted)
{
    size_t hole;
    address &= ~(PAGE_SIZE - 1);
    wanted &= ~(PAGE_SIZE - 1);
    size_t mapped = hal_query(address, NULL, NULL, &hole);
    if (mapped != 0) {
        return (long)(mapped - (address & (mapped - 1)));
    }
    bool borrowed = (vma->flags & VMA_BORROWED) != 0;
    if (vma->file == NULL && wants_huge(vma, address, wanted, hole)) {
        long done = map_huge(vma, address);
        if (done != 0) {
            return done;
        }
    }
    size_t window =
        choose_window(vma, address, wanted, vma->file != NULL ? FILE_WINDOW_MAX : WINDOW_MAX);
    uint64_t pages = 0;
    size_t done = 0;
    int error = 0;
    while (done < window) {
        uintptr_t at = address + done * PAGE_SIZE;
        error = borrowed ? map_borrowed_page(vma, at) : map_own_page(vma, at);
        if (error != 0 && error != -EEXIST) {
            break;
        }
        pages += error == 0;
        done++;
    }
    vm_count_resident(pages);
    if (done == 0) {
        return error == -ENOMEM ? -ENOMEM : -EIO;
    }
    return (long)(done * PAGE_SIZE);
}

static int check_access(const struct vma *vma, uintptr_t address, bool write, bool execute)
{
    if (vma == NULL || vma->start > address) {
        return -EFAULT;
    }
    unsigned needed = write ? PROT_W : execute ? PROT_X : PROT_R;
    return (vma_page_prot(vma) & needed) != 0 ? 0 : -EACCES;
}

int vm_fault(uintptr_t address, bool write, bool execute)
{
    uint64_t disk_waits = current_thread()->disk_waits;
    rwlock_read_lock(&vm.lock);
    struct vma *vma = vma_find(&vm.tree, address);
    int error = check_access(vma, address, write, execute);
    if (error == 0) {
        if ((vma->flags & VMA_PINNED) != 0) {
            error = is_mapped(address) ? 0 : -EFAULT;
        } else {
            long done = fault_in(vma, address, 0);
            error = done < 0 ? (int)done : 0;
        }
    }
    rwlock_read_unlock(&vm.lock);
    this_cpu()->counts.faults++;
    this_cpu()->counts.major_faults += current_thread()->disk_waits != disk_waits;
    return error;
}

int vm_populate(uintptr_t start, uintptr_t end, bool write)
{
    while (start < end) {
        rwlock_read_lock(&vm.lock);
        struct vma *vma = vma_find(&vm.tree, start);
        long done = check_access(vma, start, write, false);
        if (done == -EFAULT) {
            done = -ENOMEM;
        } else if (done == 0 && (vma->flags & VMA_PINNED) != 0) {
            done = (long)(vma->end - start);
        } else if (done == 0) {
            done = fault_in(vma, start, min_size(end, vma->end) - start);
        }
        rwlock_read_unlock(&vm.lock);
        if (done < 0) {
            return (int)done;
        }
        start += (size_t)done;
    }
    return 0;
}

/* --- no memory left -------------------------------------------------------------------------- */

static const char oom_message[] = "runtime: out of memory";
static struct thread *oom_thread; /* reports it; atomic */

static _Noreturn void oom_kill(void)
{
    log_error("out of memory: %lu KiB in use by the program, %lu KiB free",
              (unsigned long)vm.resident * 4, (unsigned long)page_free_count() * 4);
    process_kill(SIGKILL);
}

/* Makes the program call Go's runtime.throw(string) where it faulted, as Go's own signal handler
 * makes it call sigpanic: the message in RAX and RBX, g in R14 (from its slot of TLS, -8), X15 zero
 * (Go's ABIInternal). */
static bool inject_throw(struct regs *regs)
{
    uintptr_t throw = program_symbol("runtime.throw");
    uint64_t g;
    /* The message goes into memory of the program: it is to be written by a system call. */
    long message =
        vm_mmap(0, sizeof(oom_message), PROT_R | PROT_W, MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0);
    if (throw == 0 || message < 0 ||
        copy_to_user((uintptr_t)message, oom_message, sizeof(oom_message)) != 0 ||
        copy_to_user(regs->rsp - 8, &regs->rip, 8) != 0 ||
        copy_from_user(&g, current_thread()->hal.fs_base - 8, 8) != 0) {
        return false;
    }
    regs->rsp -= 8;
    regs->rip = throw;
    regs->rax = (uint64_t)message;
    regs->rbx = sizeof(oom_message) - 1;
    regs->r14 = g;
    regs->rflags &= ~(uint64_t)RFLAGS_DF;
    __asm__ volatile("pxor %xmm15, %xmm15");
    return true;
}

/* The first thread of the program that needs memory and gets none says so, with the help of the
 * reserve; others wait for the end. When that does not work, or in the middle of a system call, the
 * program is killed as Linux would. */
static void out_of_memory(struct regs *regs, bool user)
{
    struct thread *self = current_thread(), *expected = NULL;
    if (!user) {
        oom_kill();
    }
    if (__atomic_compare_exchange_n(&oom_thread, &expected, self, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        page_set_reserve_owner(&self->hal);
        if (inject_throw(regs)) {
            return;
        }
    } else if (expected != self) {
        thread_prepare_sleep(THREAD_SLEEPING);
        thread_sleep(hal_clock_monotonic() + OOM_GRACE_NS);
    }
    oom_kill();
}

/* --- the platform's call --------------------------------------------------------------------- */

static void send_fault_signal(int error, uintptr_t address)
{
    struct signal_info info = {.fault = {address}};
    if (error == -EIO) {
        info.signo = SIGBUS;
        info.code = BUS_ADRERR;
    } else {
        info.signo = SIGSEGV;
        info.code = error == -EACCES ? SEGV_ACCERR : SEGV_MAPERR;
    }
    signal_force(&info);
}

void core_page_fault(struct regs *regs, uintptr_t address, bool user)
{
    int error = -EFAULT;
    if (!user && hal_fixup_nofault(regs)) {
        return;
    }
    /* With interrupts masked kernel code may hold a lock and must not sleep. */
    if (address >= USER_MIN && address < USER_END && (regs->rflags & RFLAGS_IF) != 0 &&
        (regs->error & FAULT_RESERVED) == 0) {
        error =
            vm_fault(address, (regs->error & FAULT_WRITE) != 0, (regs->error & FAULT_FETCH) != 0);
    }
    if (error == 0 || (error == -ENOMEM && vm_reclaim() != 0)) {
        return;
    }
    if (error == -ENOMEM && (user || hal_fixup_fault(regs))) {
        out_of_memory(regs, user);
    } else if (user) {
        send_fault_signal(error, address);
    } else if (!hal_fixup_fault(regs)) {
        panic_regs(regs, "page fault at %#lx, error code %#lx", address,
                   (unsigned long)regs->error);
    }
}
