/*
 * x87 control: control and status word, environment, save and restore, WAIT. SDM volume 1 sections 8.1.9, 8.1.10
 * and 8.3.10, volume 2.
 */
#include "cpu/sem/x87_env.h"

#include "cpu/segment.h"
#include "cpu/sem/vec.h"

void x87_init(struct cpu *c)
{
    c->fcw = FCW_RESET;
    c->fsw = 0;
    c->ftw = 0;
    c->fop = 0;
    c->fip = c->fdp = 0;
}

/* Words of a register as the full tag word sees them: valid, zero, special (NaN, infinity, denormal, unsupported),
 * empty. */
static unsigned tag_of(struct f80 v)
{
    unsigned exponent = v.se & 0x7fff;
    if (exponent == 0)
        return v.m == 0 ? 1 : 2;
    return exponent == 0x7fff || !(v.m >> 63) ? 2 : 0;
}

static u16 full_tags(const struct cpu *c)
{
    unsigned tags = 0;
    for (unsigned n = 0; n < 8; n++)
        tags |= (c->ftw >> n & 1 ? tag_of((struct f80){c->st[2 * n], c->st[2 * n + 1]}) : 3) << 2 * n;
    return (u16)tags;
}

static u8 abridged_tags(u16 full)
{
    unsigned tags = 0;
    for (unsigned n = 0; n < 8; n++)
        tags |= (unsigned)((full >> 2 * n & 3) != 3) << n;
    return (u8)tags;
}

/* Control instructions */

void sem_fnop(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
}

/* FENI, FDISI, FSETPM: of the 8087 and 80287, nothing since. */
void sem_fnop_287(struct cpu *c, const struct insn *i)
{
}

void sem_fnclex(struct cpu *c, const struct insn *i)
{
    c->fsw &= (u16) ~(FSW_EXCEPTIONS | FSW_SF | FSW_ES | FSW_B);
    if (c->ferr)
        c->ferr(c, false);
}

void sem_fninit(struct cpu *c, const struct insn *i)
{
    x87_init(c);
    if (c->ferr)
        c->ferr(c, false);
}

void sem_fnstsw_ax(struct cpu *c, const struct insn *i)
{
    gpr_set16(c, R_AX, c->fsw);
}

void sem_fnstsw_m16(struct cpu *c, const struct insn *i)
{
    op_store_u16(c, i, c->fsw);
}

void sem_fnstcw(struct cpu *c, const struct insn *i)
{
    op_store_u16(c, i, c->fcw);
}

static void set_fcw(struct cpu *c, u16 v)
{
    c->fcw = (u16)((v & FCW_VALID) | FCW_ONE);
}

void sem_fldcw(struct cpu *c, const struct insn *i)
{
    set_fcw(c, op_load_u16(c, i));
    x87_summary(c);
}

void sem_fincstp(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    c->fsw &= (u16)~FSW_C1;
    x87_move_top(c, 1);
}

void sem_fdecstp(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    c->fsw &= (u16)~FSW_C1;
    x87_move_top(c, 7);
}

void sem_ffree(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    c->fsw &= (u16)~FSW_C1;
    x87_set_empty(c, i->rm);
}

void sem_ffreep(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    c->fsw &= (u16)~FSW_C1;
    x87_set_empty(c, i->rm);
    x87_pop(c);
}

/* #NM only if CR0.MP and TS are both set; EM does not count. */
void sem_fwait(struct cpu *c, const struct insn *i)
{
    if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        cpu_fault(c, EXC_NM);
    if (c->fsw & FSW_ES)
        check_x87_pending(c);
}

/* The environment: 14 or 28 bytes, SDM volume 1 figures 8-9 to 8-12 */

static bool real_format(const struct cpu *c)
{
    return cpu_real_mode(c) || cpu_v86(c);
}

static unsigned put_env16(const struct cpu *c, u8 *p)
{
    put_u16(p, c->fcw);
    put_u16(p + 2, c->fsw);
    put_u16(p + 4, full_tags(c));
    if (real_format(c)) {
        u32 ip = (u32)c->fip, dp = (u32)c->fdp;
        put_u16(p + 6, (u16)ip);
        put_u16(p + 8, (u16)((ip >> 16 & 15) << 12 | (c->fop & 0x7ff)));
        put_u16(p + 10, (u16)dp);
        put_u16(p + 12, (u16)((dp >> 16 & 15) << 12));
    } else {
        put_u16(p + 6, (u16)c->fip);
        put_u16(p + 8, 0);
        put_u16(p + 10, (u16)c->fdp);
        put_u16(p + 12, 0);
    }
    return 14;
}

static unsigned put_env32(const struct cpu *c, u8 *p)
{
    put_u32(p, 0xffff0000 | c->fcw);
    put_u32(p + 4, 0xffff0000 | c->fsw);
    put_u32(p + 8, 0xffff0000 | full_tags(c));
    if (real_format(c)) {
        u32 ip = (u32)c->fip, dp = (u32)c->fdp;
        put_u32(p + 12, 0xffff0000 | (ip & 0xffff));
        put_u32(p + 16, ip >> 16 << 12 | (c->fop & 0x7ff));
        put_u32(p + 20, 0xffff0000 | (dp & 0xffff));
        put_u32(p + 24, dp >> 16 << 12);
    } else {
        put_u32(p + 12, (u32)c->fip);
        put_u32(p + 16, (u32)(c->fop & 0x7ff) << 16);
        put_u32(p + 20, (u32)c->fdp);
        put_u32(p + 24, 0xffff0000);
    }
    return 28;
}

/* 64-bit code uses the 32-bit format. */
static unsigned env_size(const struct insn *i)
{
    return i->opsize == 2 ? 14 : 28;
}

/*
 * The linear address of an image of `size` bytes that begins with an environment. Its fields are words or doublewords
 * and checked for alignment as such; processors look at the first of them and then at the last byte: CR2 shows it.
 */
static u64 image_linear(struct cpu *c, const struct insn *i, unsigned size, enum mmu_access a)
{
    unsigned word = env_size(i) / 7;
    u64 linear = c->seg_base[i->seg] + op_ea(c, i);
    if (c->mmu_index == MMU_CHECKED && linear & (word - 1) && addr_is_canonical(linear))
        cpu_fault_code(c, EXC_AC, 0);
    linear = op_linear(c, i, size, a);
    mmu_probe(c, c->mmu_index, linear, word, a);
    mmu_probe(c, c->mmu_index, linear + size - 1, 1, a);
    return linear;
}

static void put_env(const struct cpu *c, const struct insn *i, u8 *p)
{
    if (env_size(i) == 14)
        put_env16(c, p);
    else
        put_env32(c, p);
}

/* In the real formats the pointers are linear addresses: the selectors are taken as 0. */
static void get_env16(struct cpu *c, const u8 *p)
{
    u16 cs = get_u16(p + 8), ds = get_u16(p + 12);
    c->fsw = get_u16(p + 2);
    c->ftw = abridged_tags(get_u16(p + 4));
    c->fip = get_u16(p + 6);
    c->fdp = get_u16(p + 10);
    if (real_format(c)) {
        c->fip |= (u32)(cs >> 12) << 16;
        c->fdp |= (u32)(ds >> 12) << 16;
        c->fop = cs & 0x7ff;
    }
    set_fcw(c, get_u16(p));
    x87_summary(c);
}

static void get_env32(struct cpu *c, const u8 *p)
{
    u32 cs = get_u32(p + 16), ds = get_u32(p + 24);
    c->fsw = get_u16(p + 4);
    c->ftw = abridged_tags(get_u16(p + 8));
    if (real_format(c)) {
        c->fip = get_u16(p + 12) | (cs >> 12 & 0xffff) << 16;
        c->fdp = get_u16(p + 20) | (ds >> 12 & 0xffff) << 16;
        c->fop = cs & 0x7ff;
    } else {
        c->fip = get_u32(p + 12);
        c->fdp = get_u32(p + 20);
        c->fop = cs >> 16 & 0x7ff;
    }
    set_fcw(c, get_u16(p));
    x87_summary(c);
}

static void get_env(struct cpu *c, const struct insn *i, const u8 *p)
{
    if (env_size(i) == 14)
        get_env16(c, p);
    else
        get_env32(c, p);
}

void sem_fnstenv(struct cpu *c, const struct insn *i)
{
    u8 env[28];
    unsigned size = env_size(i);
    u64 linear = image_linear(c, i, size, MMU_WRITE);
    put_env(c, i, env);
    mmu_store_bytes(c, c->mmu_index, linear, env, size);
    c->fcw |= FSW_EXCEPTIONS;
    x87_summary(c);
}

void sem_fldenv(struct cpu *c, const struct insn *i)
{
    u8 env[28];
    unsigned size = env_size(i);
    u64 linear = image_linear(c, i, size, MMU_READ);
    mmu_load_bytes(c, c->mmu_index, linear, env, size);
    get_env(c, i, env);
}

/* The environment and ST(0) to ST(7), ten bytes each. */
void sem_fnsave(struct cpu *c, const struct insn *i)
{
    u8 image[28 + 80];
    unsigned size = env_size(i);
    u64 linear = image_linear(c, i, size + 80, MMU_WRITE);
    put_env(c, i, image);
    for (unsigned n = 0; n < 8; n++)
        __builtin_memcpy(image + size + 10 * n, x87_st(c, n), 10);
    mmu_store_bytes(c, c->mmu_index, linear, image, size + 80);
    sem_fninit(c, i);
}

void sem_frstor(struct cpu *c, const struct insn *i)
{
    u8 image[28 + 80];
    unsigned size = env_size(i);
    u64 linear = image_linear(c, i, size + 80, MMU_READ);
    mmu_load_bytes(c, c->mmu_index, linear, image, size + 80);
    get_env(c, i, image);
    for (unsigned n = 0; n < 8; n++) {
        struct f80 v = {0};
        __builtin_memcpy(&v, image + size + 10 * n, 10);
        *x87_st(c, n) = v;
    }
}

/* The FXSAVE image: SDM volume 1 section 10.5 */

void x87_put_image(struct cpu *c, const struct insn *i, u8 *p)
{
    put_u16(p, c->fcw);
    put_u16(p + 2, c->fsw);
    put_u16(p + 4, c->ftw);
    put_u16(p + 6, c->fop & 0x7ff);
    if (i->rex_w) {
        put_u64(p + 8, c->fip);
        put_u64(p + 16, c->fdp);
    } else {
        put_u64(p + 8, (u32)c->fip);
        put_u64(p + 16, (u32)c->fdp);
    }
    for (unsigned n = 0; n < 8; n++) {
        struct f80 v = *x87_st(c, n);
        put_u64(p + 32 + 16 * n, v.m);
        put_u64(p + 40 + 16 * n, v.se & 0xffff);
    }
}

void x87_get_image(struct cpu *c, const struct insn *i, const u8 *p)
{
    set_fcw(c, get_u16(p));
    c->fsw = get_u16(p + 2);
    c->ftw = p[4];
    c->fop = get_u16(p + 6) & 0x7ff;
    c->fip = get_u64(p + 8);
    c->fdp = get_u64(p + 16);
    if (!i->rex_w) {
        c->fip = (u32)c->fip;
        c->fdp = (u32)c->fdp;
    }
    for (unsigned n = 0; n < 8; n++)
        *x87_st(c, n) = (struct f80){get_u64(p + 32 + 16 * n), get_u16(p + 40 + 16 * n)};
    x87_summary(c);
}
