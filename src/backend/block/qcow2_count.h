/*
 * Counts how often the tables of a qcow2 file use each of its clusters. For qcow2_check.c.
 *
 * Reads the file alone, not what an open image keeps in memory. Every table is read once, however many entries point to
 * it, so that a file cannot make the count longer than it is itself.
 */
#ifndef BACKEND_BLOCK_QCOW2_COUNT_H
#define BACKEND_BLOCK_QCOW2_COUNT_H

#include "backend/block/qcow2.h"

struct qcow2_count {
    struct qcow2 *q;
    qcow2_report_fn *report;
    void *opaque;
    struct qcow2_result *result;
    u64 lines;
    u64 clusters; /* of the file */
    u32 *refs;    /* uses of each, saturating */
    u32 *tables;  /* those as an L2 table */
    u8 *cluster;  /* room for one */
    u64 *blocks;  /* the refcount table; damaged entries are 0 */
    u32 block_entries;
};

/* -ENOMEM, -EFBIG, or an error of the host; what is wrong with the image is counted in the result. Free it with
 * qcow2_count_free in any case. */
int qcow2_count(struct qcow2_count *c) MUST_CHECK;
void qcow2_count_free(struct qcow2_count *c);

/* One error of the image. */
void qcow2_count_error(struct qcow2_count *c, const char *what, u64 where);
/* A line to whoever wants to read it; after many, none. */
void qcow2_count_say(struct qcow2_count *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Reads a table of big-endian words, up to a cluster of them at a time: `n` from entry `at` on into c->cluster. */
int qcow2_count_words(struct qcow2_count *c, u64 table, u64 at, u64 *n, u64 entries) MUST_CHECK;

#endif
