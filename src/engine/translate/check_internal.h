/*
 * What the files of check*.c share: one entry into translated code, carried out twice.
 */
#ifndef ENGINE_TRANSLATE_CHECK_INTERNAL_H
#define ENGINE_TRANSLATE_CHECK_INTERNAL_H

#include "engine/translate/check.h"
#include "engine/translate/place.h"

#define STORE_BYTES 32
#define STORES_MAX  (BLOCK_MAX * PLACES_MAX * 2)

/* Why the semantics came no farther. */
enum check_why {
    CHECK_END,   /* all of it, or a jump */
    CHECK_CALL,  /* the next is left to semantics by the code too */
    CHECK_SLOW,  /* it accesses something that must not be accessed twice, or faults on memory */
    CHECK_FAULT, /* it faults */
};

/* Bytes within one page that an instruction writes: as they were, and as each of both left them. */
struct store {
    u8 *host;
    u64 linear;
    u8 size, insn;
    u8 before[STORE_BYTES], semantics[STORE_BYTES], translated[STORE_BYTES];
};

struct check {
    bool again;     /* the semantics are carried out a second time: the stores are known */
    bool elsewhere; /* the code faulted at an access that the window would have let through */
    bool walked;    /* page tables were walked meanwhile */
    enum check_why why;
    const struct block *block;
    unsigned from, to; /* instructions of it */
    unsigned n;        /* the first that the semantics have not carried out */
    unsigned reached;  /* the same for the code; above the block's count: it left in a way that it has not */
    unsigned stores;
    struct store store[STORES_MAX];
    struct cpu before, semantics, translated; /* the parts that check.c compares */
    void *unwind[5];                          /* the loop's, while the semantics run */
    struct check_stats stats;
};

/* Logs how both outcomes differ, and the block. */
void check_report(const struct translator *t, enum glue_reason reason);

#endif
