/* See setup.h. */
#include "setup.h"

#include <string.h>

#include "guest.h"
#include "native.h"

enum page_use arena_use(unsigned page)
{
    static const u8 uses[ARENA_PAGES] = {
        [PAGE_CODE] = USE_CODE,   [PAGE_CODE + 1] = USE_CODE, [PAGE_DATA] = USE_RW,
        [PAGE_DATA + 1] = USE_RW, [PAGE_DATA + 2] = USE_RW,   [PAGE_DATA + 3] = USE_RW,
        [PAGE_RO] = USE_RO,       [PAGE_STACK] = USE_RW,      [PAGE_STACK + 1] = USE_RW};
    return page < ARENA_PAGES ? uses[page] : USE_NONE;
}

static u64 arena(unsigned page, u64 offset)
{
    return ARENA + page * PAGE + offset;
}

void setup_poke(u64 linear, const void *data, unsigned size)
{
    u64 offset = linear - ARENA;

    if (offset > ARENA_PAGES * PAGE - size)
        return;
    memcpy(native_memory() + offset, data, size);
    memcpy(guest_memory() + offset, data, size);
}

/* Not into the code: what stands there is INT3. */
static void poke_data(u64 linear, const void *data, unsigned size)
{
    enum page_use first = arena_use((linear - ARENA) / PAGE), last = arena_use((linear + size - 1 - ARENA) / PAGE);

    if (linear >= ARENA && first >= USE_RW && last >= USE_RW)
        setup_poke(linear, data, size);
}

void setup_memory(struct random *r)
{
    u8 page[PAGE];

    for (unsigned n = 0; n < ARENA_PAGES; n++) {
        if (arena_use(n) == USE_CODE)
            memset(page, 0xcc, sizeof(page));
        else
            random_data(r, page, sizeof(page));
        setup_poke(arena(n, 0), page, sizeof(page));
    }
}

static u64 near_page_end(struct random *r, unsigned last_page)
{
    return arena(last_page + 1, 0) - random_below(r, 40);
}

u64 setup_target(struct random *r, enum code_kind k, bool align)
{
    u64 inside = arena(PAGE_DATA, random_below(r, 4 * PAGE - 512));

    switch (random_below(r, 32)) {
    case 0: /* from writable to read-only */
        return near_page_end(r, PAGE_DATA + 3);
    case 1: /* from there to nothing */
        return near_page_end(r, PAGE_RO);
    case 2: /* from a page to the next */
        return near_page_end(r, PAGE_DATA);
    case 3: /* from nothing to writable */
        return arena(PAGE_DATA, 0) - random_below(r, 8);
    case 4:
        return arena(PAGE_RO, random_below(r, PAGE - 64));
    case 5: /* the limit of LDT segments, the end of the stack */
        return arena(PAGE_END, 0) - random_below(r, 40);
    case 6: /* not canonical, or the kernel's; below there might be something of the host's */
        if (k == CODE_64 && random_one_in(r, 2))
            return random_one_in(r, 2) ? 0x7ffffffffffcull + random_below(r, 8) : random_integer(r) | 1ull << 47;
        return arena(PAGE_CODE - 1, random_below(r, 3 * PAGE));
    default:
        if (random_one_in(r, 2))
            inside &= ~7ull;
        return align && !random_one_in(r, 16) ? inside & ~63ull : inside;
    }
}

static void setup_fp(struct random *r, struct test_case *t, bool avx)
{
    struct fx_image *f = &t->before.fx;

    memset(f, 0, sizeof(*f));
    f->fcw = (u16)((random_below(r, 16) << 8) | (random_one_in(r, 3) ? random_below(r, 64) : 0x3f) | 0x40);
    f->fsw = (u16)(random_one_in(r, 2) ? random_below(r, 8) << 11 : random_u64(r) & 0x7f7f);
    if (!random_one_in(r, 20))
        f->fsw &= (u16) ~(~f->fcw & 0x3f); /* else an error is pending */
    if (f->fsw & ~f->fcw & 0x3f)
        f->fsw |= 0x8080;
    f->ftw = random_one_in(r, 2) ? 0xff : (u8)random_u64(r);
    f->mxcsr = (random_one_in(r, 8) ? random_below(r, 64) : 0x3f) << 7 | random_below(r, 4) << 13;
    if (random_one_in(r, 4))
        f->mxcsr |= random_u64(r) & 0x807f;
    for (unsigned n = 0; n < 8; n++)
        random_x87(r, f->st[n]);
    random_data(r, f->xmm, sizeof(f->xmm));
    memset(t->before.ymm_high, 0, sizeof(t->before.ymm_high));
    if (avx)
        random_data(r, t->before.ymm_high, sizeof(t->before.ymm_high));
}

static void set_reg(struct test_case *t, unsigned n, u64 v)
{
    if (n < 16)
        t->before.gpr[n] = v;
}

void setup_state(struct random *r, struct test_case *t, bool avx)
{
    struct user_state *s = &t->before;

    for (unsigned n = 0; n < 16; n++)
        s->gpr[n] = random_integer(r);
    if (random_one_in(r, 16)) /* registers that are equal */
        s->gpr[random_below(r, 16)] = s->gpr[random_below(r, 16)];
    u64 sp = arena(PAGE_STACK, PAGE - 512 + random_below(r, 1024));
    if (random_one_in(r, 16))
        sp = arena(random_one_in(r, 2) ? PAGE_STACK : PAGE_END, 0) + random_below(r, 64) - 32;
    if (!random_one_in(r, 8))
        sp &= ~7ull;
    set_reg(t, R_SP, sp - code_base(t->kind));
    s->rip = arena(PAGE_CODE, 64 + random_below(r, 2 * PAGE - 128)) - code_base(t->kind);
    s->rflags = 0x202 | (random_u64(r) & FL_OSZAPC);
    if (random_one_in(r, 4))
        s->rflags |= FL_DF;
    if (random_one_in(r, 40))
        s->rflags |= RF_AC;
    setup_fp(r, t, avx);
}

/* Base and index such that the sum with the displacement is `offset`. The base is preferred; alone, a scaled index only
 * comes near it. */
static void aim_memory(struct random *r, struct test_case *t, const struct insn *i, u64 offset)
{
    u64 left = offset - (u64)i->disp;

    if (i->seg == SEG_GS && t->kind == CODE_64)
        left -= GS_BASE;
    if (i->base < 16 && i->index == i->base) {
        set_reg(t, i->base, left / (1 + (1u << i->scale)));
    } else if (i->base < 16 && i->index < 16) {
        if (random_one_in(r, 2) && i->index != R_SP)
            set_reg(t, i->index, random_below(r, 64));
        set_reg(t, i->base, left - (t->before.gpr[i->index] << i->scale));
    } else if (i->base < 16) {
        set_reg(t, i->base, left);
    } else if (i->index < 16) {
        set_reg(t, i->index, left >> i->scale);
    }
    if (i->ashift && random_one_in(r, 2) && i->base < 16 && t->kind == CODE_64) /* what the address size cuts off */
        t->before.gpr[i->base] += random_u64(r) << (64 - i->ashift);
}

/* Gathers: base at the target, small indices. */
static void aim_vsib(struct random *r, struct test_case *t, const struct insn *i, bool wide)
{
    u8 *v = t->before.fx.xmm[i->index & 15], *high = t->before.ymm_high[i->index & 15];

    for (unsigned n = 0; n < 8; n++) {
        i32 index = (i32)random_below(r, 256) - 64;
        i64 index64 = index;
        u8 *half = n < 4 ? v : high;
        if (!wide)
            memcpy(half + 4 * (n & 3), &index, 4);
        else if (n < 4)
            memcpy((n < 2 ? v : high) + 8 * (n & 1), &index64, 8);
    }
}

static u64 code_target(struct random *r, const struct test_case *t)
{
    u64 at = arena(PAGE_CODE, random_below(r, 2 * PAGE));

    if (random_one_in(r, 16))
        return random_integer(r);
    if (at - code_base(t->kind) - t->before.rip < t->len)
        at += 16;
    return at - code_base(t->kind);
}

static bool is_branch(const struct insn *i)
{
    return isa_rows[i->row].treat == TREAT_BRANCH;
}

static bool is_mnemonic(const struct insn *i, const char *prefix)
{
    return !strncmp(isa_rows[i->row].mnemonic, prefix, strlen(prefix));
}

static bool is_bit_string(const struct insn *i)
{
    return is_mnemonic(i, "bt") && i->mem && isa_kinds[isa_rows[i->row].operand[1].kind].slot == SLOT_REG;
}

static void aim_strings(struct random *r, struct test_case *t, const struct insn *i, u64 target)
{
    const struct isa_row *row = &isa_rows[i->row];
    bool any = false;

    for (unsigned n = 0; n < row->operands; n++) {
        const struct isa_kind *k = &isa_kinds[row->operand[n].kind];
        if (k->slot != SLOT_SI && k->slot != SLOT_DI)
            continue;
        u64 base = i->seg == SEG_GS && t->kind == CODE_64 && k->slot == SLOT_SI ? GS_BASE : 0;
        set_reg(t, k->flags, (any ? setup_target(r, t->kind, false) : target) - code_base(t->kind) - base);
        if (any && random_one_in(r, 4)) /* overlapping */
            set_reg(t, k->flags, t->before.gpr[R_SI] + random_below(r, 32) - 16);
        any = true;
    }
    if (any && row->attrs & (A_REP | A_REPZ))
        set_reg(t, R_CX, random_one_in(r, 8) ? random_below(r, 3000) : random_below(r, 20));
    if (any && i->ashift == 32 && t->kind == CODE_64 && random_one_in(r, 4))
        for (unsigned n = 0; n < 8; n++)
            t->before.gpr[n] |= n == R_SP ? 0 : random_u64(r) << 32;
    if (any && row->attrs & A_REPZ && random_one_in(r, 2)) {
        u8 same[256];
        memset(same, (u8)t->before.gpr[R_AX], sizeof(same));
        poke_data(t->before.gpr[R_SI] + code_base(t->kind), same, sizeof(same));
        poke_data(t->before.gpr[R_DI] + code_base(t->kind), same, sizeof(same) - random_below(r, 200));
    }
}

static void aim_branch(struct random *r, struct test_case *t, const struct insn *i, u64 target)
{
    u64 to = code_target(r, t);

    if (is_mnemonic(i, "ret"))
        poke_data(t->before.gpr[R_SP] + code_base(t->kind), &to, 8);
    else if (i->mem)
        poke_data(target, &to, 8);
    else if (i->rm != R_SP && i->modrm)
        set_reg(t, i->rm, to);
}

void setup_operands(struct random *r, struct test_case *t, const struct insn *i, u64 target)
{
    const struct isa_row *row = &isa_rows[i->row];
    u64 offset = target - code_base(t->kind);
    u8 data[64];

    if (i->mem && random_one_in(r, 2)) {
        random_data(r, data, sizeof(data));
        poke_data(target, data, sizeof(data));
    }
    for (unsigned n = 0; n < row->operands; n++)
        if (isa_kinds[row->operand[n].kind].slot == SLOT_VSIB)
            aim_vsib(r, t, i, isa_kinds[row->operand[n].kind].size == 8 || !strstr(row->mnemonic, "gatherd"));
    if (is_mnemonic(i, "leave") || is_mnemonic(i, "enter"))
        set_reg(t, R_BP, t->before.gpr[R_SP] + random_below(r, 256) * 2 - 128);
    if (is_bit_string(i) && i->reg != i->base && i->reg != i->index && i->reg != R_SP)
        set_reg(t, i->reg, (u64)(i64)(i32)random_below(r, 4096) - 2048);
    if (is_mnemonic(i, "cmpxchg") && random_one_in(r, 2))
        set_reg(t, R_AX, t->before.gpr[i->mem ? R_DX : i->rm & 15]);
    aim_strings(r, t, i, target);
    if (i->mem)
        aim_memory(r, t, i, offset);
    if (is_mnemonic(i, "cmpxchg") && i->mem && random_one_in(r, 2)) {
        poke_data(target, &t->before.gpr[R_AX], 8);
        poke_data(target + 8, &t->before.gpr[R_DX], 8);
    }
    if (is_branch(i))
        aim_branch(r, t, i, target);
    if (t->kind != CODE_64)
        for (unsigned n = 0; n < 16; n++)
            t->before.gpr[n] = (u32)t->before.gpr[n];
}
