/*
 * Memory from the host: guest RAM as a memfd, large tables that are paid for only where they are touched, and address
 * space that is filled piece by piece.
 */
#ifndef HOST_MEM_H
#define HOST_MEM_H

#include "base/error.h"
#include "base/types.h"

/* A shared mapping of a new memfd, all zero, no host memory reserved. Unmap with host_ram_unmap. */
struct host_ram {
    u8 *base;
    const u8 *read_only; /* the same memory again; NULL for host_ram_small */
    u64 size;
    int fd;
    u8 *reserved; /* the address space that holds both, with some on all sides where nothing is mapped */
    u64 reserved_size;
};

int host_ram_map(struct host_ram *ram, const char *name, u64 size, struct error *err) MUST_CHECK;
/* For a few pages: no huge pages, and one mapping. `size` is rounded up to pages. */
int host_ram_small(struct host_ram *ram, const char *name, u64 size, struct error *err) MUST_CHECK;
void host_ram_unmap(struct host_ram *ram);

/*
 * Address space without memory: every access faults, and nothing else will be mapped there. Pieces of it, whole pages,
 * are opened (to reads and writes; all zero at first) and closed again. Neither ever leaves a hole, even where the host
 * refuses. The functions for pieces are async-signal-safe.
 */
u8 *host_space_reserve(u64 size);
void host_space_release(u8 *space, u64 size);
/* Closed: what it will show when it is opened are the bytes of `fd` from `offset` on. If the host refuses, the whole
 * space has to be released. */
bool host_piece_share(void *piece, u64 size, int fd, u64 offset) MUST_CHECK;
bool host_piece_open(void *piece, u64 size) MUST_CHECK;
bool host_piece_close(void *piece, u64 size) MUST_CHECK;
/* The memory of a closed piece that shows no file is given back. */
void host_piece_discard(void *piece, u64 size);
/* Gives the memory behind part of a shared mapping back: it is zero again. */
void host_ram_discard(const struct host_ram *ram, u64 offset, u64 size);

/* Zeroed private memory, allocated as it is touched. NULL if there is no room. `size` is rounded up to pages. */
void *host_table_alloc(u64 size);
/* It will be used all over, or from its start on without gaps: large pages may back it. */
void host_table_dense(void *table, u64 size);
void host_table_free(void *table, u64 size);
/* All bytes are zero again and their memory is given back. */
void host_table_clear(void *table, u64 size);

#endif
