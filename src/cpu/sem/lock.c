/* Locked and slow read-modify-write: see lock.h. SDM volume 3 section 9.1. */
#include "cpu/sem/lock.h"

#include <string.h>

#include "cpu/world.h"

#define CACHE_LINE 64

/* Not in the function that set the buffer: the compiler's set-jump forbids it. */
static _Noreturn NOINLINE void section_rethrow(struct cpu *c)
{
    __builtin_longjmp(c->unwind, 1);
}

NOINLINE void lock_section(struct cpu *c, void (*body)(struct cpu *c, void *arg), void *arg)
{
    /* The set-jump below saves no registers for us: what must survive it is in memory. */
    struct {
        struct cpu *volatile cpu;
        void *unwind[ARRAY_SIZE(((struct cpu *)0)->unwind)];
    } saved = {.cpu = c};

    memcpy(saved.unwind, c->unwind, sizeof(saved.unwind));
    world_exclusive(c->world, c);
    if (__builtin_setjmp(c->unwind) == 0) {
        body(c, arg);
        world_exclusive_end(c->world, c);
        memcpy(c->unwind, saved.unwind, sizeof(saved.unwind));
        return;
    }
    c = saved.cpu;
    world_exclusive_end(c->world, c);
    memcpy(c->unwind, saved.unwind, sizeof(saved.unwind));
    section_rethrow(c);
}

void *lock_host(struct cpu *c, u64 linear, unsigned size)
{
    if ((linear & (CACHE_LINE - 1)) > CACHE_LINE - size)
        return NULL;
    return mmu_rmw_host(c, c->mmu_index, linear, size);
}

#define LOCK_RMW(T)                                                                                                    \
    struct section_##T {                                                                                               \
        const struct insn *i;                                                                                          \
        u64 linear;                                                                                                    \
        rmw_op_##T *op;                                                                                                \
        T old;                                                                                                         \
    };                                                                                                                 \
                                                                                                                       \
    static void section_body_##T(struct cpu *c, void *arg)                                                             \
    {                                                                                                                  \
        struct section_##T *s = arg;                                                                                   \
        s->old = rmw_slow_##T(c, s->i, s->linear, s->op);                                                              \
    }                                                                                                                  \
                                                                                                                       \
    T lock_rmw_##T(struct cpu *c, const struct insn *i, u64 linear, rmw_op_##T *op)                                    \
    {                                                                                                                  \
        T *p = lock_host(c, linear, sizeof(T));                                                                        \
        if (!p) {                                                                                                      \
            struct section_##T s = {i, linear, op, 0};                                                                 \
            lock_section(c, section_body_##T, &s);                                                                     \
            return s.old;                                                                                              \
        }                                                                                                              \
        u32 flags = c->ax_flags;                                                                                       \
        T old = host_load_##T(p);                                                                                      \
        while (!host_cas_##T(p, &old, op(c, i, old)))                                                                  \
            c->ax_flags = flags;                                                                                       \
        mmu_rmw_done(c, linear, sizeof(T));                                                                            \
        return old;                                                                                                    \
    }                                                                                                                  \
                                                                                                                       \
    /* The probe makes the fault of the write come first. Should another processor take the page away after it, the    \
     * store still */                                                                                                  \
    /* faults with nothing changed. */                                                                                 \
    T rmw_slow_##T(struct cpu *c, const struct insn *i, u64 linear, rmw_op_##T *op)                                    \
    {                                                                                                                  \
        mmu_probe(c, c->mmu_index, linear, sizeof(T), MMU_WRITE);                                                      \
        T old = mmu_load_##T(c, c->mmu_index, linear);                                                                 \
        u32 before = c->ax_flags;                                                                                      \
        T v = op(c, i, old);                                                                                           \
        u32 after = c->ax_flags;                                                                                       \
        c->ax_flags = before;                                                                                          \
        mmu_store_##T(c, c->mmu_index, linear, v);                                                                     \
        c->ax_flags = after;                                                                                           \
        return old;                                                                                                    \
    }

/* LOCK CMPXCHG as the host has it, at any alignment within a line; the C library's atomics want natural alignment. */
#define HOST_CAS(T, suffix)                                                                                            \
    static inline bool host_cas_##T(void *p, T *old, T v)                                                              \
    {                                                                                                                  \
        bool done;                                                                                                     \
        __asm__ volatile("lock cmpxchg" suffix " %3, %1"                                                               \
                         : "=@ccz"(done), "+m"(*(volatile char(*)[sizeof(T)])p), "+a"(*old)                            \
                         : "r"(v)                                                                                      \
                         : "memory");                                                                                  \
        return done;                                                                                                   \
    }

HOST_CAS(u8, "b")
HOST_CAS(u16, "w")
HOST_CAS(u32, "l")
HOST_CAS(u64, "q")

LOCK_RMW(u8)
LOCK_RMW(u16)
LOCK_RMW(u32)
LOCK_RMW(u64)

struct cmpxchg16 {
    u64 linear;
    u64 *expected;
    const u64 *desired;
    bool equal;
};

static void cmpxchg16_body(struct cpu *c, void *arg)
{
    struct cmpxchg16 *s = arg;
    u64 old[2];

    mmu_probe(c, c->mmu_index, s->linear, sizeof(old), MMU_WRITE);
    mmu_load_bytes(c, c->mmu_index, s->linear, old, sizeof(old));
    s->equal = old[0] == s->expected[0] && old[1] == s->expected[1];
    mmu_store_bytes(c, c->mmu_index, s->linear, s->equal ? s->desired : old, sizeof(old));
    memcpy(s->expected, old, sizeof(old));
}

bool lock_cmpxchg_u128(struct cpu *c, u64 linear, u64 expected[2], const u64 desired[2])
{
    void *p = lock_host(c, linear, 16);
    bool equal;

    if (!p) {
        struct cmpxchg16 s = {linear, expected, desired, false};
        lock_section(c, cmpxchg16_body, &s);
        return s.equal;
    }
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*(volatile char(*)[16])p), "+a"(expected[0]), "+d"(expected[1])
                     : "b"(desired[0]), "c"(desired[1])
                     : "memory");
    mmu_rmw_done(c, linear, 16);
    return equal;
}
