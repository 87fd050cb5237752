/*
 * Code memory: one anonymous shared mapping, seen once to write and once to run. No memfd: Linux perf names code in
 * anonymous memory only (host/perf_map.h), and some hosts refuse code in memfds.
 */
#include "host/code.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"

#define CODE_ALIGN 32
#define CODE_AHEAD 131072 /* bytes that get their memory at once */

struct code_area {
    u8 *write;
    const u8 *run;
    size_t size, used;
    size_t ready; /* has memory so far */
};

/* Of a shared mapping, mremap with an old size of 0 makes a second view. */
static int map_views(struct code_area *a)
{
    void *write = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (write == MAP_FAILED)
        return -errno;
    void *run = mremap(write, 0, a->size, MREMAP_MAYMOVE);
    if (run == MAP_FAILED || mprotect(run, a->size, PROT_READ | PROT_EXEC)) {
        int status = -errno;
        if (run != MAP_FAILED)
            munmap(run, a->size);
        munmap(write, a->size);
        return status;
    }
    a->write = write;
    a->run = run;
    return 0;
}

struct code_area *code_create(size_t size, struct error *err)
{
    struct code_area *a = calloc(1, sizeof(*a));
    if (!a) {
        error_set(err, -ENOMEM, "out of memory for code");
        return NULL;
    }
    a->size = align_up(size, 4096);
    int status = map_views(a);
    if (status) {
        error_set(err, status, "the host gives no memory for code: %s", strerror(-status));
        free(a);
        return NULL;
    }
    return a;
}

void code_destroy(struct code_area *a)
{
    if (!a)
        return;
    munmap(a->write, a->size);
    munmap((void *)(uintptr_t)a->run, a->size);
    free(a);
}

/* Else there is a fault for each page, and for each one in the view to run from. It is a matter of speed alone. */
static void make_ready(struct code_area *a, size_t to)
{
    while (a->ready < to) {
        size_t more = a->size - a->ready < CODE_AHEAD ? a->size - a->ready : CODE_AHEAD;
        (void)madvise(a->write + a->ready, more, MADV_POPULATE_WRITE);
        a->ready += more;
    }
}

const void *code_add(struct code_area *a, const u8 *bytes, size_t len)
{
    if (!range_inside(a->used, len, a->size))
        return NULL;
    make_ready(a, a->used + len);
    const u8 *at = a->run + a->used;
    memcpy(a->write + a->used, bytes, len);
    a->used += align_up(len, CODE_ALIGN);
    return at;
}

const void *code_next(const struct code_area *a)
{
    return a->run + a->used;
}

bool code_holds(const struct code_area *a, u64 address)
{
    return address - (u64)a->run < a->size;
}

void code_patch(struct code_area *a, const void *at, const void *bytes, size_t len)
{
    u8 *to = a->write + ((const u8 *)at - a->run);
    size_t off = (uintptr_t)to % sizeof(u64);
    if (off + len > sizeof(u64)) {
        memcpy(to, bytes, len);
        return;
    }
    u64 *word = (u64 *)(void *)(to - off), value = *word;
    memcpy((u8 *)&value + off, bytes, len);
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

void code_reset(struct code_area *a, size_t keep)
{
    a->used = keep;
}

size_t code_used(const struct code_area *a)
{
    return a->used;
}
