/*
 * qcow2 inside: refcounts of every width, the set of clusters, and what a loss of power leaves of an image.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/falloc.h>

#include "../seed.h"
#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "base/bits.h"

static u64 seed;

/* splitmix64 */
static u64 next_random(void)
{
    u64 z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static u64 below(u64 n)
{
    return next_random() % n;
}

static void test_refcount_widths(void **state)
{
    u8 block[512];
    for (u32 order = 0; order <= 6; order++) {
        u64 count = sizeof(block) * 8 >> order, max = BIT64(BIT(order) - 1) * 2 - 1;
        memset(block, 0, sizeof(block));
        for (u64 i = 0; i < count; i += 2)
            qcow2_refcount_store(block, i, order, max - i % 2);
        for (u64 i = 0; i < count; i++)
            assert_int_equal(qcow2_refcount_read(block, i, order), i % 2 ? 0 : max);
    }
    memset(block, 0, sizeof(block));
    qcow2_refcount_store(block, 1, 4, 0x1234); /* big-endian */
    assert_int_equal(block[2], 0x12);
    qcow2_refcount_store(block, 9, 0, 1); /* from the lowest bit on */
    assert_int_equal(block[1], 2);
    qcow2_refcount_store(block, 1, 2, 0xa);
    assert_int_equal(block[0], 0xa0);
}

static void test_cluster_set(void **state)
{
    enum { RANGE = 500 };
    bool there[RANGE] = {false};
    struct cluster_set s = {0};
    int status = 0;
    for (unsigned i = 0; i < 20000; i++) {
        u64 n = below(RANGE);
        if (below(2)) {
            assert_int_equal(cluster_set_add(&s, n << 20, &status), !there[n]);
            there[n] = true;
        } else {
            cluster_set_remove(&s, n << 20);
            there[n] = false;
        }
        n = below(RANGE);
        assert_int_equal(cluster_set_has(&s, n << 20), there[n]);
    }
    assert_int_equal(status, 0);
    cluster_set_free(&s);
}

/*
 * Loss of power. All that an image does to its file is noted. Then the file is made as it may be after a loss at any
 * moment: what came before the last sync is there, of what came after it any sectors may be. Such a file has to be free
 * of errors (leaks are allowed); a sector that was written and flushed shows that or something later; and no sector
 * ever shows what was written to another.
 */
#define DISK     MiB(6)
#define SECTORS  (DISK / BLOCK_SECTOR)
#define STEPS    400
#define CUTS     40
#define FILE_MAX MiB(24)

struct note {
    enum { NOTE_WRITE, NOTE_SYNC, NOTE_PUNCH } kind;
    u64 offset, length;
    u8 *data;
};

/* What the guest did: a change of sectors, or a flush that was acknowledged, after so many notes. */
struct act {
    u64 first, count;
    u32 value; /* 0: zeroed or discarded */
    bool flush;
    bool hint; /* a discard: what was there may stay */
    size_t notes;
};

struct record {
    struct note *note;
    size_t notes, room;
    struct act act[STEPS];
    u32 acts;
};

static struct record rec;
static const struct file_ops *real_ops;

static void take_note(struct note n)
{
    if (rec.notes == rec.room) {
        rec.room = rec.room ? rec.room * 2 : 1024;
        rec.note = realloc(rec.note, rec.room * sizeof(*rec.note));
        assert_non_null(rec.note);
    }
    rec.note[rec.notes++] = n;
}

static ssize_t noting_preadv(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    return real_ops->preadv(f, iov, iovs, offset);
}

static ssize_t noting_pwritev(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    ssize_t done = real_ops->pwritev(f, iov, 1, offset);
    struct note n = {.kind = NOTE_WRITE, .offset = offset, .length = (u64)done, .data = malloc((size_t)done)};
    assert_true(done > 0 && n.data);
    memcpy(n.data, iov->iov_base, (size_t)done);
    take_note(n);
    return done;
}

static int noting_sync(struct file *f)
{
    take_note((struct note){.kind = NOTE_SYNC});
    return 0;
}

static int noting_allocate(struct file *f, int mode, u64 offset, u64 length)
{
    if (!(mode & FALLOC_FL_PUNCH_HOLE))
        return -EOPNOTSUPP;
    take_note((struct note){.kind = NOTE_PUNCH, .offset = offset, .length = length});
    return real_ops->allocate(f, mode, offset, length);
}

static const struct file_ops noting_ops = {noting_preadv, noting_pwritev, noting_sync, noting_allocate};

/* Each sector says whose it is. */
static void mark(u8 *sector, u64 number, u32 value)
{
    for (size_t at = 0; at < BLOCK_SECTOR; at += 16) {
        put_u64(sector + at, number);
        put_u64(sector + at + 8, value);
    }
}

static void step(struct image *im, u32 value)
{
    static u8 data[64 * BLOCK_SECTOR];
    struct act a = {.first = below(SECTORS - 64), .count = 1 + below(64), .value = value};
    u64 kind = below(10);
    if (kind == 0) {
        a.first = align_down(a.first, 64);
        a.count = 64 * (1 + below(8));
        a.count = a.count > SECTORS - a.first ? SECTORS - a.first : a.count;
    }
    struct iovec iov = {data, a.count * BLOCK_SECTOR};
    u64 offset = a.first * BLOCK_SECTOR, length = a.count * BLOCK_SECTOR;
    if (kind < 2) {
        a.value = 0;
        a.hint = kind == 0;
        if (kind == 0)
            assert_int_equal(im->ops->discard(im, offset, length), 0);
        else
            assert_int_equal(im->ops->zero(im, offset, length, below(2)), 0);
    } else if (kind < 8) {
        for (u64 i = 0; i < a.count; i++)
            mark(data + i * BLOCK_SECTOR, a.first + i, value);
        assert_int_equal(im->ops->write(im, offset, length, vec_of(&iov, 1)), 0);
    } else {
        a = (struct act){.flush = true};
        assert_int_equal(im->ops->flush(im), 0);
    }
    a.notes = rec.notes;
    rec.act[rec.acts++] = a;
}

static void put_part(u8 *file, const struct note *n, u64 from, u64 to)
{
    assert_true(n->offset + to <= FILE_MAX);
    if (n->kind == NOTE_WRITE)
        memcpy(file + n->offset + from, n->data + from, to - from);
    else
        memset(file + n->offset + from, 0, to - from);
}

/* The file after a loss of power before note `cut`. */
static void lose_power(u8 *file, u64 *size, size_t cut)
{
    size_t safe = cut;
    while (safe && rec.note[safe - 1].kind != NOTE_SYNC)
        safe--;
    for (size_t i = 0; i < cut; i++) {
        const struct note *n = &rec.note[i];
        bool torn = i >= safe;
        for (u64 at = 0; n->kind != NOTE_SYNC && at < n->length;) {
            u64 end = torn ? align_down(n->offset + at, BLOCK_SECTOR) + BLOCK_SECTOR - n->offset : n->length;
            end = end < n->length ? end : n->length;
            if (!torn || below(2))
                put_part(file, n, at, end);
            at = end;
        }
        if (n->kind == NOTE_WRITE && n->offset + n->length > *size)
            *size = n->offset + n->length;
    }
}

/* What sector `s` may show: value `v`? */
static bool may_show(u64 s, u32 v, size_t cut)
{
    u32 flushed = 0, covered = 0;
    bool zero_too = false;
    for (u32 i = 0; i < rec.acts; i++)
        if (rec.act[i].flush && rec.act[i].notes <= cut)
            covered = i;
    for (u32 i = 0; i < rec.acts; i++) {
        const struct act *a = &rec.act[i];
        if (a->flush || s < a->first || s >= a->first + a->count)
            continue;
        if (a->value == v && i >= covered)
            return true;
        if (i >= covered)
            continue;
        zero_too = a->hint;
        flushed = a->hint ? flushed : a->value;
    }
    return v == flushed || (zero_too && !v);
}

static void verify(struct image *im, size_t cut)
{
    static u8 data[DISK], want[BLOCK_SECTOR];
    struct iovec iov = {data, DISK};
    assert_int_equal(im->ops->read(im, 0, DISK, vec_of(&iov, 1)), 0);
    for (u64 s = 0; s < SECTORS; s++) {
        const u8 *sector = data + s * BLOCK_SECTOR;
        u32 value = (u32)get_u64(sector + 8);
        if (value)
            mark(want, s, value);
        else
            memset(want, 0, sizeof(want));
        if (memcmp(sector, want, BLOCK_SECTOR) != 0)
            fail_msg("cut %zu: sector %llu shows what was never written there", cut, (unsigned long long)s);
        if (!may_show(s, value, cut))
            fail_msg("cut %zu: sector %llu shows %u, which is older than the last flush", cut, (unsigned long long)s,
                     value);
    }
}

static void say(void *opaque, const char *line)
{
    print_message("%s\n", line);
}

static void log_line(void *opaque, enum log_level level, const char *text)
{
    print_message("%s\n", text);
}

static const struct log test_log = {.sink = log_line, .level = LOG_WARN};

static struct image *open_memory(int fd, bool read_only, bool metadata, const struct file_ops *ops)
{
    struct image_config cfg = {
        .path = "memory", .format = IMAGE_QCOW2, .read_only = read_only, .metadata = metadata, .log = &test_log};
    struct error err = {0};
    struct image *im;
    struct file *f = file_adopt(fd, read_only);
    assert_non_null(f);
    real_ops = f->ops;
    if (ops)
        f->ops = ops;
    if (image_open_file(&cfg, f, &im, &err))
        fail_msg("%s", err.text);
    return im;
}

static void cut_once(const u8 *begin, u64 begin_size, size_t cut)
{
    u8 *file = calloc(1, FILE_MAX);
    u64 size = begin_size;
    struct qcow2_result result;
    struct error err;
    int fd = memfd_create("cut", MFD_CLOEXEC);
    assert_true(fd >= 0 && file);
    memcpy(file, begin, begin_size);
    lose_power(file, &size, cut);
    assert_int_equal(pwrite(fd, file, size, 0), size);
    free(file);
    struct image *im = open_memory(dup(fd), true, true, NULL);
    assert_int_equal(qcow2_check(im, QCOW2_REPAIR_NONE, NULL, NULL, &result, &err), 0);
    if (result.errors) {
        (void)!qcow2_check(im, QCOW2_REPAIR_NONE, say, NULL, &result, &err);
        fail_msg("cut %zu of %zu: %llu errors", cut, rec.notes, (unsigned long long)result.errors);
    }
    assert_int_equal(image_close(im), 0);
    im = open_memory(fd, true, false, NULL);
    verify(im, cut);
    assert_int_equal(image_close(im), 0);
}

static void lose_power_often(u32 cluster_bits)
{
    static u8 begin[MiB(8)];
    struct error err;
    struct qcow2_new new = {.size = DISK, .cluster_bits = cluster_bits};
    int fd = memfd_create("disk", MFD_CLOEXEC);
    struct file *f = file_adopt(dup(fd), false);
    assert_non_null(f);
    assert_int_equal(qcow2_create(f, "memory", &new, &err), 0);
    file_close(f);
    memset(begin, 0, sizeof(begin));
    ssize_t begin_size = pread(fd, begin, sizeof(begin), 0);
    assert_true(begin_size > 0);
    rec = (struct record){0};
    struct image *im = open_memory(fd, false, false, &noting_ops);
    for (u32 i = 0; i < STEPS; i++)
        step(im, i + 1);
    assert_int_equal(image_close(im), 0);
    for (unsigned i = 0; i < CUTS; i++)
        cut_once(begin, (u64)begin_size, i ? below(rec.notes + 1) : rec.notes);
    for (size_t i = 0; i < rec.notes; i++)
        free(rec.note[i].data);
    free(rec.note);
}

static void test_power(void **state)
{
    static const u32 bits[] = {9, 12, 16};
    for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
        lose_power_often(bits[i]);
}

/* A place that somebody still reads or writes is not given to anybody else, however often the image is flushed. */
static void test_pinned(void **state)
{
    static u8 data[KiB(64)];
    struct iovec iov = {data, sizeof(data)};
    struct image_place place, other;
    struct error err;
    struct qcow2_new new = {.size = DISK, .cluster_bits = 16};
    int fd = memfd_create("disk", MFD_CLOEXEC);
    struct file *f = file_adopt(dup(fd), false);
    assert_int_equal(qcow2_create(f, "memory", &new, &err), 0);
    file_close(f);
    struct image *im = open_memory(fd, false, false, NULL);
    assert_int_equal(im->ops->write(im, 0, sizeof(data), vec_of(&iov, 1)), 0);
    assert_int_equal(im->ops->map(im, 512, 1024, true, &place), 0);
    assert_int_equal(im->ops->discard(im, 0, sizeof(data)), 0);
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(im->ops->flush(im), 0);
        assert_int_equal(im->ops->write(im, i * sizeof(data), sizeof(data), vec_of(&iov, 1)), 0);
        assert_int_equal(im->ops->map(im, i * sizeof(data), 512, false, &other), 0);
        im->ops->unmap(im, other.pin);
        assert_true(other.offset + 512 != place.offset);
    }
    im->ops->unmap(im, place.pin);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(im->ops->flush(im), 0);
    assert_int_equal(im->ops->write(im, 0, sizeof(data), vec_of(&iov, 1)), 0);
    assert_int_equal(im->ops->map(im, 0, 512, false, &other), 0);
    im->ops->unmap(im, other.pin);
    assert_int_equal(other.offset + 512, place.offset);
    assert_int_equal(image_close(im), 0);
}

/* A host that has no room now and then: what was written is there, and the image is whole. */
static bool full;

static ssize_t full_pwritev(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    if (full && below(3) == 0)
        return -ENOSPC;
    return real_ops->pwritev(f, iov, iovs, offset);
}

static int full_sync(struct file *f)
{
    return 0;
}

static int full_allocate(struct file *f, int mode, u64 offset, u64 length)
{
    return full ? -EOPNOTSUPP : real_ops->allocate(f, mode, offset, length);
}

static void test_full(void **state)
{
    static u8 data[64 * BLOCK_SECTOR];
    static u32 value[SECTORS], unsure[SECTORS];
    struct error err;
    struct qcow2_result result;
    struct file_ops ops = {noting_preadv, full_pwritev, full_sync, full_allocate};
    struct qcow2_new new = {.size = DISK, .cluster_bits = 9};
    int fd = memfd_create("disk", MFD_CLOEXEC), failed = 0;
    struct file *f = file_adopt(dup(fd), false);
    assert_int_equal(qcow2_create(f, "memory", &new, &err), 0);
    file_close(f);
    struct image *im = open_memory(dup(fd), false, false, &ops);
    for (u32 n = 1; n < 1500; n++) {
        u64 first = below(SECTORS - 64), count = 1 + below(64);
        struct iovec iov = {data, count * BLOCK_SECTOR};
        full = n % 100 > 70;
        for (u64 i = 0; i < count; i++)
            mark(data + i * BLOCK_SECTOR, first + i, n);
        bool zero = below(5) == 0;
        int status = zero ? im->ops->zero(im, first * BLOCK_SECTOR, count * BLOCK_SECTOR, true)
                          : im->ops->write(im, first * BLOCK_SECTOR, count * BLOCK_SECTOR, vec_of(&iov, 1));
        assert_true(!status || (full && status == -ENOSPC));
        failed += status != 0;
        for (u64 i = first; i < first + count; i++) {
            unsure[i] = status ? n : 0;
            value[i] = status ? value[i] : zero ? 0 : n;
        }
        if (below(10) == 0 && im->ops->flush(im))
            assert_true(full);
    }
    full = false;
    assert_true(failed > 20);
    assert_int_equal(image_close(im), 0);
    im = open_memory(dup(fd), true, true, NULL);
    assert_int_equal(qcow2_check(im, QCOW2_REPAIR_NONE, say, NULL, &result, &err), 0);
    assert_int_equal(result.errors, 0);
    assert_int_equal(image_close(im), 0);
    im = open_memory(fd, true, false, NULL);
    for (u64 s = 0; s < SECTORS; s++) {
        struct iovec iov = {data, BLOCK_SECTOR};
        assert_int_equal(im->ops->read(im, s * BLOCK_SECTOR, BLOCK_SECTOR, vec_of(&iov, 1)), 0);
        if (!unsure[s])
            assert_int_equal(get_u64(data + 8), value[s]);
    }
    assert_int_equal(image_close(im), 0);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refcount_widths), cmocka_unit_test(test_cluster_set), cmocka_unit_test(test_power),
        cmocka_unit_test(test_pinned),          cmocka_unit_test(test_full),
    };
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : seed_choose();
    printf("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
