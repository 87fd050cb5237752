/*
 * New qcow2 images: version 3, 16-bit refcounts, zlib. The header's cluster, the refcount table, its blocks and an
 * empty L1 table follow each other.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "base/bits.h"

#define ORDER 4

struct layout {
    u64 table, blocks, l1; /* clusters of each */
    u64 total;
};

static u64 clusters_for(u64 bytes, u32 cluster_bits)
{
    return (bytes + BIT64(cluster_bits) - 1) >> cluster_bits;
}

/* The blocks count themselves, so their number is found by going up. */
static struct layout lay_out(u64 l1_bytes, u32 bits)
{
    struct layout l = {.l1 = clusters_for(l1_bytes, bits)};
    u64 per_block = BIT64(bits + 3 - ORDER);
    do {
        l.blocks++;
        l.table = clusters_for(l.blocks * 8, bits);
        l.total = 1 + l.table + l.blocks + l.l1;
    } while (l.blocks * per_block < l.total);
    return l;
}

static int write_counts(struct file *f, const struct layout *l, u32 bits)
{
    u64 per_block = BIT64(bits + 3 - ORDER);
    u8 *cluster = calloc(1, BIT64(bits)), *table = calloc(l->table, BIT64(bits));
    int status = cluster && table ? 0 : -ENOMEM;
    for (u64 b = 0; b < l->blocks && !status; b++) {
        u64 offset = (1 + l->table + b) << bits;
        memset(cluster, 0, BIT64(bits));
        for (u64 i = 0; i < per_block && b * per_block + i < l->total; i++)
            qcow2_refcount_store(cluster, i, ORDER, 1);
        qcow2_put_be64(table + b * 8, offset);
        status = file_write_at(f, offset, cluster, BIT64(bits));
    }
    if (!status)
        status = file_write_at(f, BIT64(bits), table, l->table << bits);
    free(cluster);
    free(table);
    return status;
}

static int write_all(struct file *f, const struct qcow2_header *h, const struct layout *l)
{
    u8 *first = calloc(1, BIT64(h->cluster_bits));
    int status = first ? qcow2_header_write(h, first) : -ENOMEM;
    if (!status)
        status = file_resize(f, l->total << h->cluster_bits);
    if (!status)
        status = write_counts(f, l, h->cluster_bits);
    if (!status)
        status = file_write_at(f, 0, first, BIT64(h->cluster_bits));
    free(first);
    return status;
}

int qcow2_create(struct file *f, const char *path, const struct qcow2_new *how, struct error *err)
{
    u32 bits = how->cluster_bits;
    u64 covered = BIT64(bits + bits - 3), entries = how->size / covered + (how->size % covered != 0);
    if (entries > QCOW2_L1_MAX / 8)
        return error_set(err, -EFBIG, "%s: too large for clusters of %llu bytes; give a larger --cluster-size", path,
                         (unsigned long long)BIT64(bits));
    /* Even an empty disk gets an L1 table: one without entries has no place to be. */
    struct layout l = lay_out(entries ? entries * 8 : 8, bits);
    struct qcow2_header h = {
        .cluster_bits = bits,
        .size = how->size,
        .l1_size = entries ? (u32)entries : 1,
        .l1_offset = (1 + l.table + l.blocks) << bits,
        .reftable_offset = BIT64(bits),
        .reftable_clusters = (u32)l.table,
        .refcount_order = ORDER,
    };
    if (how->backing && strlen(how->backing) > QCOW2_NAME_MAX)
        return error_set(err, -ENAMETOOLONG, "%s: the name of the backing file is longer than %d bytes", path,
                         QCOW2_NAME_MAX);
    if (how->backing) {
        memcpy(h.backing, how->backing, strlen(how->backing));
        (void)strncpy(h.backing_format, how->backing_format, sizeof(h.backing_format) - 1);
    }
    int status = write_all(f, &h, &l);
    if (status == -ENAMETOOLONG)
        return error_set(err, status, "%s: the name of the backing file does not fit into a cluster", path);
    return status ? error_set(err, status, "%s: cannot be written: %s", path, strerror(-status)) : 0;
}
