/*
 * The guest-physical address space and the port space of one machine: who answers at which address.
 *
 * RAM is one host mapping (mem_ram); ranges of the address space show parts of it, readable and writable, read-only
 * (ROM, shadow RAM) or write-only-to-RAM. Everything else is a window with handlers; what nobody claims reads as all
 * ones and swallows writes.
 *
 * Layers: windows win over RAM ranges; among windows or ranges the one added last wins.
 *
 * Threads: adding, removing and moving is done with the machine lock held; each change calls the listeners
 * (mem_on_change), by which engines drop what they cached. Look-ups may come from any thread at any time and never see
 * a half-made map. Window handlers are called with the machine lock held: mem_io_* takes it, so their callers must not
 * hold it.
 */
#ifndef MEM_SPACE_H
#define MEM_SPACE_H

#include <stdatomic.h>

#include "base/error.h"
#include "base/list.h"
#include "base/types.h"

struct loop;
struct mem_space;

#define MEM_PAGE_SIZE 4096u
#define MEM_PAGE_MASK (~(u64)0xfff)

/* What a page of RAM is known for besides its bytes. See mem/code.h for `code` and `code_gen`. */
struct mem_page {
    _Atomic u64 code;     /* a bit for each 64 bytes that some engine has decoded or translated code from */
    _Atomic u32 code_gen; /* counts the writes that hit such a chunk */
    _Atomic u32 dirty;    /* bits, one for each client of dirty tracking */
};

/* Guest RAM: one memfd; offset 0 is guest-physical 0, the part above the PCI hole follows without a gap. */
struct mem_ram {
    u8 *host;
    const u8 *read_only; /* a second mapping, through which nothing can be written */
    u64 size;            /* bytes, a multiple of MEM_PAGE_SIZE */
    struct mem_page *pages;
    int fd;
};

enum mem_kind {
    MEM_NONE, /* nobody: reads all ones */
    MEM_RAM,
    MEM_ROM, /* reads come from memory, writes are dropped, or go to a window over it whose ops have no `read` */
    MEM_WINDOW,
};

struct mem_window_ops {
    /* `off` is relative to the window; size is 1, 2, 4 or 8 and within [min, max]; values are zero-extended. */
    u64 (*read)(void *opaque, u64 off, unsigned size);
    void (*write)(void *opaque, u64 off, u64 value, unsigned size);
    u8 min_size, max_size; /* 0 means 1 and 8 (memory) or 1 and 4 (ports): accesses outside are split or widened */
};

/* A window in memory or port space; embedded in its device, which keeps it alive while it is mapped. */
struct mem_window {
    struct list node;
    const struct mem_window_ops *ops;
    void *opaque;
    const char *name;
    u64 base, size;
    bool mapped;
};

/* `ram_size` bytes of RAM (a multiple of 4 KiB), of which at most `below_4g` lie below the PCI hole, the rest from 4
 * GiB up. */
struct mem_space *mem_space_create(struct loop *l, u64 ram_size, u64 below_4g, struct error *err);
void mem_space_destroy(struct mem_space *s);

struct mem_ram *mem_space_ram(struct mem_space *s);
u64 mem_space_below_4g(const struct mem_space *s);

/* Memory windows. mem_window_map also moves one that is mapped. -EINVAL if it wraps. */
int mem_window_map(struct mem_space *s, struct mem_window *w, u64 base) MUST_CHECK;
void mem_window_unmap(struct mem_space *s, struct mem_window *w);
/* Port windows, base + size <= 0x10000. */
int mem_port_map(struct mem_space *s, struct mem_window *w, u64 base) MUST_CHECK;
void mem_port_unmap(struct mem_space *s, struct mem_window *w);

/*
 * Read-only memory of its own, a page multiple (firmware). The bytes are copied. It covers RAM ranges.
 * Returns the host address so that the owner may change it later (flash), NULL when out of memory.
 */
u8 *mem_rom_add(struct mem_space *s, u64 base, const void *bytes, u64 size);
/* The owner changed bytes of its ROM at this host address: code that was decoded from them is forgotten. */
void mem_rom_written(struct mem_space *s, const u8 *host, u64 len);

/*
 * Shadow RAM control (PAM): for the page-aligned range, where reads come from and where writes go.
 * RAM on both is plain RAM. A ROM that lies below shows through where read is false. Until it is set for a page, a ROM
 * there covers RAM, and RAM without a ROM is plain. For the first MiB only: what lies above is ignored.
 */
void mem_shadow_set(struct mem_space *s, u64 base, u64 size, bool read_ram, bool write_ram);

/* Off: bit 20 of every physical address is forced to 0 (the A20 gate). The processor asks with mem_a20_mask. */
void mem_a20_set(struct mem_space *s, bool on);
u64 mem_a20_mask(const struct mem_space *s);

struct mem_listener {
    struct list node;
    void (*changed)(void *opaque); /* must not block or change the map */
    /* A store hit code in this page that an engine has marked (mem/code.h), or the page was unmarked; may be NULL. */
    void (*code_written)(void *opaque, struct mem_page *page);
    void *opaque;
};
/* Calls code_written of all listeners: by whoever got true from mem_code_written, or unmarked a page. */
void mem_tell_code(struct mem_space *s, struct mem_page *page);
/* With or without the machine lock; not from a listener. */
void mem_on_change(struct mem_space *s, struct mem_listener *l);
void mem_on_change_remove(struct mem_space *s, struct mem_listener *l);

/* What stands at one page of the physical address space. Cheap enough for a TLB miss, not for every access. */
struct mem_where {
    enum mem_kind read_kind, write_kind; /* may differ under shadow RAM */
    u8 *host;                            /* start of the page in host memory for RAM and ROM reads; NULL otherwise */
    u8 *host_write;                      /* for RAM writes; NULL otherwise */
    struct mem_page *page;               /* of the page that is written; NULL where it is not RAM */
    struct mem_page *read_page;          /* of the page that `host` shows (ROM has them too): where code is marked */
    bool mixed;                          /* windows cover only part of the page: use mem_read and mem_write */
};
void mem_find(struct mem_space *s, u64 pa, struct mem_where *out);

/*
 * Dirty tracking for up to 31 clients: a page's `dirty` has a client's bit once it was written after the client last
 * took it. Processors keep write translations of dirty pages, so mem_dirty_start and mem_dirty_take are called inside
 * an exclusive section, and REQ_TLB follows. mem_dirty_start returns the client's number, -EBUSY if all are taken.
 */
int mem_dirty_start(struct mem_space *s) MUST_CHECK;
void mem_dirty_stop(struct mem_space *s, int client);
/* True if RAM page number `page` was written; forgets it. */
bool mem_dirty_take(struct mem_space *s, int client, u64 page);
/* The bits of the clients there are; and: a page is about to be written. */
u32 mem_dirty_clients(const struct mem_space *s);
static inline void mem_dirty_mark(struct mem_page *p, u32 clients)
{
    if (unlikely(clients & ~atomic_load_explicit(&p->dirty, memory_order_relaxed)))
        atomic_fetch_or(&p->dirty, clients);
}

/*
 * Accesses by any requester (a processor's slow path, a device's DMA). Any address, any length; crossing pages and
 * kinds is handled here. Writes to RAM respect code tracking and dirty tracking. mem_read/mem_write must not be called
 * with the machine lock held if the range may touch a window; devices use mem_dma_*, which touch RAM and ROM only
 * (windows read as all ones, writes to them are dropped) and may be called with the lock.
 */
void mem_read(struct mem_space *s, u64 pa, void *buf, u64 len);
void mem_write(struct mem_space *s, u64 pa, const void *buf, u64 len);
/* One access of 1, 2, 4 or 8 bytes as a processor makes it: reaches a window's handler as one access. */
u64 mem_io_read(struct mem_space *s, u64 pa, unsigned size);
void mem_io_write(struct mem_space *s, u64 pa, u64 value, unsigned size);
void mem_dma_read(struct mem_space *s, u64 pa, void *buf, u64 len);
void mem_dma_write(struct mem_space *s, u64 pa, const void *buf, u64 len);

/*
 * DMA without a copy. mem_dma_map gives the host address of [pa, pa + len) if all of it is memory (RAM; ROM too where
 * it is only read) and lies in one piece on the host, NULL otherwise. The address stays good until the space is
 * destroyed, whatever becomes of the map.
 *
 * Whoever wrote there calls mem_dma_done before the guest is told, with what was or may have been written: until then
 * the store is one that the bus still holds back, as far as engines and the clients of dirty tracking know. So it has
 * to be called before dirty pages are taken for the last time, and it may be called with the machine lock, like
 * mem_dma_write.
 */
void *mem_dma_map(struct mem_space *s, u64 pa, u64 len, bool for_write);
void mem_dma_done(struct mem_space *s, const void *host, u64 len);

/* The memory behind the whole pages inside `len` bytes from such an address on is given back to the host: they read as
 * zeroes from now on, and get memory again when they are written. Returns how many bytes that were. */
u64 mem_dma_discard(struct mem_space *s, const void *host, u64 len);

/* Port accesses of 1, 2 or 4 bytes; take the machine lock. */
u32 mem_port_read(struct mem_space *s, u16 port, unsigned size);
void mem_port_write(struct mem_space *s, u16 port, u32 value, unsigned size);

/* For the monitor: calls `emit` for each range of the memory or port map in order, ranges of nobody left out. `name` is
 * the window's, or NULL. Takes the machine lock; `emit` runs with it held. */
void mem_show(struct mem_space *s, bool ports,
              void (*emit)(void *opaque, u64 base, u64 last, enum mem_kind read, enum mem_kind write, const char *name),
              void *opaque);

#endif
