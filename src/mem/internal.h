/*
 * What the files of mem/ share.
 */
#ifndef MEM_INTERNAL_H
#define MEM_INTERNAL_H

#include <pthread.h>

#include "base/bits.h"
#include "event/loop.h"
#include "host/mem.h"
#include "mem/view.h"

#define SHADOW_PAGES 256 /* of the first MiB */
#define SHADOW_SET   1u
#define SHADOW_READ  2u
#define SHADOW_WRITE 4u

struct mem_space {
    struct loop *loop; /* NULL in tests: no machine lock */
    struct host_ram backing;
    struct mem_ram ram;
    struct mem_area ram_area;
    u64 below_4g;

    /* Changed with the machine lock held; `view` is replaced under view_lock, too. */
    struct list windows, ports, roms;
    size_t window_count, port_count, rom_count;
    u8 shadow[SHADOW_PAGES];
    struct mem_view view, spare;
    struct mem_view port_view;

    pthread_rwlock_t view_lock; /* readers without the machine lock hold it while they look into `view` */
    pthread_mutex_t listener_lock;
    struct list listeners;

    _Atomic u64 a20_mask;
    _Atomic u32 dirty_clients;
};

static inline void space_lock(struct mem_space *s)
{
    if (s->loop)
        loop_lock(s->loop);
}

static inline void space_unlock(struct mem_space *s)
{
    if (s->loop)
        loop_unlock(s->loop);
}

/* A copy of the range that holds `addr`. */
struct mem_range space_find(struct mem_space *s, u64 addr);

#endif
