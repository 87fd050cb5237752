/*
 * Linear to physical to host: the software TLB, and the guest's memory accesses by linear address.
 *
 * The TLB is direct-mapped, one set of TLB_SIZE entries for each way of access (mmu_index). An entry holds a tag for
 * each of read, write and execute and the distance from linear to host address. Only RAM and ROM pages that may be
 * accessed with nothing to be done get a tag; the rest (windows, pages with code, dirty tracking, data breakpoints,
 * alignment checks) always miss and go the slow way, which does the access whole.
 *
 * A tag is the linear page address with the address-space number in its low 12 bits (never 0xfff: TLB_INVALID matches
 * no linear address). The number stands for one (CR3, PCID) and changes when its translations are flushed, so a flush
 * is one increment.
 */
#ifndef CPU_MMU_H
#define CPU_MMU_H

#include "cpu/cpu.h"

#define TLB_BITS    10
#define TLB_SIZE    (1u << TLB_BITS)
#define TLB_INVALID (~0ull)

enum mmu_index {
    MMU_USER,       /* CPL 3, or implicit user */
    MMU_SUPER,      /* CPL 0 to 2, SMAP not in force (off, or EFLAGS.AC set) */
    MMU_SUPER_SMAP, /* CPL 0 to 2, SMAP in force; also implicit supervisor accesses (descriptor tables) whatever AC says
                     */
    MMU_CHECKED,    /* alignment checks in force (CPL 3, CR0.AM, EFLAGS.AC): never filled */
    MMU_INDEXES
};

struct tlb_entry {
    u64 read, write, exec; /* tags */
    u64 addend;            /* host address = linear + addend */
};

/* Where a page of the guest leads when it is not, or not only, plain memory. */
struct mmu_target {
    u64 pa;                     /* of the page, A20 applied */
    u8 *host, *host_write;      /* its bytes for reads and for writes; NULL: by way of mem_io_* */
    struct mem_page *page;      /* of host_write */
    struct mem_page *read_page; /* of host */
    bool apic;                  /* the local APIC answers */
};

/* What is known of the page of a tlb_entry besides: struct tlb, page[]. */
enum tlb_page {
    TLB_GLOBAL = 1,
    TLB_USER = 2,  /* user code may access it */
    TLB_LARGE = 4, /* of 2 or 4 MiB */
    TLB_HUGE = 8,  /* of 1 GiB */
};

/* Whoever keeps copies of tags, and must drop them when tags are dropped. By the owner or in an exclusive section. */
struct tlb_watch_ops {
    void (*page)(void *opaque, u64 linear); /* all of the page at `linear`, however large it was; in every space */
    void (*all)(void *opaque);
    void (*renumber)(void *opaque); /* all but global pages; and address-space numbers start again */
    void (*protect)(void *opaque, const u8 *host_page); /* no more writes to this page of RAM */
};
struct tlb_watch {
    const struct tlb_watch_ops *ops;
    void *opaque;
};

#define TLB_SLOW   32 /* translations of pages that never get a tag */
#define TLB_FRAMES 64 /* answers of mem_find */
#define TLB_TURNED 64
#define TLB_SPACES 8

struct tlb {
    struct tlb_entry set[MMU_INDEXES][TLB_SIZE];
    u64 asid;                       /* current address-space number, 0 to 0xffe: compared in the low bits */
    u8 page[MMU_INDEXES][TLB_SIZE]; /* enum tlb_page of each entry that has a tag */
    const struct tlb_watch *watch;  /* NULL: nobody */

    /* The rest is cpu/tlb.c's and cpu/mmu.c's. */
    u64 next_asid;
    struct tlb_space {
        u64 cr3;
        u16 pcid, asid;
        bool valid;
    } space[TLB_SPACES];
    unsigned next_space;
    struct tlb_large {
        u64 first, last;
    } large[4]; /* what the large pages in the TLB cover, by bits 63 and 31: INVLPG inside it looks at all entries */
    bool large_1g;
    struct tlb_slow {
        u64 tag;
        u8 index;
        bool write;
        struct mmu_target target;
    } slow[TLB_SLOW];
    struct tlb_frame {
        u64 pa; /* ~0: empty */
        struct mem_where where;
    } frame[TLB_FRAMES];
    struct mem_page *rmw_page;  /* of the last mmu_rmw_host, if its page has no write tag */
    struct mem_page *code_page; /* where this processor's stores hit code, and how often in a row */
    unsigned code_hits;
    struct mem_page *turned[TLB_TURNED]; /* pages of code that turned out to hold data, by a hash */
    struct {
        u64 misses, walks, flushes, code_hits, code_unmarks;
    } stats;
};

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXEC };

/* Slow paths: translate, fault, fill the TLB, or do the access through mem_*. They handle page crossing, windows and
 * the local APIC's page. `index` is an enum mmu_index. Little-endian, size 1, 2, 4, 8. */
NOINLINE u64 mmu_load_slow(struct cpu *c, unsigned index, u64 linear, unsigned size);
NOINLINE void mmu_store_slow(struct cpu *c, unsigned index, u64 linear, u64 value, unsigned size);

/* Checks that all of [linear, linear + size) can be read (written) without a fault, or raises it. For instructions that
 * access more than once and must not be seen half done. size <= 4096. */
void mmu_probe(struct cpu *c, unsigned index, u64 linear, unsigned size, enum mmu_access a);

/* Bulk data, any size up to 4096: vectors, FXSAVE images, descriptors. Faults before anything is written. */
void mmu_load_bytes(struct cpu *c, unsigned index, u64 linear, void *buf, unsigned size);
void mmu_store_bytes(struct cpu *c, unsigned index, u64 linear, const void *buf, unsigned size);

/*
 * Host address for an atomic read-modify-write of `size` bytes (1 to 16), with both rights checked as for a write; NULL
 * if the access has no single host address (crosses pages, window, ROM): the caller then uses an exclusive section
 * (cpu/sem/lock.h). After writing through it, the caller calls mmu_rmw_done, which does what a store to that page owes
 * (code, dirty).
 */
void *mmu_rmw_host(struct cpu *c, unsigned index, u64 linear, unsigned size);
void mmu_rmw_done(struct cpu *c, u64 linear, unsigned size);

/*
 * Host address of data within one page that the access would reach by a tag, which is filled in if the page may have
 * one; NULL where the access faults or goes the slow way. Sets the accessed and dirty bits that the access owes.
 */
u8 *mmu_plain_host(struct cpu *c, u64 linear, unsigned size, enum mmu_access a);

/* Gives the page a tag for reads if the processor could have one by now without a trace: nothing faults, and no
 * accessed bit is owed. Is there one afterwards? */
bool mmu_foresee(struct cpu *c, u64 linear);

/*
 * Where instruction bytes come from: the host address of the byte at `linear` and, in *page and *pa, its RAM or ROM
 * page and physical address. NULL if it is not memory (a window: use mmu_fetch_bytes, never cached). Raises #PF or #GP
 * with fetch semantics.
 */
const u8 *mmu_fetch(struct cpu *c, u64 linear, struct mem_page **page, u64 *pa);
/* Instruction bytes from wherever, within one page. */
void mmu_fetch_bytes(struct cpu *c, u64 linear, u8 *buf, unsigned size);

/* A walk without faults or A/D updates, for debuggers: false if not mapped. */
bool mmu_debug_translate(struct cpu *c, u64 linear, u64 *pa);

/* Whole-TLB and single-page invalidation. A write to CR3, CR0.PG, CR4 and so on goes through cpu/control.c, which calls
 * these. */
void mmu_flush_all(struct cpu *c);
void mmu_flush_page(struct cpu *c, u64 linear);
/* CR3 was loaded: `keep` is bit 63 of the source with PCIDs on. */
void mmu_cr3_loaded(struct cpu *c, bool keep);
/* INVPCID, operands checked by the caller. Types as in SDM volume 2. */
enum mmu_invpcid { MMU_INVPCID_ADDRESS, MMU_INVPCID_SINGLE, MMU_INVPCID_ALL_GLOBAL, MMU_INVPCID_ALL };
void mmu_invpcid(struct cpu *c, enum mmu_invpcid type, u16 pcid, u64 linear);
/* PAE paging: reads the four page-directory-pointer entries that `cr3` names into c->pdpte. False, and nothing changed,
 * if a reserved bit is set in a present one: the caller raises #GP(0). */
bool mmu_load_pdptes(struct cpu *c, u64 cr3) MUST_CHECK;
/* c->tlb; false when out of memory. */
bool mmu_create(struct cpu *c) MUST_CHECK;
void mmu_destroy(struct cpu *c);
/* At a block boundary after REQ_BLOCK: a page whose code marks this processor hit again and again holds data now; it
 * is unmarked in an exclusive section, so that stores to it are fast again. */
void mmu_settle_code(struct cpu *c);
/* May `asid` become the current number again (or is it)? Between two renumberings no number means two spaces. */
bool mmu_space_alive(const struct cpu *c, u64 asid);
/* Before code bytes are read: marks them, and where the page had no mark takes write tags away from all processors
 * (exclusive section). At a block boundary. Afterwards note mem_code_gen, then read. */
void mmu_mark_code(struct cpu *c, struct mem_page *page, const u8 *host_page, unsigned off, unsigned len);
/* Drop write tags of all linear pages that map the RAM page at host address `host_page` (it now holds code). */
void mmu_protect_code(struct cpu *c, const u8 *host_page);

/*
 * The tag of an access of `size` bytes: of the page in which its last byte lies. The entry is chosen by the page of the
 * first byte; so an access that crosses never matches, and one comparison tells both.
 */
static ALWAYS_INLINE u64 mmu_tag(const struct cpu *c, u64 linear, unsigned size)
{
    return ((linear + (size - 1)) & MEM_PAGE_MASK) | c->tlb->asid;
}

/* Pages next to each other never share a place: mmu_tag counts on that. Nor do pages a power of two apart, as data is
 * often copied between such. */
static ALWAYS_INLINE unsigned mmu_slot(u64 linear)
{
    return ((linear >> 12) + (linear >> (12 + TLB_BITS))) & (TLB_SIZE - 1);
}

/*
 * The thread sanitizer must not look into accesses to guest memory, which is shared and raced for as on a real machine.
 * An inlined function is instrumented with its caller, so under the sanitizer these stay calls.
 */
#ifdef __SANITIZE_THREAD__
#define MMU_UNCHECKED static NOINLINE __attribute__((no_sanitize("thread"), unused))
#else
#define MMU_UNCHECKED static ALWAYS_INLINE __attribute__((no_sanitize("thread")))
#endif

/* Unaligned, aliasing-safe host accesses that compile to one move. Guest memory is shared with other threads. */
#define MMU_HOST(T)                                                                                                    \
    struct mmu_##T {                                                                                                   \
        volatile T v;                                                                                                  \
    } __attribute__((packed, may_alias));                                                                              \
    MMU_UNCHECKED T host_load_##T(const void *p)                                                                       \
    {                                                                                                                  \
        return ((const struct mmu_##T *)p)->v;                                                                         \
    }                                                                                                                  \
    MMU_UNCHECKED void host_store_##T(void *p, T v)                                                                    \
    {                                                                                                                  \
        ((struct mmu_##T *)p)->v = v;                                                                                  \
    }                                                                                                                  \
    /* The access by linear address that everything uses. */                                                           \
    static ALWAYS_INLINE T mmu_load_##T(struct cpu *c, unsigned index, u64 linear)                                     \
    {                                                                                                                  \
        const struct tlb_entry *e = &c->tlb->set[index][mmu_slot(linear)];                                             \
        if (likely(e->read == mmu_tag(c, linear, sizeof(T))))                                                          \
            return host_load_##T((const void *)(linear + e->addend));                                                  \
        return (T)mmu_load_slow(c, index, linear, sizeof(T));                                                          \
    }                                                                                                                  \
    static ALWAYS_INLINE void mmu_store_##T(struct cpu *c, unsigned index, u64 linear, T v)                            \
    {                                                                                                                  \
        const struct tlb_entry *e = &c->tlb->set[index][mmu_slot(linear)];                                             \
        if (likely(e->write == mmu_tag(c, linear, sizeof(T))))                                                         \
            host_store_##T((void *)(linear + e->addend), v);                                                           \
        else                                                                                                           \
            mmu_store_slow(c, index, linear, v, sizeof(T));                                                            \
    }
MMU_HOST(u8)
MMU_HOST(u16)
MMU_HOST(u32)
MMU_HOST(u64)
#undef MMU_HOST

/* `size` bytes of guest memory, as they are at the moment of each access. */
void mmu_host_read(u8 *to, const u8 *from, unsigned size);

#endif
