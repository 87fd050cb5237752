/*
 * Flag instructions, NOP and hints, cache control, fences, random numbers, UD. SDM volume 2.
 */
#include "cpu/fault.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"
#include "event/door.h"

void sem_clc(struct cpu *c, const struct insn *i)
{
    flags_set(c, AX_CF, false);
}

void sem_stc(struct cpu *c, const struct insn *i)
{
    flags_set(c, AX_CF, true);
}

void sem_cmc(struct cpu *c, const struct insn *i)
{
    c->ax_flags ^= AX_CF;
}

void sem_cld(struct cpu *c, const struct insn *i)
{
    c->rflags &= ~(u64)RF_DF;
}

void sem_std(struct cpu *c, const struct insn *i)
{
    c->rflags |= RF_DF;
}

void sem_lahf(struct cpu *c, const struct insn *i)
{
    reg_set_u8(c, 0x10, (u8)(flags_to_eflags(c->ax_flags) & 0xff) | 2);
}

void sem_sahf(struct cpu *c, const struct insn *i)
{
    c->ax_flags = (c->ax_flags & AX_OF) | flags_from_eflags(reg_get_u8(c, 0x10));
}

/* Prefetches, PAUSE, ENDBR and the reserved hints: no access, no fault. */
void sem_nop(struct cpu *c, const struct insn *i)
{
}

/* Guest accesses are the host's, in the guest's order: the host's fence is the guest's. */
void sem_fence(struct cpu *c, const struct insn *i)
{
    __builtin_ia32_mfence();
}

/* Guest memory is as coherent as the host's, so nothing has to be flushed; but the address is checked as a load is. */
void sem_clflush(struct cpu *c, const struct insn *i)
{
    mmu_probe(c, c->mmu_index, op_linear(c, i, 1, MMU_READ), 1, MMU_READ);
}

/* RDRAND and RDSEED: there is always a number. */
#define RANDOM(T, bits)                                                                                                \
    void sem_rdrand_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        T v;                                                                                                           \
        door_random(c->loop, &v, sizeof(v));                                                                           \
        reg_set_##T(c, i->rm, v);                                                                                      \
        c->ax_flags = AX_FIXED | AX_CF;                                                                                \
    }
SEM_WIDE(RANDOM)

void sem_ud(struct cpu *c, const struct insn *i)
{
    cpu_ud(c);
}
