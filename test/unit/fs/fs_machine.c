/* SPDX-License-Identifier: MIT */
#include "fs_machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "core/lib/log.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/net/net.h"
#include "core/sched/load.h"
#include "core/sched/sched.h"
#include "core/signal/signal.h"
#include "core/time/clock.h"
#include "goruntime/image_info.h"

struct machine_thread {
    struct thread thread;
    struct cpu cpu;
    pthread_mutex_t lock;
    pthread_cond_t woken;
};

char *fake_memory = (char *)PAGE_SIZE;
const struct image_info image_info = {.name = "tested"};
enum log_level log_level;
char machine_console[65536];
size_t machine_console_used;
unsigned machine_signals[64];
uint64_t machine_skew;
unsigned machine_pages;
int machine_fail_after = -1;

static struct machine_thread threads[8];
static int thread_next = 1;
static pthread_t host_thread;
static struct boot_info boot_info = {.loader = "test", .command_line = ""};

/* --- threads
 * --------------------------------------------------------------------------------------------------------
 */

static void become(struct machine_thread *thread, int tid)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->woken, &attributes);
    thread->cpu.hal.self = &thread->cpu.hal;
    thread->cpu.hal.current = &thread->thread.hal;
    thread->thread.tid = tid;
    strcpy(thread->thread.name, "tested");
    fake_cpu = &thread->cpu.hal;
}

void machine_init(void)
{
    become(&threads[0], 1);
}

static void *(*host_run)(void *);

static void *host_entry(void *argument)
{
    become(argument, (int)((struct machine_thread *)argument - threads) + 1);
    return host_run(NULL);
}

void machine_thread_start(void *(*run)(void *))
{
    host_run = run;
    CHECK(thread_next < 8, "too many threads");
    pthread_create(&host_thread, NULL, host_entry, &threads[thread_next++]);
}

void *machine_thread_join(void)
{
    void *result;
    pthread_join(host_thread, &result);
    return result;
}

static struct machine_thread *self(void)
{
    return (struct machine_thread *)current_thread();
}

void thread_prepare_sleep(enum thread_state state)
{
    __atomic_store_n(&self()->thread.state, state, __ATOMIC_SEQ_CST);
}

void thread_cancel_sleep(void)
{
    __atomic_store_n(&self()->thread.state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
}

bool thread_signal_pending(void)
{
    return (__atomic_load_n(&self()->thread.work, __ATOMIC_SEQ_CST) & WORK_SIGNAL) != 0;
}

int thread_sleep(uint64_t deadline)
{
    struct machine_thread *thread = self();
    int result = 0;
    pthread_mutex_lock(&thread->lock);
    while (thread->thread.state != THREAD_RUNNABLE && result == 0) {
        if (thread->thread.state == THREAD_SLEEPING_SIGNAL && thread_signal_pending()) {
            result = -EINTR;
        } else if (deadline == UINT64_MAX) {
            pthread_cond_wait(&thread->woken, &thread->lock);
        } else {
            uint64_t host = deadline - machine_skew;
            struct timespec until = {(time_t)(host / NS_PER_SECOND), (long)(host % NS_PER_SECOND)};
            if (pthread_cond_timedwait(&thread->woken, &thread->lock, &until) == ETIMEDOUT) {
                result = -ETIMEDOUT;
            }
        }
    }
    thread->thread.state = THREAD_RUNNABLE;
    pthread_mutex_unlock(&thread->lock);
    return result;
}

void thread_wake(struct thread *woken)
{
    struct machine_thread *thread = (struct machine_thread *)woken;
    pthread_mutex_lock(&thread->lock);
    __atomic_store_n(&thread->thread.state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
    pthread_cond_signal(&thread->woken);
    pthread_mutex_unlock(&thread->lock);
}

void thread_wake_telling(struct thread *thread, uint32_t *told, uint32_t value)
{
    thread_wake(thread);
    __atomic_store_n(told, value, __ATOMIC_RELEASE);
}

void thread_yield(void)
{
}

int thread_with(int32_t tid, int (*fn)(struct thread *, void *), void *context)
{
    return tid >= 1 && tid <= thread_next ? fn(&threads[tid - 1].thread, context) : -ESRCH;
}

void thread_for_each(bool (*fn)(struct thread *, void *), void *context)
{
    for (int i = 0; i < thread_next && fn(&threads[i].thread, context); i++) {
    }
}

unsigned thread_count(void)
{
    return (unsigned)thread_next;
}

unsigned threads_started(void)
{
    return (unsigned)thread_next;
}

uint64_t cpu_idle_time(unsigned id, uint64_t now)
{
    (void)id;
    return now / 2;
}

unsigned cpu_active_threads(void)
{
    return 1;
}

void load_start(void)
{
}

void load_averages(uint64_t averages[3])
{
    averages[0] = averages[1] = averages[2] = LOAD_ONE;
}

struct cpu *cpu_by_id(unsigned id)
{
    return &threads[id].cpu;
}

uint64_t sched_online_cpus(void)
{
    return 1;
}

unsigned hal_cpu_count(void)
{
    return 1;
}

void hal_cpu_describe(char name[64], uint64_t *tsc_hz)
{
    strcpy(name, "a host");
    *tsc_hz = 2000000000;
}

/* --- signals, clocks, timers
 * ---------------------------------------------------------------------------------------- */

void signal_send_process(const struct signal_info *info)
{
    machine_signals[info->signo]++;
}

void signal_send_thread(struct thread *thread, const struct signal_info *info)
{
    (void)thread;
    machine_signals[info->signo]++;
}

int signal_mask_during(uintptr_t address, size_t size)
{
    return address == 0 || size == 8 ? 0 : -EINVAL;
}

void signal_mask_restore(bool interrupted)
{
    (void)interrupted;
}

long restart_later(long (*resume)(const struct restart_block *), uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d)
{
    (void)resume;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return -ERESTART_RESTARTBLOCK;
}

uint64_t hal_clock_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec + machine_skew;
}

uint64_t hal_clock_wall_offset(void)
{
    return 1600000000 * NS_PER_SECOND;
}

uint64_t clock_offset(int clock)
{
    return clock == CLOCK_REALTIME ? hal_clock_wall_offset() : 0;
}

uint64_t clock_wall(void)
{
    return hal_clock_monotonic() + hal_clock_wall_offset();
}

int clock_get(int clock, uint64_t *ns)
{
    (void)clock;
    *ns = 0;
    return 0;
}

uint64_t deadline_after(uint64_t ns)
{
    uint64_t deadline;
    return __builtin_add_overflow(hal_clock_monotonic(), ns, &deadline) ? UINT64_MAX : deadline;
}

int timespec_from_user(uintptr_t address, uint64_t *ns)
{
    struct timespec64 time;
    if (copy_from_user(&time, address, sizeof(time)) != 0) {
        return -EFAULT;
    }
    *ns = (uint64_t)time.seconds * NS_PER_SECOND + (uint64_t)time.nanoseconds;
    return time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= (int64_t)NS_PER_SECOND
               ? -EINVAL
               : 0;
}

int timespec_to_user(uintptr_t address, uint64_t ns)
{
    struct timespec64 time = {(int64_t)(ns / NS_PER_SECOND), (int64_t)(ns % NS_PER_SECOND)};
    return copy_to_user(address, &time, sizeof(time));
}

static struct timer *armed[8];

void timer_init(struct timer *timer, void (*expired)(struct timer *))
{
    memset(timer, 0, sizeof(*timer));
    timer->expired = expired;
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    timer_cancel(timer);
    timer->deadline = deadline;
    for (int i = 0; i < 8; i++) {
        if (armed[i] == NULL) {
            armed[i] = timer;
            return;
        }
    }
    CHECK(false, "too many timers");
}

bool timer_cancel(struct timer *timer)
{
    for (int i = 0; i < 8; i++) {
        if (armed[i] == timer) {
            armed[i] = NULL;
            return true;
        }
    }
    return false;
}

void machine_run_timers(void)
{
    for (int i = 0; i < 8; i++) {
        struct timer *timer = armed[i];
        if (timer != NULL && timer->deadline <= hal_clock_monotonic()) {
            armed[i] = NULL;
            timer->expired(timer);
        }
    }
}

/* --- memory
 * ---------------------------------------------------------------------------------------------------------
 */

static bool may_allocate(void)
{
    if (machine_fail_after == 0) {
        return false;
    }
    machine_fail_after -= machine_fail_after > 0;
    return true;
}

void *kmalloc(size_t size)
{
    void *memory = NULL;
    CHECK(size != 0, "empty allocation");
    return may_allocate() && posix_memalign(&memory, 64, size) == 0 ? memory : NULL;
}

void *kzalloc(size_t size)
{
    void *memory = kmalloc(size);
    return memory != NULL ? memset(memory, 0, size) : NULL;
}

void *krealloc(void *old, size_t size)
{
    return may_allocate() ? realloc(old, size) : NULL;
}

void kfree(void *pointer)
{
    free(pointer);
}

/* Pages in use, so that the leak checker finds those whose address the kernel keeps in another
 * form. */
static void *registry[1 << 16];
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;

static void registry_replace(void *old, void *new)
{
    size_t at = (uintptr_t)(old != NULL ? old : new) / PAGE_SIZE;
    pthread_mutex_lock(&registry_lock);
    while (registry[at % (1 << 16)] != old) {
        at++;
    }
    registry[at % (1 << 16)] = new;
    machine_pages += old == NULL ? 1 : -1u;
    pthread_mutex_unlock(&registry_lock);
}

uint64_t page_alloc(unsigned order, unsigned flags)
{
    if (!may_allocate()) {
        return 0;
    }
    void *page = aligned_alloc(PAGE_SIZE, PAGE_SIZE << order);
    memset(page, (flags & PAGE_ZERO) != 0 ? 0 : 0xa5, PAGE_SIZE << order);
    registry_replace(NULL, page);
    return direct_map_physical(page);
}

void page_free(uint64_t physical, unsigned order)
{
    (void)order;
    registry_replace(direct_map(physical), NULL);
    free(direct_map(physical));
}

uint64_t page_total(void)
{
    return 2000;
}

size_t (*machine_shrinker)(void);

void page_register_shrinker(page_shrinker_fn *fn)
{
    machine_shrinker = fn;
}

bool page_is_plentiful(uint64_t pages)
{
    return machine_pages + pages < 1750;
}

uint64_t page_free_count(void)
{
    return 2000 - machine_pages;
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    if (size != 0 && from < USER_MIN) {
        return -EFAULT;
    }
    if (size != 0) {
        memcpy(to, (const void *)from, size);
    }
    return 0;
}

int copy_to_user(uintptr_t to, const void *from, size_t size)
{
    if (size != 0 && to < USER_MIN) {
        return -EFAULT;
    }
    if (size != 0) {
        memcpy((void *)to, from, size);
    }
    return 0;
}

long copy_string_from_user(char *to, uintptr_t from, size_t size)
{
    if (from < USER_MIN) {
        return -EFAULT;
    }
    size_t length = strnlen((const char *)from, size);
    memcpy(to, (const void *)from, length < size ? length + 1 : size);
    return length < size ? (long)length : -ENAMETOOLONG;
}

unsigned machine_unmaps;

void vm_unmap_file(const struct inode *inode, uint64_t first, uint64_t last, bool copies)
{
    (void)inode;
    (void)copies;
    CHECK(first <= last, "a range");
    machine_unmaps++;
}

void vm_usage(struct vm_usage *usage)
{
    *usage = (struct vm_usage){1 << 20, 1 << 20, 1 << 19, 1 << 19, 1 << 18, 1 << 17};
}

void process_limit(unsigned resource, uint64_t *soft, uint64_t *hard)
{
    *soft = 8ull << 20;
    *hard = resource == 0 ? UINT64_MAX : 16ull << 20;
}

void vm_for_each(bool (*fn)(const struct vm_area_info *, void *), void *context)
{
    struct vm_area_info area = {.start = 0x400000, .end = 0x401000, .prot = 5, .name = "/tested"};
    fn(&area, context);
}

uint64_t hal_image_physical(uintptr_t address)
{
    return address;
}

/* --- platform
 * -------------------------------------------------------------------------------------------------------
 */

const struct boot_info *hal_boot_info(void)
{
    return &boot_info;
}

void machine_module(void *image, uint64_t size)
{
    boot_info.module_count = image != NULL;
    boot_info.modules[0].base = direct_map_physical(image);
    boot_info.modules[0].size = size;
}

void hal_console_write(enum hal_stream stream, const char *bytes, size_t length)
{
    CHECK(stream != HAL_STREAM_CONTROL && machine_console_used + length <= sizeof(machine_console),
          "console");
    memcpy(machine_console + machine_console_used, bytes, length);
    machine_console_used += length;
}

long hal_console_write_some(enum hal_stream stream, const char *bytes, size_t length)
{
    size_t some = length < 100 ? length : 100;
    hal_console_write(stream, bytes, some);
    return (long)some;
}

void hal_console_enable_input(void)
{
}

void random_bytes(void *to, size_t size)
{
    static uint64_t state = 1;
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)to)[i] = (uint8_t)test_random(&state);
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

int open_file(const char *path, int flags, int mode)
{
    return (int)CALL(openat, (uint64_t)AT_FDCWD, P(path), (uint64_t)flags, (uint64_t)mode);
}

const struct proc_node net_proc_directory = {.name = "net", .mode = 0040555};
const struct proc_node net_sysfs_class = {.name = "net", .mode = 0040555};
const struct proc_node net_sysfs_devices = {.name = "net", .mode = 0040555};
const struct proc_node net_sysfs_virtual = {.name = "net", .mode = 0040555};
