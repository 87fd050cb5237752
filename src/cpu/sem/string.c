/*
 * MOVS CMPS STOS LODS SCAS INS OUTS, with REP, REPE and REPNE. SDM volume 2.
 *
 * One step is one element: its accesses first, then SI, DI and CX. A fault in the middle of a repeated instruction
 * leaves the registers at the faulting element, and so does an interruption: after each step or run that finds
 * c->request set, string_again stops with rip at the instruction itself, which is why the rows are A_END.
 *
 * Runs: where both sides are RAM with a translation at hand, a whole stretch up to the end of a page, of a
 * segment or of the address size is done on host memory at once. A run never faults and leaves exactly what its steps
 * would have left.
 */
#include "cpu/debug.h"
#include "cpu/fault.h"
#include "cpu/io.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

#include <string.h>

enum { REP_NONE = 0, REP_NE = 0xf2, REP_E = 0xf3 };

/* One element at a time: there is something to look at after each (single-step, breakpoints). */
static ALWAYS_INLINE bool string_steps(const struct cpu *c)
{
    return c->step || (c->rflags & RF_TF);
}

/* Another element? Counts CX down; on an interruption the instruction is left as if it were to begin. */
static ALWAYS_INLINE bool string_again(struct cpu *c, const struct insn *i, u64 done)
{
    u64 count = areg_get(c, i, R_CX) - done;

    areg_set(c, i, R_CX, count);
    if (count == 0)
        return false;
    if (unlikely(c->request || string_steps(c))) {
        /* An instruction breakpoint on it was taken, or not, when it began. */
        if (cpu_debug_watching(c))
            c->rflags |= RF_RF;
        cpu_jump(c, cpu_rip(c));
        return false;
    }
    return true;
}

/* Cuts a register to the address size: it matters for 32 bits in 64-bit code only. */
static ALWAYS_INLINE void string_cut(struct cpu *c, const struct insn *i, unsigned reg)
{
    areg_set(c, i, reg, areg_get(c, i, reg));
}

/* With a count of 0 a repeated instruction does nothing but cut CX, as it does before its first element, even if that
 * faults. */
static ALWAYS_INLINE bool string_begins(struct cpu *c, const struct insn *i)
{
    if (i->rep == REP_NONE)
        return true;
    string_cut(c, i, R_CX);
    return c->gpr[R_CX] << i->ashift != 0;
}

/* Does a CMPS or SCAS that has just set the flags go on? */
static ALWAYS_INLINE bool string_wanted(const struct cpu *c, const struct insn *i)
{
    return ((c->ax_flags & AX_ZF) != 0) == (i->rep == REP_E);
}

static ALWAYS_INLINE void string_advance(struct cpu *c, const struct insn *i, unsigned reg, unsigned size)
{
    u64 by = c->rflags & RF_DF ? -(u64)size : size;
    areg_set(c, i, reg, areg_get(c, i, reg) + by);
}

/* Bytes from `offset` on that the segment certainly allows: all in a flat one, none where the checks are not simple. */
static u64 segment_room(const struct cpu *c, unsigned seg, u64 offset, bool write)
{
    const struct cpu_seg *s = &c->seg[seg];
    u32 need = DA_P | DA_S | (write ? DA_WRITE : 0);

    if (c->flat_segs >> seg & 1)
        return ~0ull;
    if ((s->attr & need) != need || (s->attr & (DA_CODE | DA_EXPAND)) || offset > s->limit)
        return 0;
    return s->limit - offset + 1;
}

/* One side of a run: where it is on the host, and for how many bytes. */
struct span {
    u8 *host;
    u64 bytes;
};

static struct span string_span(struct cpu *c, const struct insn *i, unsigned seg, unsigned reg, bool write)
{
    u64 offset = areg_get(c, i, reg);
    u64 linear = c->seg_base[seg] + offset;
    u64 to_wrap = (~0ull >> i->ashift) - offset; /* one less than there are: never overflows */
    u64 room = segment_room(c, seg, offset, write);

    if (c->mode != ISA_64)
        linear = (u32)linear;
    struct span s = {write ? tlb_host_write(c, linear, 1) : tlb_host_read(c, linear, 1), 0x1000 - (linear & 0xfff)};
    if (s.bytes > room)
        s.bytes = room;
    if (s.bytes > to_wrap)
        s.bytes = to_wrap;
    if (!s.host)
        s.bytes = 0;
    return s;
}

static ALWAYS_INLINE u64 min_u64(u64 a, u64 b)
{
    return a < b ? a : b;
}

static ALWAYS_INLINE bool string_runs(const struct cpu *c, const struct insn *i)
{
    return i->rep != REP_NONE && !(c->rflags & RF_DF) && !string_steps(c);
}

/* MOVS has runs in both directions. */
static ALWAYS_INLINE bool movs_runs(const struct cpu *c, const struct insn *i)
{
    return i->rep != REP_NONE && !string_steps(c);
}
#define stos_runs string_runs
#define lods_runs string_runs

/* The same with DF set, for code that moves itself out of the way: in 64-bit mode only. `host` is the element's,
 * `bytes` what the page has up to its end. */
static struct span span_down(struct cpu *c, unsigned seg, u64 offset, unsigned size, bool write)
{
    u64 linear = c->seg_base[seg] + offset;
    u8 *host = write ? tlb_host_write(c, linear, size) : tlb_host_read(c, linear, size);
    return (struct span){host, host ? (linear & 0xfff) + size : 0};
}

static u64 movs_run_down(struct cpu *c, const struct insn *i, unsigned size)
{
    if (c->mode != ISA_64 || i->ashift)
        return 0;
    struct span from = span_down(c, i->seg, c->gpr[R_SI], size, false);
    struct span to = span_down(c, SEG_ES, c->gpr[R_DI], size, true);
    u64 bytes = min_u64(from.bytes, to.bytes);

    if (bytes && to.host < from.host)
        bytes = min_u64(bytes, (u64)(from.host - to.host));
    u64 n = min_u64(bytes / size, c->gpr[R_CX]);
    if (n == 0)
        return 0;
    u64 back = (n - 1) * size;
    memmove(to.host - back, from.host - back, n * size);
    c->gpr[R_SI] -= n * size;
    c->gpr[R_DI] -= n * size;
    return n;
}

/*
 * The elements of a MOVS go up one by one. A destination that begins inside the source repeats the source's beginning:
 * then a run may only be as long as the distance, and shorter than an element it is none. All this is a matter of host
 * addresses: two linear pages may be one.
 */
static u64 movs_run(struct cpu *c, const struct insn *i, unsigned size)
{
    if (c->rflags & RF_DF)
        return movs_run_down(c, i, size);
    struct span from = string_span(c, i, i->seg, R_SI, false);
    struct span to = string_span(c, i, SEG_ES, R_DI, true);
    u64 bytes = min_u64(from.bytes, to.bytes);

    if (bytes && to.host > from.host)
        bytes = min_u64(bytes, (u64)(to.host - from.host));
    u64 n = min_u64(bytes / size, areg_get(c, i, R_CX));
    if (n == 0)
        return 0;
    memmove(to.host, from.host, n * size);
    areg_set(c, i, R_SI, areg_get(c, i, R_SI) + n * size);
    areg_set(c, i, R_DI, areg_get(c, i, R_DI) + n * size);
    return n;
}

static u64 stos_run(struct cpu *c, const struct insn *i, unsigned size)
{
    struct span to = string_span(c, i, SEG_ES, R_DI, true);
    u64 n = min_u64(to.bytes / size, areg_get(c, i, R_CX));

    if (n == 0)
        return 0;
    if (size == 1) {
        memset(to.host, (u8)c->gpr[R_AX], n);
    } else {
        /* The first element, then the part that is there again and again, twice as long each time. */
        memcpy(to.host, &c->gpr[R_AX], size);
        for (u64 done = size, more; done < n * size; done += more) {
            more = min_u64(done, n * size - done);
            memcpy(to.host + done, to.host, more);
        }
    }
    areg_set(c, i, R_DI, areg_get(c, i, R_DI) + n * size);
    return n;
}

/* The pointers that a repetition cuts even where it does nothing: those of the two instructions that processors have
 * fast forms of. */
enum {
    movs_cuts_si = true,
    movs_cuts_di = true,
    stos_cuts_si = false,
    stos_cuts_di = true,
    lods_cuts_si = false,
    lods_cuts_di = false
};

#define STRING_MOVES(T, bits)                                                                                          \
    static ALWAYS_INLINE void movs_step_##T(struct cpu *c, const struct insn *i)                                       \
    {                                                                                                                  \
        T v = seg_load_##T(c, i->seg, areg_get(c, i, R_SI));                                                           \
        seg_store_##T(c, SEG_ES, areg_get(c, i, R_DI), v);                                                             \
        string_advance(c, i, R_SI, sizeof(T));                                                                         \
        string_advance(c, i, R_DI, sizeof(T));                                                                         \
    }                                                                                                                  \
    static ALWAYS_INLINE void stos_step_##T(struct cpu *c, const struct insn *i)                                       \
    {                                                                                                                  \
        seg_store_##T(c, SEG_ES, areg_get(c, i, R_DI), reg_get_##T(c, R_AX));                                          \
        string_advance(c, i, R_DI, sizeof(T));                                                                         \
    }                                                                                                                  \
    static ALWAYS_INLINE void lods_step_##T(struct cpu *c, const struct insn *i)                                       \
    {                                                                                                                  \
        reg_set_##T(c, R_AX, seg_load_##T(c, i->seg, areg_get(c, i, R_SI)));                                           \
        string_advance(c, i, R_SI, sizeof(T));                                                                         \
    }                                                                                                                  \
    static u64 lods_run_##T(struct cpu *c, const struct insn *i, unsigned size)                                        \
    {                                                                                                                  \
        return 0;                                                                                                      \
    }                                                                                                                  \
    STRING_REP(movs, T, bits, movs_run)                                                                                \
    STRING_REP(stos, T, bits, stos_run)                                                                                \
    STRING_REP(lods, T, bits, lods_run_##T)

#define STRING_REP(op, T, bits, run)                                                                                   \
    void sem_##op##_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        if (i->rep == REP_NONE) {                                                                                      \
            op##_step_##T(c, i);                                                                                       \
            return;                                                                                                    \
        }                                                                                                              \
        if (op##_cuts_si)                                                                                              \
            string_cut(c, i, R_SI);                                                                                    \
        if (op##_cuts_di)                                                                                              \
            string_cut(c, i, R_DI);                                                                                    \
        if (!string_begins(c, i))                                                                                      \
            return;                                                                                                    \
        u64 done;                                                                                                      \
        do {                                                                                                           \
            done = op##_runs(c, i) ? run(c, i, sizeof(T)) : 0;                                                         \
            if (done == 0) {                                                                                           \
                op##_step_##T(c, i);                                                                                   \
                done = 1;                                                                                              \
            }                                                                                                          \
        } while (string_again(c, i, done));                                                                            \
    }

STRING_MOVES(u8, 8)
STRING_MOVES(u16, 16)
STRING_MOVES(u32, 32)
STRING_MOVES(u64, 64)

/*
 * CMPS and SCAS. A run looks for the element that ends the instruction; the flags are those of the last element looked
 * at, and the other ones of the run leave no trace. After a fault in the middle the flags are those from before the
 * instruction. ES:DI is read first.
 */
#define STRING_COMPARES(T, bits)                                                                                       \
    static ALWAYS_INLINE void cmps_step_##T(struct cpu *c, const struct insn *i)                                       \
    {                                                                                                                  \
        T b = seg_load_##T(c, SEG_ES, areg_get(c, i, R_DI));                                                           \
        T a = seg_load_##T(c, i->seg, areg_get(c, i, R_SI));                                                           \
        flag_cmp_##T(c, a, b);                                                                                         \
        string_advance(c, i, R_SI, sizeof(T));                                                                         \
        string_advance(c, i, R_DI, sizeof(T));                                                                         \
    }                                                                                                                  \
    static ALWAYS_INLINE void scas_step_##T(struct cpu *c, const struct insn *i)                                       \
    {                                                                                                                  \
        flag_cmp_##T(c, reg_get_##T(c, R_AX), seg_load_##T(c, SEG_ES, areg_get(c, i, R_DI)));                          \
        string_advance(c, i, R_DI, sizeof(T));                                                                         \
    }                                                                                                                  \
    static u64 cmps_run_##T(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        struct span x = string_span(c, i, i->seg, R_SI, false), y = string_span(c, i, SEG_ES, R_DI, false);            \
        u64 limit = min_u64(min_u64(x.bytes, y.bytes) / sizeof(T), areg_get(c, i, R_CX)), n = 0;                       \
        bool wanted = i->rep == REP_E;                                                                                 \
        T a = 0, b = 0;                                                                                                \
        if (limit == 0)                                                                                                \
            return 0;                                                                                                  \
        do {                                                                                                           \
            a = host_load_##T(x.host + n * sizeof(T));                                                                 \
            b = host_load_##T(y.host + n * sizeof(T));                                                                 \
        } while (++n < limit && (a == b) == wanted);                                                                   \
        flag_cmp_##T(c, a, b);                                                                                         \
        areg_set(c, i, R_SI, areg_get(c, i, R_SI) + n * sizeof(T));                                                    \
        areg_set(c, i, R_DI, areg_get(c, i, R_DI) + n * sizeof(T));                                                    \
        return n;                                                                                                      \
    }                                                                                                                  \
    static u64 scas_run_##T(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        struct span y = string_span(c, i, SEG_ES, R_DI, false);                                                        \
        u64 limit = min_u64(y.bytes / sizeof(T), areg_get(c, i, R_CX)), n = 0;                                         \
        bool wanted = i->rep == REP_E;                                                                                 \
        T a = reg_get_##T(c, R_AX), b = 0;                                                                             \
        if (limit == 0)                                                                                                \
            return 0;                                                                                                  \
        do                                                                                                             \
            b = host_load_##T(y.host + n * sizeof(T));                                                                 \
        while (++n < limit && (a == b) == wanted);                                                                     \
        flag_cmp_##T(c, a, b);                                                                                         \
        areg_set(c, i, R_DI, areg_get(c, i, R_DI) + n * sizeof(T));                                                    \
        return n;                                                                                                      \
    }                                                                                                                  \
    STRING_REPE(cmps, T, bits)                                                                                         \
    STRING_REPE(scas, T, bits)

/* The count goes down before the condition is looked at: the end by the condition is not an interruption. */
#define STRING_REPE(op, T, bits)                                                                                       \
    void sem_##op##_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        if (i->rep == REP_NONE) {                                                                                      \
            op##_step_##T(c, i);                                                                                       \
            return;                                                                                                    \
        }                                                                                                              \
        if (!string_begins(c, i))                                                                                      \
            return;                                                                                                    \
        for (u32 before = c->ax_flags;;) {                                                                             \
            u64 done = string_runs(c, i) ? op##_run_##T(c, i) : 0;                                                     \
            if (done == 0) {                                                                                           \
                op##_step_##T(c, i);                                                                                   \
                done = 1;                                                                                              \
            }                                                                                                          \
            if (!string_wanted(c, i)) {                                                                                \
                areg_set(c, i, R_CX, areg_get(c, i, R_CX) - done);                                                     \
                return;                                                                                                \
            }                                                                                                          \
            if (!string_again(c, i, done))                                                                             \
                return;                                                                                                \
            c->ax_flags = before;                                                                                      \
        }                                                                                                              \
    }

STRING_COMPARES(u8, 8)
STRING_COMPARES(u16, 16)
STRING_COMPARES(u32, 32)
STRING_COMPARES(u64, 64)

/* Ports. The memory side of INS is looked at before the port is read: reading may have effects. */
#define STRING_PORTS(T, bits)                                                                                          \
    static void ins_step_##T(struct cpu *c, const struct insn *i)                                                      \
    {                                                                                                                  \
        u16 port = reg_get_u16(c, R_DX);                                                                               \
        u64 linear = seg_linear(c, SEG_ES, areg_get(c, i, R_DI), sizeof(T), MMU_WRITE);                                \
        mmu_probe(c, c->mmu_index, linear, sizeof(T), MMU_WRITE);                                                      \
        mmu_store_##T(c, c->mmu_index, linear, (T)mem_port_read(c->mem, port, sizeof(T)));                             \
        string_advance(c, i, R_DI, sizeof(T));                                                                         \
    }                                                                                                                  \
    static void outs_step_##T(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        T v = seg_load_##T(c, i->seg, areg_get(c, i, R_SI));                                                           \
        mem_port_write(c->mem, reg_get_u16(c, R_DX), v, sizeof(T));                                                    \
        string_advance(c, i, R_SI, sizeof(T));                                                                         \
    }                                                                                                                  \
    STRING_PORT(ins, T, bits)                                                                                          \
    STRING_PORT(outs, T, bits)

#define STRING_PORT(op, T, bits)                                                                                       \
    void sem_##op##_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        cpu_check_io(c, reg_get_u16(c, R_DX), sizeof(T));                                                              \
        if (!string_begins(c, i))                                                                                      \
            return;                                                                                                    \
        do                                                                                                             \
            op##_step_##T(c, i);                                                                                       \
        while (i->rep != REP_NONE && string_again(c, i, 1));                                                           \
    }

STRING_PORTS(u8, 8)
STRING_PORTS(u16, 16)
STRING_PORTS(u32, 32)
