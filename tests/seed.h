/*
 * Where random tests begin: at RING3_TEST_SEED, if that is set (tools/run_tests does, so that two runs are the same),
 * else at the time. Each prints it.
 */
#ifndef TESTS_SEED_H
#define TESTS_SEED_H

#include <stdlib.h>
#include <time.h>

#include "base/types.h"

static inline u64 seed_choose(void)
{
    const char *text = getenv("RING3_TEST_SEED");
    return text ? strtoull(text, NULL, 0) : (u64)time(NULL);
}

#endif
