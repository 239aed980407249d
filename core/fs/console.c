/* SPDX-License-Identifier: MIT */
/* The console as descriptors 0, 1, 2, /dev/tty and /dev/console. Input arrives in interrupt
 * context. On a plain serial line it is a terminal: input_lock guards the line being edited and the
 * settings. With hostlink it is a pipe from `unigornel run`: bytes go into a chain of pages,
 * because the sender cannot be told to wait. output_lock keeps one write in one piece. */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/stat.h>

#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/mm/page.h"
#include "core/signal/restart.h"
#include "core/signal/signal.h"
#include "core/time/clock.h"
#include "goruntime/hostlink.h"

#define LINE_RING 4096u
#define END_OF_FILE 0x100 /* in the ring: a ^D */
#define SIGINT_NUMBER 2
#define SIGQUIT_NUMBER 3
#define SIGTERM_NUMBER 15

struct window {
    uint16_t rows, columns, width, height; /* struct winsize */
};

/* A page of received bytes. */
struct input_page {
    struct input_page *next;
    uint32_t begin, end;
    char bytes[PAGE_SIZE - 16];
};

static struct spinlock input_lock = SPINLOCK_INIT(LOCK_FILE);
static struct mutex output_lock = MUTEX_INIT(output_lock);
static struct mutex reader_lock = MUTEX_INIT(reader_lock); /* one reader at a time */
static struct wait_queue input_queue;
static bool console_ready, hostlink_on;

/* Terminal: [head, committed) can be read, [committed, tail) is the line being edited. All
 * free-running. */
static uint16_t ring[LINE_RING];
static uint32_t head, committed, tail;
static bool literal; /* the next byte stands for itself (^V) */
static struct window window;
static struct termios settings = {
    .c_iflag = ICRNL | IXON,
    .c_oflag = OPOST | ONLCR,
    .c_cflag = B115200 | CS8 | CREAD | HUPCL | CLOCAL,
    .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
    .c_cc = {[VINTR] = 3,
             [VQUIT] = 28,
             [VERASE] = 127,
             [VKILL] = 21,
             [VEOF] = 4,
             [VMIN] = 1,
             [VSTART] = 17,
             [VSTOP] = 19,
             [VSUSP] = 26,
             [VREPRINT] = 18,
             [VWERASE] = 23,
             [VLNEXT] = 22},
};

/* hostlink: input_lock. */
static struct input_page *first_page, *last_page;
static uint64_t waiting_bytes, input_pages;
static bool escaped, ended;

/* --- input, interrupt context
 * --------------------------------------------------------------------------------------- */

static void send_signal(int number)
{
    struct signal_info info = {.signo = number, .code = 0x80 /* SI_KERNEL */};
    signal_send_process(&info);
}

static void echo(const char *text, size_t length)
{
    if ((settings.c_lflag & ECHO) != 0) {
        hal_console_write(HAL_STREAM_OUT, text, length);
    }
}

static void echo_byte(uint8_t byte)
{
    char text[2] = {'^', (char)(byte ^ 0x40)};
    if (byte == '\n') {
        echo("\r\n", 2);
    } else if (byte != '\t' && (byte < 0x20 || byte == 0x7f) && (settings.c_lflag & ECHOCTL) != 0) {
        echo(text, 2);
    } else {
        echo((const char *)&byte, 1);
    }
}

static void erase_one(void)
{
    uint16_t byte = ring[--tail % LINE_RING];
    /* A character of UTF-8 is one place on the screen. */
    while ((byte & 0xc0) == 0x80 && tail != committed) {
        byte = ring[--tail % LINE_RING];
    }
    if (byte < 0x20 || byte == 0x7f) {
        echo("\b \b", 3);
    }
    echo("\b \b", 3);
}

static bool is_key(uint8_t byte, int key)
{
    return byte != 0 && byte == settings.c_cc[key];
}

/* One byte from the line; returns a signal to be sent, or 0. input_lock held. */
static int terminal_input(uint8_t byte)
{
    bool canonical = (settings.c_lflag & ICANON) != 0;
    if (!literal) {
        if (byte == '\r' && (settings.c_iflag & IGNCR) != 0) {
            return 0;
        }
        if (byte == '\r' && (settings.c_iflag & ICRNL) != 0) {
            byte = '\n';
        } else if (byte == '\n' && (settings.c_iflag & INLCR) != 0) {
            byte = '\r';
        }
        if ((settings.c_lflag & ISIG) != 0 && (is_key(byte, VINTR) || is_key(byte, VQUIT))) {
            echo_byte(byte);
            if ((settings.c_lflag & NOFLSH) == 0) {
                head = committed = tail;
            }
            return is_key(byte, VINTR) ? SIGINT_NUMBER : SIGQUIT_NUMBER;
        }
        if (canonical && (is_key(byte, VERASE) || byte == '\b')) {
            if (tail != committed) {
                erase_one();
            }
            return 0;
        }
        if (canonical && is_key(byte, VKILL)) {
            while (tail != committed) {
                erase_one();
            }
            return 0;
        }
        if (canonical && is_key(byte, VWERASE)) {
            while (tail != committed && ring[(tail - 1) % LINE_RING] == ' ') {
                erase_one();
            }
            while (tail != committed && ring[(tail - 1) % LINE_RING] != ' ') {
                erase_one();
            }
            return 0;
        }
        if (canonical && is_key(byte, VLNEXT)) {
            literal = true;
            return 0;
        }
    }
    bool end = !literal && canonical && is_key(byte, VEOF);
    bool line = end || (!literal && canonical && (byte == '\n' || is_key(byte, VEOL)));
    literal = false;
    /* The last place is for the newline. */
    if (tail - head >= LINE_RING - (line ? 0 : 1)) {
        echo("\a", 1);
        return 0;
    }
    if (!end) {
        echo_byte(byte);
    }
    ring[tail++ % LINE_RING] = end ? END_OF_FILE : byte;
    if (line || !canonical) {
        __atomic_store_n(&committed, tail, __ATOMIC_RELAXED);
    }
    return 0;
}

static void page_append(uint8_t byte)
{
    if (last_page == NULL || last_page->end == sizeof(last_page->bytes)) {
        uint64_t physical = input_pages > page_total() / 4 ? 0 : page_alloc(0, 0);
        if (physical == 0) {
            return;
        }
        struct input_page *page = direct_map(physical);
        page->next = NULL;
        page->begin = page->end = 0;
        if (last_page == NULL) {
            first_page = page;
        } else {
            last_page->next = page;
        }
        last_page = page;
        input_pages++;
    }
    last_page->bytes[last_page->end++] = (char)byte;
    __atomic_store_n(&waiting_bytes, waiting_bytes + 1, __ATOMIC_RELAXED);
}

static int hostlink_input(uint8_t byte)
{
    if (!escaped) {
        if (byte == HOSTLINK_ESCAPE) {
            escaped = true;
        } else {
            page_append(byte);
        }
        return 0;
    }
    escaped = false;
    switch (byte) {
    case HOSTLINK_EOF:
        __atomic_store_n(&ended, true, __ATOMIC_RELAXED);
        return 0;
    case HOSTLINK_INTERRUPT:
        return SIGINT_NUMBER;
    case HOSTLINK_TERMINATE:
        return SIGTERM_NUMBER;
    case HOSTLINK_ESCAPE:
        page_append(byte);
        return 0;
    default:
        return 0;
    }
}

void core_console_input(const char *bytes, size_t length)
{
    if (!console_ready) {
        return;
    }
    uint32_t signals = 0;
    bool irq = spin_lock_irqsave(&input_lock);
    for (size_t i = 0; i < length; i++) {
        signals |= 1u << (hostlink_on ? hostlink_input((uint8_t)bytes[i])
                                      : terminal_input((uint8_t)bytes[i]));
    }
    spin_unlock_irqrestore(&input_lock, irq);
    for (int number = 1; number < 32; number++) {
        if ((signals >> number & 1) != 0) {
            send_signal(number);
        }
    }
    wait_queue_notify(&input_queue, POLLIN | POLLRDNORM | (ended ? POLLHUP : 0));
}

/* --- reading
 * --------------------------------------------------------------------------------------------------------
 */

static bool input_ready(void)
{
    if (hostlink_on) {
        return __atomic_load_n(&waiting_bytes, __ATOMIC_RELAXED) != 0 ||
               __atomic_load_n(&ended, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&committed, __ATOMIC_RELAXED) !=
           __atomic_load_n(&head, __ATOMIC_RELAXED);
}

/* Takes up to `size` bytes, of a terminal at most one line: how many; *line is set when the line is
 * complete. input_lock held. */
static size_t terminal_take(char *to, size_t size, bool *line)
{
    bool canonical = (settings.c_lflag & ICANON) != 0;
    size_t taken = 0;
    while (taken < size && head != committed) {
        uint16_t value = ring[head % LINE_RING];
        __atomic_store_n(&head, head + 1, __ATOMIC_RELAXED);
        if (value == END_OF_FILE) {
            *line = true;
            break;
        }
        to[taken++] = (char)value;
        if (canonical && value == '\n') {
            *line = true;
            break;
        }
    }
    /* A ^D right behind what was asked for belongs to this line, not to the next read. */
    if (!*line && taken == size && head != committed && ring[head % LINE_RING] == END_OF_FILE) {
        __atomic_store_n(&head, head + 1, __ATOMIC_RELAXED);
        *line = true;
    }
    return taken;
}

static size_t hostlink_take(char *to, size_t size)
{
    struct input_page *page = first_page;
    if (page == NULL) {
        return 0;
    }
    size_t taken = MIN(size, page->end - page->begin);
    memcpy(to, page->bytes + page->begin, taken);
    page->begin += (uint32_t)taken;
    __atomic_store_n(&waiting_bytes, waiting_bytes - taken, __ATOMIC_RELAXED);
    if (page->begin == page->end) {
        first_page = page->next;
        if (first_page == NULL) {
            last_page = NULL;
        }
        input_pages--;
        page_free(direct_map_physical(page), 0);
    }
    return taken;
}

/* Waits for input as the file and the terminal's settings say: 1: there may be some, 0: give up
 * with nothing. */
static int wait_for_input(struct file *file)
{
    uint64_t deadline = UINT64_MAX;
    if (!hostlink_on && (settings.c_lflag & ICANON) == 0 && settings.c_cc[VMIN] == 0) {
        if (settings.c_cc[VTIME] == 0) {
            return 0;
        }
        deadline = deadline_after((uint64_t)settings.c_cc[VTIME] * 100000000);
    }
    if (file_nonblocking(file)) {
        return -EAGAIN;
    }
    int result = wait_event(&input_queue, deadline, input_ready());
    return result == 0 ? 1 : result == -ETIMEDOUT ? 0 : result;
}

static long console_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    char bytes[256];
    long done = 0;
    (void)offset;
    if (io->remaining == 0) {
        return 0;
    }
    for (;;) {
        bool line = false;
        mutex_lock(&reader_lock);
        while (io->remaining != 0 && !line) {
            size_t size = MIN(io->remaining, sizeof(bytes));
            bool irq = spin_lock_irqsave(&input_lock);
            size_t taken =
                hostlink_on ? hostlink_take(bytes, size) : terminal_take(bytes, size, &line);
            spin_unlock_irqrestore(&input_lock, irq);
            if (taken == 0) {
                break;
            }
            int result = io_copy_to(io, bytes, taken);
            if (result != 0) {
                mutex_unlock(&reader_lock);
                return done != 0 ? done : result;
            }
            done += (long)taken;
        }
        mutex_unlock(&reader_lock);
        if (done != 0 || line || (hostlink_on && ended && waiting_bytes == 0)) {
            return done;
        }
        int result = wait_for_input(file);
        if (result <= 0) {
            return result;
        }
    }
}

/* --- writing
 * --------------------------------------------------------------------------------------------------------
 */

/* Fewer than `length` when a signal came. */
static size_t write_raw(enum hal_stream stream, const char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        long some = hal_console_write_some(stream, bytes + done, length - done);
        if (some < 0) {
            break;
        }
        done += (size_t)some;
    }
    return done;
}

/* The same, with a \r before each \n where the terminal's settings say so: how many of `bytes`. */
static size_t write_processed(enum hal_stream stream, const char *bytes, size_t length)
{
    if (hostlink_on || (settings.c_oflag & (OPOST | ONLCR)) != (OPOST | ONLCR)) {
        return write_raw(stream, bytes, length);
    }
    size_t done = 0;
    while (done < length) {
        char processed[512];
        size_t count = 0, taken = 0;
        for (; done + taken < length && count < sizeof(processed) - 1; taken++) {
            if (bytes[done + taken] == '\n') {
                processed[count++] = '\r';
            }
            processed[count++] = bytes[done + taken];
        }
        size_t written = write_raw(stream, processed, count);
        if (written < count) {
            for (; written > (bytes[done] == '\n'); done++) {
                written -= 1u + (bytes[done] == '\n');
            }
            break;
        }
        done += taken;
    }
    return done;
}

static long console_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    enum hal_stream stream = (enum hal_stream)(uintptr_t)file->data;
    char bytes[1024];
    long done = 0;
    (void)offset;
    mutex_lock(&output_lock);
    while (io->remaining != 0) {
        size_t piece = MIN(io->remaining, sizeof(bytes));
        int result = io_copy_from(io, bytes, piece);
        size_t written = result == 0 ? write_processed(stream, bytes, piece) : 0;
        done += (long)written;
        if (written < piece) {
            done = done != 0 ? done : result != 0 ? result : -ERESTARTSYS;
            break;
        }
    }
    mutex_unlock(&output_lock);
    return done;
}

static uint32_t console_poll(struct file *file, struct wait_entry *entry)
{
    uint32_t events = 0;
    poll_enqueue(&input_queue, entry);
    if (file_readable(file)) {
        if (hostlink_on) {
            events |=
                __atomic_load_n(&waiting_bytes, __ATOMIC_RELAXED) != 0 ? POLLIN | POLLRDNORM : 0;
            events |= __atomic_load_n(&ended, __ATOMIC_RELAXED) ? POLLHUP : 0;
        } else {
            events |= input_ready() ? POLLIN | POLLRDNORM : 0;
        }
    }
    return events | (file_writable(file) ? POLLOUT | POLLWRNORM : 0);
}

/* Input that was typed ahead changes its form with the mode: in raw mode all of it can be read. */
static void set_settings(const struct termios *new_settings, bool flush)
{
    bool irq = spin_lock_irqsave(&input_lock);
    settings = *new_settings;
    if (flush) {
        head = committed = tail;
    } else if ((settings.c_lflag & ICANON) == 0) {
        committed = tail;
    }
    spin_unlock_irqrestore(&input_lock, irq);
    wait_queue_notify(&input_queue, POLLIN | POLLRDNORM);
}

static long console_ioctl(struct file *file, unsigned command, uintptr_t argument)
{
    struct termios new_settings;
    uint32_t number = 0;
    (void)file;
    if (command == FIONREAD) {
        number = (uint32_t)(hostlink_on ? waiting_bytes : committed - head);
        return copy_to_user(argument, &number, sizeof(number));
    }
    if (hostlink_on) {
        return -ENOTTY;
    }
    switch (command) {
    case TCGETS:
        return copy_to_user(argument, &settings, sizeof(settings));
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
        if (copy_from_user(&new_settings, argument, sizeof(new_settings)) != 0) {
            return -EFAULT;
        }
        set_settings(&new_settings, command == TCSETSF);
        return 0;
    case TIOCGWINSZ:
        return copy_to_user(argument, &window, sizeof(window));
    case TIOCSWINSZ:
        return copy_from_user(&window, argument, sizeof(window));
    case TIOCGPGRP:
    case TIOCGSID:
        number = 1;
        return copy_to_user(argument, &number, sizeof(number));
    case TIOCSPGRP:
        if (copy_from_user(&number, argument, sizeof(number)) != 0) {
            return -EFAULT;
        }
        return number == 1 ? 0 : -ESRCH;
    case TIOCSCTTY:
    case TCSBRK:
    case TCXONC:
        return 0; /* output is never held back, so there is nothing to wait for */
    case TCFLSH:
        set_settings(&settings, argument != 1);
        return 0;
    default:
        return -ENOTTY;
    }
}

static int console_stat(struct file *file, struct stat *stat)
{
    if (file->inode != NULL) {
        inode_stat(file->inode, stat);
        return 0;
    }
    memset(stat, 0, sizeof(*stat));
    stat->st_dev = hostlink_on ? 13 : 5;
    stat->st_ino = 3 + (uintptr_t)file->data;
    stat->st_nlink = 1;
    stat->st_mode = hostlink_on ? S_IFIFO | 0600 : S_IFCHR | 0620;
    stat->st_rdev = hostlink_on ? 0 : 0x501; /* /dev/console */
    stat->st_blksize = hostlink_on ? PAGE_SIZE : 1024;
    return 0;
}

static const struct file_operations console_operations = {
    .read = console_read,
    .write = console_write,
    .poll = console_poll,
    .ioctl = console_ioctl,
    .stat = console_stat,
};

int console_open(struct file *file, bool tty)
{
    if (tty && hostlink_on) {
        return -ENXIO;
    }
    file->operations = &console_operations;
    file->data = (void *)(uintptr_t)HAL_STREAM_OUT;
    return 0;
}

void console_init(bool hostlink, bool merged)
{
    enum hal_stream output = merged ? HAL_STREAM_ERR : HAL_STREAM_OUT;
    const enum hal_stream streams[3] = {HAL_STREAM_OUT, output, HAL_STREAM_ERR};
    hostlink_on = hostlink;
    wait_queue_init(&input_queue);
    console_ready = true;
    for (int fd = 0; fd < 3; fd++) {
        struct file *file;
        uint32_t mode = !hostlink ? O_RDWR : fd == 0 ? O_RDONLY : O_WRONLY;
        if (file_create(&file, &console_operations, mode, (void *)(uintptr_t)streams[fd]) != 0 ||
            fd_install_at(file, false, fd) != fd) {
            panic("no memory for the console's descriptors");
        }
    }
    hal_console_enable_input();
}
