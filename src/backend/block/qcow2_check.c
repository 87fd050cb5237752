/*
 * Holds the refcounts of a qcow2 file against what its tables use (qcow2_count.h), and makes them anew.
 *
 * Repair never changes refcounts where they are: a whole new set of them goes behind the end of the file, is made
 * durable, and then the header is pointed to it. A repair that dies half-way has changed nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/qcow2_count.h"
#include "base/bits.h"

struct checker {
    struct qcow2_count c;
    enum qcow2_repair repair;
    bool wrong;    /* refcounts that differ */
    bool keep_low; /* leaks only: what is too low stays as it is */
};

static u64 refs_of(const struct checker *k, u64 cluster)
{
    return cluster < k->c.clusters ? k->c.refs[cluster] : 0;
}

/* One block's worth of refcounts against what is used. Behind the file nothing is. */
static void compare_block(struct checker *k, const u8 *block, u64 first)
{
    u32 order = k->c.q->h.refcount_order;
    for (u64 i = 0; i < BIT64(k->c.q->block_bits); i++) {
        unsigned long long cluster = first + i, used = refs_of(k, cluster);
        unsigned long long counted = block ? qcow2_refcount_read(block, i, order) : 0;
        if (used == counted)
            continue;
        k->wrong = true;
        if (counted > used)
            k->c.result->leaks++;
        else
            k->c.result->errors++;
        qcow2_count_say(&k->c, "%s: cluster %llu counts %llu uses and has %llu", counted > used ? "leak" : "error",
                        cluster, counted, used);
    }
}

/* The refcounts that the file has for one block into c.cluster; NULL if there is none. */
static int read_block(struct checker *k, u64 n, u8 **block)
{
    u64 at = n < k->c.block_entries ? k->c.blocks[n] : 0;
    *block = at ? k->c.cluster : NULL;
    return at ? file_read_at(k->c.q->file, at, k->c.cluster, k->c.q->cluster_size) : 0;
}

static int compare(struct checker *k)
{
    u64 per_block = BIT64(k->c.q->block_bits), needed = (k->c.clusters + per_block - 1) / per_block;
    u64 blocks = needed > k->c.block_entries ? needed : k->c.block_entries;
    for (u64 n = 0; n < blocks; n++) {
        u8 *block;
        int status = read_block(k, n, &block);
        if (status)
            return status;
        if (block || n < needed)
            compare_block(k, block, n * per_block);
    }
    return 0;
}

/* COPIED says that a cluster is used once, and so may be written to where it is. */
static bool copied_wrong(const struct checker *k, u64 entry)
{
    u64 offset = entry & QCOW2_OFFSET;
    if (entry & QCOW2_COMPRESSED)
        return entry & QCOW2_COPIED;
    if (!offset || !is_aligned(offset, k->c.q->cluster_size) || offset >> k->c.q->h.cluster_bits >= k->c.clusters)
        return false; /* empty, or an error that was counted */
    return !(entry & QCOW2_COPIED) != (refs_of(k, offset >> k->c.q->h.cluster_bits) != 1);
}

/* The entries of one active table; wrong flags are put right if that was asked for. */
static int check_flags(struct checker *k, u64 table, u64 entries, u8 *words)
{
    for (u64 i = 0; i < entries; i++) {
        u64 entry = qcow2_be64(words + i * 8);
        if (!copied_wrong(k, entry))
            continue;
        k->c.result->errors++;
        qcow2_count_say(&k->c, "error: entry 0x%llx does not say rightly whether its cluster is shared",
                        (unsigned long long)entry);
        if (k->repair != QCOW2_REPAIR_ALL || refs_of(k, table >> k->c.q->h.cluster_bits) != 1)
            continue; /* what something else uses too is left alone */
        qcow2_put_be64(words + i * 8, entry ^ QCOW2_COPIED);
        int status = file_write_at(k->c.q->file, table + i * 8, words + i * 8, 8);
        if (status)
            return status;
    }
    return 0;
}

/* The disk's own tables; those of snapshots have no flags that count. */
static int check_all_flags(struct checker *k)
{
    struct qcow2 *q = k->c.q;
    u64 l1_bytes = (u64)q->h.l1_size * 8;
    u8 *l1 = malloc(l1_bytes + 1);
    int status = l1 ? file_read_at(q->file, q->h.l1_offset, l1, l1_bytes) : -ENOMEM;
    struct cluster_set seen = {0};
    for (u32 i = 0; i < q->h.l1_size && !status; i++) {
        u64 table = qcow2_be64(l1 + (size_t)i * 8) & QCOW2_OFFSET, n;
        if (!table || table >> q->h.cluster_bits >= k->c.clusters || !k->c.tables[table >> q->h.cluster_bits] ||
            !cluster_set_add(&seen, table >> q->h.cluster_bits, &status) || status)
            continue;
        status = qcow2_count_words(&k->c, table, 0, &n, q->cluster_size / 8);
        if (!status)
            status = check_flags(k, table, n, k->c.cluster);
    }
    if (!status)
        status = check_flags(k, q->h.l1_offset, q->h.l1_size, l1);
    cluster_set_free(&seen);
    free(l1);
    return status;
}

/* Making them anew */

struct anew {
    u64 first;         /* cluster: the blocks, then the table */
    u64 blocks, table; /* clusters of each */
};

static struct anew plan(const struct checker *k)
{
    u64 per_block = BIT64(k->c.q->block_bits), words = k->c.q->cluster_size / 8;
    struct anew a = {.first = k->c.clusters};
    do {
        a.blocks++;
        a.table = (a.blocks + words - 1) / words;
    } while (a.blocks * per_block < a.first + a.blocks + a.table);
    return a;
}

/* The refcounts that there are now go: they are used once less. */
static void forget_old(struct checker *k)
{
    u32 bits = k->c.q->h.cluster_bits;
    for (u32 i = 0; i < k->c.q->h.reftable_clusters; i++)
        k->c.refs[(k->c.q->h.reftable_offset >> bits) + i]--;
    for (u32 i = 0; i < k->c.block_entries; i++)
        if (k->c.blocks[i])
            k->c.refs[k->c.blocks[i] >> bits]--;
}

/* What block `n` shall say: what is used, but never more than is counted now if only leaks are to go. */
static int fill_block(struct checker *k, const struct anew *a, u64 n, u8 *out)
{
    u64 first = n << k->c.q->block_bits;
    u32 order = k->c.q->h.refcount_order;
    u64 max = BIT64(BIT(order) - 1) * 2 - 1;
    u8 *old;
    int status = read_block(k, n, &old);
    if (status)
        return status;
    memset(out, 0, k->c.q->cluster_size);
    for (u64 i = 0; i < BIT64(k->c.q->block_bits); i++) {
        u64 at = first + i, value = refs_of(k, at);
        if (at >= a->first && at < a->first + a->blocks + a->table)
            value = 1;
        else if (k->keep_low && value > (old ? qcow2_refcount_read(old, i, order) : 0))
            value = old ? qcow2_refcount_read(old, i, order) : 0;
        if (value > max)
            return -ERANGE;
        qcow2_refcount_store(out, i, order, value);
    }
    return 0;
}

static int write_anew(struct checker *k, const struct anew *a)
{
    struct qcow2 *q = k->c.q;
    u8 *out = malloc(q->cluster_size), *table = calloc(a->table, q->cluster_size), header[12];
    int status = out && table ? 0 : -ENOMEM;
    for (u64 n = 0; n < a->blocks && !status; n++) {
        u64 offset = (a->first + n) << q->h.cluster_bits;
        status = fill_block(k, a, n, out);
        if (!status)
            status = file_write_at(q->file, offset, out, q->cluster_size);
        qcow2_put_be64(table + n * 8, offset);
    }
    u64 offset = (a->first + a->blocks) << q->h.cluster_bits;
    if (!status)
        status = file_write_at(q->file, offset, table, a->table << q->h.cluster_bits);
    if (!status)
        status = file_sync(q->file);
    free(out);
    free(table);
    if (status)
        return status;
    qcow2_put_be64(header, offset);
    qcow2_put_be32(header + 8, (u32)a->table);
    status = file_write_at(q->file, QCOW2_AT_REFTABLE_OFFSET, header, sizeof(header));
    if (!status)
        status = file_sync(q->file);
    if (status)
        return status;
    q->h.reftable_offset = offset;
    q->h.reftable_clusters = (u32)a->table;
    return 0;
}

static int make_anew(struct checker *k)
{
    struct anew a = plan(k);
    if (!k->wrong || (k->repair == QCOW2_REPAIR_LEAKS && !k->c.result->leaks))
        return 0;
    if (a.table << k->c.q->h.cluster_bits > QCOW2_REFTABLE_MAX)
        return -EFBIG;
    k->keep_low = k->repair == QCOW2_REPAIR_LEAKS;
    forget_old(k);
    return write_anew(k, &a);
}

static int run(struct qcow2 *q, enum qcow2_repair repair, qcow2_report_fn *report, void *opaque,
               struct qcow2_result *out)
{
    struct checker k = {.c = {.q = q, .report = report, .opaque = opaque, .result = out}, .repair = repair};
    *out = (struct qcow2_result){0};
    int status = qcow2_count(&k.c);
    if (!status)
        status = compare(&k);
    if (!status)
        status = check_all_flags(&k);
    if (!status && repair != QCOW2_REPAIR_NONE)
        status = make_anew(&k);
    qcow2_count_free(&k.c);
    return status;
}

/* What is left after a repair is found by looking again. */
static int run_all(struct qcow2 *q, enum qcow2_repair repair, qcow2_report_fn *report, void *opaque,
                   struct qcow2_result *out)
{
    const u64 marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
    int status = run(q, repair, report, opaque, out);
    if (status || repair == QCOW2_REPAIR_NONE)
        return status;
    u64 found = out->errors + out->leaks;
    status = run(q, QCOW2_REPAIR_NONE, NULL, NULL, out);
    u64 left = out->errors + out->leaks;
    out->repaired = found > left ? found - left : 0;
    if (status || repair != QCOW2_REPAIR_ALL || left || !(q->h.incompatible & marks))
        return status;
    return qcow2_header_features(q->file, &q->h, q->h.incompatible & ~marks, q->h.autoclear);
}

int qcow2_check(struct image *im, enum qcow2_repair repair, qcow2_report_fn *report, void *opaque,
                struct qcow2_result *out, struct error *err)
{
    int status = run_all(qcow2_of(im), repair, report, opaque, out);
    if (status == -EFBIG)
        return error_set(err, status, "%s: is too large to be checked", im->path);
    if (status == -ERANGE)
        return error_set(err, status, "%s: has clusters that are used more often than its refcounts can say", im->path);
    return status ? error_set(err, status, "%s: cannot be checked: %s", im->path, strerror(-status)) : 0;
}
