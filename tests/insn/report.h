/* Comparing the two sides of a case, and saying what differs. */
#ifndef TESTS_INSN_REPORT_H
#define TESTS_INSN_REPORT_H

#include "case.h"

struct memory_image {
    u8 bytes[ARENA_PAGES * PAGE];
};

/* The arena as it is now, to be shown if the case fails. Kept until the next call. */
struct memory_image *report_snapshot(void);
/* What a case leaves out of the comparison: mask.def. */
enum {
    MASK_CR2 = 1,   /* the address of a page fault inside its page */
    MASK_TORN = 2,  /* memory where a fault came up */
    MASK_PE = 4,    /* PE of MXCSR behind #XM */
    MASK_FLAGS = 8, /* all flags of MXCSR behind #XM */
    MASK_AC = 16,   /* #AC or a segment's fault, where there is reason for both */
};

/* True if states and memory are equal. */
bool report_same(const struct test_case *t, unsigned mask);
void report_difference(const struct test_case *t, const struct insn *i, const struct memory_image *before);
/* After a difference: the guest's arena becomes the host's. */
void report_resync(void);

#endif
