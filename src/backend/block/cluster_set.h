/*
 * A set of cluster numbers (or any integers but the largest). Not guarded.
 */
#ifndef BACKEND_BLOCK_CLUSTER_SET_H
#define BACKEND_BLOCK_CLUSTER_SET_H

#include "base/types.h"

/* Zero-initialised: empty. */
struct cluster_set {
    u64 *slot; /* number + 1; 0: free. Open addressing, at most three quarters full */
    size_t slots, used;
};

/* False if it was in already. -ENOMEM in *status, else untouched. */
bool cluster_set_add(struct cluster_set *s, u64 n, int *status);
bool cluster_set_has(const struct cluster_set *s, u64 n);
void cluster_set_remove(struct cluster_set *s, u64 n);
void cluster_set_free(struct cluster_set *s);

#endif
