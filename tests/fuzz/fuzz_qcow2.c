/*
 * qcow2 images: a small image of our own making, damaged by the input, is opened, read, written, discarded, checked and
 * repaired.
 *
 * The first bytes of the input choose the image and what is done with it; then come pieces of {place, length, bytes}
 * that are put over it. Places are mostly near the tables, where damage matters.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "base/bits.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define DISK KiB(256)

struct input {
    const u8 *data;
    size_t size;
};

static u64 take(struct input *in, unsigned bytes)
{
    u64 v = 0;
    for (unsigned i = 0; i < bytes && in->size; i++, in->data++, in->size--)
        v = v << 8 | *in->data;
    return v;
}

/* An open image on its own descriptor of the file. */
static struct image *open_image(int fd, bool read_only, bool metadata)
{
    struct image_config cfg = {.path = "image", .format = IMAGE_QCOW2, .read_only = read_only, .metadata = metadata};
    struct error err = {0};
    struct image *im = NULL;
    struct file *f = file_adopt(dup(fd), read_only);
    if (!f)
        abort();
    if (image_open_file(&cfg, f, &im, &err) && strncmp(err.text, "image: ", 7) != 0)
        abort(); /* a refusal says why */
    return im;
}

/* Some data, plain and compressed, so that there is something to lead astray. */
static void fill(int fd, u32 cluster_bits)
{
    static u8 bytes[KiB(16)];
    struct qcow2_new new = {.size = DISK, .cluster_bits = cluster_bits};
    struct error err;
    struct file *f = file_adopt(dup(fd), false);
    if (!f || qcow2_create(f, "image", &new, &err))
        abort();
    file_close(f);
    struct image *im = open_image(fd, false, false);
    struct iovec iov = {bytes, sizeof(bytes)};
    memset(bytes, 'x', sizeof(bytes));
    u64 cluster = im->cluster < sizeof(bytes) ? im->cluster : sizeof(bytes);
    if (im->ops->write(im, 0, sizeof(bytes), vec_of(&iov, 1)) || im->ops->zero(im, KiB(64), KiB(64), false) ||
        im->ops->write_compressed(im, KiB(128), cluster, vec_of(&iov, 1)) || image_close(im))
        abort();
}

static u64 read_word(int fd, u64 offset)
{
    u8 raw[8] = {0};
    return pread(fd, raw, sizeof(raw), (off_t)offset) == sizeof(raw) ? qcow2_be64(raw) & QCOW2_OFFSET : 0;
}

static void damage(int fd, struct input *in, unsigned pieces)
{
    u64 l1 = read_word(fd, QCOW2_AT_L1_OFFSET), table = read_word(fd, QCOW2_AT_REFTABLE_OFFSET);
    const u64 bases[] = {0, 64, l1, read_word(fd, l1), table, read_word(fd, table), 0, 0};
    for (; pieces && in->size > 4; pieces--) {
        u8 where = (u8)take(in, 1), length = (u8)take(in, 1);
        u64 offset = bases[where & 7] + take(in, where & 8 ? 2 : 1);
        size_t n = (length & 15) + 1u;
        n = n < in->size ? n : in->size;
        if (pwrite(fd, in->data, n, (off_t)(offset & 0xfffff)) < 0)
            abort();
        in->data += n;
        in->size -= n;
    }
}

static void use(struct image *im, struct input *in)
{
    static u8 bytes[KiB(64)];
    struct iovec iov = {bytes, sizeof(bytes)};
    for (unsigned i = 0; i < 12 && in->size; i++) {
        u64 op = take(in, 1), offset = take(in, 2) * 8, length = 1 + take(in, 2) % sizeof(bytes);
        int status = 0;
        if (!image_inside(im, offset, length))
            continue;
        if (op % 6 == 0 || im->read_only)
            status = im->ops->read(im, offset, length, vec_of(&iov, 1));
        else if (op % 6 <= 2)
            status = im->ops->write(im, offset, length, vec_of(&iov, 1));
        else if (op % 6 == 3)
            status = im->ops->discard(im, offset, length);
        else if (op % 6 == 4)
            status = im->ops->zero(im, offset, length, op & 64);
        else
            status = im->ops->flush(im);
        if (status > 0)
            abort();
    }
}

/* What a repair leaves has no errors that it could have repaired, and can be looked at again. */
static void check(int fd, enum qcow2_repair repair)
{
    struct image *im = open_image(fd, repair == QCOW2_REPAIR_NONE, true);
    struct qcow2_result result;
    struct error err = {0};
    if (!im)
        return;
    int status = qcow2_check(im, repair, NULL, NULL, &result, &err);
    if (status && strncmp(err.text, "image: ", 7) != 0)
        abort();
    (void)!image_close(im);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u32 bits[] = {9, 10, 12, 16};
    struct input in = {data, size};
    u8 how = (u8)take(&in, 1);
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0)
        abort();
    fill(fd, bits[how & 3]);
    damage(fd, &in, how >> 2 & 7);
    if ((how & 0xe0) == 0xe0 && ftruncate(fd, (off_t)take(&in, 3) & 0xfffff))
        abort();
    check(fd, QCOW2_REPAIR_NONE);
    struct image *im = open_image(fd, how & 32, false);
    if (im) {
        use(im, &in);
        (void)!image_close(im);
    }
    check(fd, how & 64 ? QCOW2_REPAIR_ALL : QCOW2_REPAIR_LEAKS);
    close(fd);
    return 0;
}
