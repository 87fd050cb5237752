/*
 * Memory from the host: guest RAM as a memfd, and large tables that are paid for only where they are touched.
 */
#ifndef HOST_MEM_H
#define HOST_MEM_H

#include "base/error.h"
#include "base/types.h"

/* A shared mapping of a new memfd, all zero, no host memory reserved. Unmap with host_ram_unmap. */
struct host_ram {
    u8 *base;
    u64 size;
    int fd;
};

int host_ram_map(struct host_ram *ram, const char *name, u64 size, struct error *err) MUST_CHECK;
void host_ram_unmap(struct host_ram *ram);

/* Zeroed private memory, allocated as it is touched. NULL if there is no room. `size` is rounded up to pages. */
void *host_table_alloc(u64 size);
void host_table_free(void *table, u64 size);
/* All bytes are zero again and their memory is given back. */
void host_table_clear(void *table, u64 size);

#endif
