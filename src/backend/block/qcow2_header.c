/*
 * The header of a qcow2 file: read with suspicion, written once (qcow2.h).
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "base/bits.h"

#define MAGIC "QFI\xfb"

enum {
    EXTENSION_END = 0,
    EXTENSION_BACKING_FORMAT = 0xe2792aca,
    EXTENSION_FEATURES = 0x6803f857,
    EXTENSION_BITMAPS = 0x23852875,
};

#define FEATURE_SIZE 48 /* of a row of the feature table: kind, bit, name */
#define FEATURE_NAME 46
#define HEADER_MAX   KiB(64) /* what is read of it; extensions and the name below are short */

/* The part of the file that may hold the header, its extensions, and the name below. */
struct head {
    struct file *file;
    const char *path;
    struct error *err;
    u32 length;
    u8 bytes[HEADER_MAX];
};

static int refuse(const struct head *d, const char *why)
{
    return error_set(d->err, -EINVAL, "%s: %s", d->path, why);
}

static void read_fields(const u8 *p, struct qcow2_header *h)
{
    *h = (struct qcow2_header){
        .version = qcow2_be32(p + QCOW2_AT_VERSION),
        .cluster_bits = qcow2_be32(p + QCOW2_AT_CLUSTER_BITS),
        .size = qcow2_be64(p + QCOW2_AT_SIZE),
        .l1_size = qcow2_be32(p + QCOW2_AT_L1_SIZE),
        .l1_offset = qcow2_be64(p + QCOW2_AT_L1_OFFSET),
        .reftable_offset = qcow2_be64(p + QCOW2_AT_REFTABLE_OFFSET),
        .reftable_clusters = qcow2_be32(p + QCOW2_AT_REFTABLE_CLUSTERS),
        .snapshots = qcow2_be32(p + QCOW2_AT_SNAPSHOTS),
        .snapshots_offset = qcow2_be64(p + QCOW2_AT_SNAPSHOTS_OFFSET),
        .refcount_order = 4,
        .header_length = QCOW2_HEADER_V2,
    };
    if (h->version < 3)
        return;
    h->incompatible = qcow2_be64(p + QCOW2_AT_INCOMPATIBLE);
    h->compatible = qcow2_be64(p + QCOW2_AT_COMPATIBLE);
    h->autoclear = qcow2_be64(p + QCOW2_AT_AUTOCLEAR);
    h->refcount_order = qcow2_be32(p + QCOW2_AT_REFCOUNT_ORDER);
    h->header_length = qcow2_be32(p + QCOW2_AT_HEADER_LENGTH);
}

/* What the file calls a feature bit; the table of names is an extension. */
static void feature_name(const struct head *d, const struct qcow2_header *h, unsigned bit, char *name, size_t size)
{
    for (u32 at = h->header_length; at + 8 <= d->length;) {
        u32 type = qcow2_be32(d->bytes + at), length = qcow2_be32(d->bytes + at + 4);
        at += 8;
        if (type == EXTENSION_END || length > d->length - at)
            break;
        for (u32 row = 0; type == EXTENSION_FEATURES && row + FEATURE_SIZE <= length; row += FEATURE_SIZE) {
            const u8 *p = d->bytes + at + row;
            if (p[0] == 0 && p[1] == bit) {
                size_t n = strnlen((const char *)p + 2, FEATURE_NAME);
                n = n < size ? n : size - 1;
                memcpy(name, p + 2, n);
                name[n] = '\0';
                return;
            }
        }
        at += (u32)align_up(length, 8);
    }
    name[0] = '\0';
}

static int check_features(const struct head *d, struct qcow2_header *h)
{
    static const struct {
        u64 bit;
        const char *why;
    } refused[] = {
        {QCOW2_INCOMPAT_DATA_FILE, "keeps its data in another file, which ring3 does not follow"},
        {QCOW2_INCOMPAT_EXTENDED_L2, "has extended L2 entries, which ring3 does not have"},
    };
    const u64 known = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_COMPRESSION;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        if (h->incompatible & refused[i].bit)
            return error_set(d->err, -ENOTSUP, "%s: %s; convert it with qemu-img", d->path, refused[i].why);
    u64 unknown = h->incompatible & ~known;
    if (unknown) {
        char name[FEATURE_NAME + 1];
        unsigned bit = (unsigned)__builtin_ctzll(unknown);
        feature_name(d, h, bit, name, sizeof(name));
        return error_set(d->err, -ENOTSUP, "%s: needs a feature that ring3 does not have: %s (incompatible bit %u)",
                         d->path, name[0] ? name : "it has no name", bit);
    }
    u8 compression = h->header_length > QCOW2_AT_COMPRESSION ? d->bytes[QCOW2_AT_COMPRESSION] : 0;
    if (compression > QCOW2_ZSTD || !compression != !(h->incompatible & QCOW2_INCOMPAT_COMPRESSION))
        return refuse(d, "names a kind of compression that ring3 does not have, or is damaged");
    h->compression = (enum qcow2_compression)compression;
    return 0;
}

/* An area that the header names: aligned, and inside the file. */
static bool area_good(const struct qcow2_header *h, u64 file_size, u64 offset, u64 length)
{
    return is_aligned(offset, BIT64(h->cluster_bits)) && offset && range_inside(offset, length, file_size);
}

static int check_geometry(const struct head *d, const struct qcow2_header *h)
{
    u64 size = d->file->size;
    if (h->cluster_bits < QCOW2_BITS_MIN || h->cluster_bits > QCOW2_BITS_MAX)
        return refuse(d, "damaged header: the size of its clusters is not 512 bytes to 2 MiB");
    if (h->header_length < (h->version < 3 ? QCOW2_HEADER_V2 : QCOW2_HEADER_V3) ||
        h->header_length > BIT64(h->cluster_bits) || !is_aligned(h->header_length, 8) || h->header_length > d->length)
        return refuse(d, "damaged header: its length cannot be");
    if (h->refcount_order > 6)
        return refuse(d, "damaged header: its reference counts have more than 64 bits");
    if (h->size > align_down(INT64_MAX, BLOCK_SECTOR))
        return refuse(d, "damaged header: the disk is larger than 2^63 bytes");
    if (h->l1_size > QCOW2_L1_MAX / 8)
        return refuse(d, "damaged header: its L1 table has more than 32 MiB");
    u64 covered = BIT64(h->cluster_bits + h->cluster_bits - 3); /* by one entry; the product stays below 2^63 + it */
    if (h->size && (h->size - 1) / covered >= h->l1_size)
        return refuse(d, "damaged header: its L1 table is too short for the disk");
    if (h->l1_size && !area_good(h, size, h->l1_offset, (u64)h->l1_size * 8))
        return refuse(d, "damaged or cut off: its L1 table is not inside the file");
    if (!h->reftable_clusters || (u64)h->reftable_clusters << h->cluster_bits > QCOW2_REFTABLE_MAX)
        return refuse(d, "damaged header: its refcount table is empty, or has more than 8 MiB");
    if (!area_good(h, size, h->reftable_offset, (u64)h->reftable_clusters << h->cluster_bits))
        return refuse(d, "damaged or cut off: its refcount table is not inside the file");
    if (h->snapshots > QCOW2_SNAPSHOTS_MAX ||
        (h->snapshots && !area_good(h, size, h->snapshots_offset, (u64)h->snapshots * 40)))
        return refuse(d, "damaged or cut off: its table of snapshots is not inside the file");
    return 0;
}

static int read_bitmaps(const struct head *d, struct qcow2_header *h, const u8 *p, u32 length)
{
    if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
        return 0; /* out of date: they do not count */
    if (length < 24)
        return refuse(d, "damaged header: the extension of bitmaps is too short");
    h->bitmaps = qcow2_be32(p);
    h->bitmaps_size = qcow2_be64(p + 8);
    h->bitmaps_offset = qcow2_be64(p + 16);
    return 0;
}

static int read_extensions(const struct head *d, struct qcow2_header *h)
{
    for (u32 at = h->header_length; at + 8 <= d->length;) {
        u32 type = qcow2_be32(d->bytes + at), length = qcow2_be32(d->bytes + at + 4);
        at += 8;
        if (type == EXTENSION_END)
            return 0;
        if (length > d->length - at)
            return refuse(d, "damaged header: an extension is longer than the header");
        if (type == EXTENSION_BACKING_FORMAT && length < sizeof(h->backing_format))
            memcpy(h->backing_format, d->bytes + at, length);
        int status = type == EXTENSION_BITMAPS ? read_bitmaps(d, h, d->bytes + at, length) : 0;
        if (status)
            return status;
        at += (u32)align_up(length, 8);
    }
    return 0;
}

static int read_backing(const struct head *d, struct qcow2_header *h)
{
    u64 offset = qcow2_be64(d->bytes + QCOW2_AT_BACKING_OFFSET);
    u32 length = qcow2_be32(d->bytes + QCOW2_AT_BACKING_SIZE);
    if (!offset)
        return 0;
    if (length > QCOW2_NAME_MAX || !range_inside(offset, length, BIT64(h->cluster_bits)))
        return refuse(d, "damaged header: the name of its backing file is not inside the first cluster");
    return file_read_at(d->file, offset, h->backing, length);
}

static int read_head(struct head *d, struct qcow2_header *h)
{
    int status = file_read_at(d->file, 0, d->bytes, sizeof(d->bytes));
    if (status)
        return error_set(d->err, status, "%s: cannot be read: %s", d->path, strerror(-status));
    if (d->file->size < QCOW2_HEADER_V2 || memcmp(d->bytes, MAGIC, 4) != 0)
        return refuse(d, "is no qcow2 image");
    read_fields(d->bytes, h);
    if (h->version != 2 && h->version != 3)
        return refuse(d, "is a qcow image of another version than 2 and 3; convert it with qemu-img");
    if (qcow2_be32(d->bytes + QCOW2_AT_CRYPT))
        return refuse(d, "is encrypted, which ring3 does not have; convert it with qemu-img");
    u64 first = h->cluster_bits <= QCOW2_BITS_MAX ? BIT64(h->cluster_bits) : 0;
    d->length = (u32)(first < sizeof(d->bytes) ? first : sizeof(d->bytes));
    status = check_geometry(d, h);
    if (!status)
        status = check_features(d, h);
    if (!status && (h->version >= 3 || h->header_length == QCOW2_HEADER_V2))
        status = read_extensions(d, h);
    return status ? status : read_backing(d, h);
}

int qcow2_header_read(struct file *f, const char *path, struct qcow2_header *h, struct error *err)
{
    struct head *d = calloc(1, sizeof(*d));
    if (!d)
        return error_set(err, -ENOMEM, "%s: out of memory", path);
    d->file = f;
    d->path = path;
    d->err = err;
    int status = read_head(d, h);
    free(d);
    return status;
}

static void put_feature(u8 **at, u8 kind, u8 bit, const char *name)
{
    (*at)[0] = kind;
    (*at)[1] = bit;
    memcpy(*at + 2, name, strlen(name));
    *at += FEATURE_SIZE;
}

static u8 *put_extensions(const struct qcow2_header *h, u8 *at)
{
    size_t length = strlen(h->backing_format);
    if (length) {
        qcow2_put_be32(at, EXTENSION_BACKING_FORMAT);
        qcow2_put_be32(at + 4, (u32)length);
        memcpy(at + 8, h->backing_format, length);
        at += 8 + align_up(length, 8);
    }
    qcow2_put_be32(at, EXTENSION_FEATURES);
    u8 *rows = at + 8;
    put_feature(&rows, 0, 0, "dirty bit");
    put_feature(&rows, 0, 1, "corrupt bit");
    put_feature(&rows, 1, 0, "lazy refcounts");
    qcow2_put_be32(at + 4, (u32)(rows - at - 8));
    return rows + 8; /* the end: type 0, length 0 */
}

int qcow2_header_write(const struct qcow2_header *h, u8 *out)
{
    size_t name = strlen(h->backing);
    memcpy(out, MAGIC, 4);
    qcow2_put_be32(out + QCOW2_AT_VERSION, 3);
    qcow2_put_be32(out + QCOW2_AT_CLUSTER_BITS, h->cluster_bits);
    qcow2_put_be64(out + QCOW2_AT_SIZE, h->size);
    qcow2_put_be32(out + QCOW2_AT_L1_SIZE, h->l1_size);
    qcow2_put_be64(out + QCOW2_AT_L1_OFFSET, h->l1_offset);
    qcow2_put_be64(out + QCOW2_AT_REFTABLE_OFFSET, h->reftable_offset);
    qcow2_put_be32(out + QCOW2_AT_REFTABLE_CLUSTERS, h->reftable_clusters);
    qcow2_put_be32(out + QCOW2_AT_REFCOUNT_ORDER, h->refcount_order);
    qcow2_put_be32(out + QCOW2_AT_HEADER_LENGTH, QCOW2_HEADER_NEW);
    u8 *at = put_extensions(h, out + QCOW2_HEADER_NEW);
    if (!name)
        return 0;
    if (name > QCOW2_NAME_MAX || name > BIT64(h->cluster_bits) - (u64)(at - out))
        return -ENAMETOOLONG;
    memcpy(at, h->backing, name);
    qcow2_put_be64(out + QCOW2_AT_BACKING_OFFSET, (u64)(at - out));
    qcow2_put_be32(out + QCOW2_AT_BACKING_SIZE, (u32)name);
    return 0;
}

int qcow2_header_features(struct file *f, struct qcow2_header *h, u64 incompatible, u64 autoclear)
{
    u8 words[24];
    if (h->version < 3)
        return 0;
    qcow2_put_be64(words, incompatible);
    qcow2_put_be64(words + 8, h->compatible);
    qcow2_put_be64(words + 16, autoclear);
    int status = file_write_at(f, QCOW2_AT_INCOMPATIBLE, words, sizeof(words));
    if (!status)
        status = file_sync(f);
    if (status)
        return status;
    h->incompatible = incompatible;
    h->autoclear = autoclear;
    return 0;
}
