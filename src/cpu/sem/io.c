/* IN and OUT. SDM volume 2, volume 1 chapter 19. INS and OUTS are in string.c. */
#include "cpu/io.h"

#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

static u32 port_read(struct cpu *c, u16 port, unsigned size)
{
    cpu_check_io(c, port, size);
    return mem_port_read(c->mem, port, size);
}

static void port_write(struct cpu *c, u16 port, u32 v, unsigned size)
{
    cpu_check_io(c, port, size);
    mem_port_write(c->mem, port, v, size);
}

/* There is no port access of 8 bytes: REX.W counts for nothing. */
static unsigned port_size(const struct insn *i)
{
    return i->opsize == 2 ? 2 : 4;
}

static void in_al(struct cpu *c, u16 port)
{
    reg_set_u8(c, R_AX, (u8)port_read(c, port, 1));
}

static void in_eax(struct cpu *c, const struct insn *i, u16 port)
{
    unsigned size = port_size(i);
    gpr_set(c, R_AX, port_read(c, port, size), size);
}

void sem_in_AL_Ib(struct cpu *c, const struct insn *i)
{
    in_al(c, (u8)i->imm);
}

void sem_in_zAX_Ib(struct cpu *c, const struct insn *i)
{
    in_eax(c, i, (u8)i->imm);
}

void sem_in_AL_DX(struct cpu *c, const struct insn *i)
{
    in_al(c, reg_get_u16(c, R_DX));
}

void sem_in_zAX_DX(struct cpu *c, const struct insn *i)
{
    in_eax(c, i, reg_get_u16(c, R_DX));
}

void sem_out_Ib_AL(struct cpu *c, const struct insn *i)
{
    port_write(c, (u8)i->imm, reg_get_u8(c, R_AX), 1);
}

void sem_out_Ib_zAX(struct cpu *c, const struct insn *i)
{
    port_write(c, (u8)i->imm, reg_get_u32(c, R_AX), port_size(i));
}

void sem_out_DX_AL(struct cpu *c, const struct insn *i)
{
    port_write(c, reg_get_u16(c, R_DX), reg_get_u8(c, R_AX), 1);
}

void sem_out_DX_zAX(struct cpu *c, const struct insn *i)
{
    port_write(c, reg_get_u16(c, R_DX), reg_get_u32(c, R_AX), port_size(i));
}
