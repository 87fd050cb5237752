/* A program from a seed: which kinds, how long, item after item; the state that it starts with. */
#include "gen.h"

#include <string.h>

static const struct {
    const char *name;
    u32 weight;
} kinds[] = {
#define KIND(name, text, weight, help) [KIND_##name] = {text, weight},
#include "kind.def"
#undef KIND
};

const char *kind_name(unsigned kind)
{
    return kinds[kind].name;
}

u32 program_code_offset(u64 linear)
{
    if (linear - USER_BASE < CODE_SIZE)
        return (u32)(linear - USER_BASE);
    if (linear - KERNEL_BASE < CODE_SIZE)
        return (u32)(linear - KERNEL_BASE);
    return CODE_SIZE;
}

/* --- items
 * ------------------------------------------------------------------------------------------------------------ */

static void item_plain(struct gen *g, enum kind k)
{
    emit_any(g, k);
    if (one_in(g, 3))
        emit_any(g, k);
}

static void emit_item(struct gen *g, enum kind k)
{
    static void (*const own[KIND_COUNT])(struct gen * g) = {
        [KIND_FLAGS] = item_flags,     [KIND_BRANCH] = item_branch, [KIND_LOOP] = item_loop,
        [KIND_CALL] = item_call,       [KIND_STACK] = item_stack,   [KIND_STRING] = item_string,
        [KIND_LOCK] = item_lock,       [KIND_FAULT] = item_fault,   [KIND_EDGE] = item_edge,
        [KIND_CODE] = item_code,       [KIND_PAGING] = item_paging, [KIND_RING] = item_ring,
        [KIND_SEGMENT] = item_segment, [KIND_SYSTEM] = item_system, [KIND_STATE] = item_state,
        [KIND_IRQ] = item_irq,
    };
    if (own[k])
        own[k](g);
    else
        item_plain(g, k);
}

/* The rest of the code begins elsewhere: a little later, or where a page ends. */
static void move_on(struct gen *g)
{
    u32 next = g->at + below(g, 96);
    if (one_in(g, 2))
        next = ((g->at / MEM_PAGE_SIZE) + 1) * MEM_PAGE_SIZE - below(g, 24);
    if (next < g->at + 8 || next > g->end)
        return;
    struct insn i = insn_reg(INSN_JMP_Jz, 0, 0, false);
    i.imm = next - (g->at + 5);
    emit(g, i);
    struct program *p = g->p;
    p->item[p->items++] = (struct item){(u16)(g->at - 5), 5, KIND_BRANCH};
    g->at = next;
}

/* Stores into the immediates of instructions that were not there yet. */
static void settle_patches(struct gen *g, unsigned old)
{
    while (g->patches && g->patchables > old && one_in(g, 2)) {
        struct forward f = g->patch[--g->patches];
        u64 target = g->patchable[g->patchables - 1].at;
        for (unsigned n = 0; n < 2; n++)
            if (g->p->alias[n] == target / MEM_PAGE_SIZE && one_in(g, 2))
                target = (PAGE_ALIAS + n) * (u64)MEM_PAGE_SIZE + target % MEM_PAGE_SIZE;
        put_u32(g->p->ram + f.at, (u32)(target - f.from));
    }
}

static enum kind pick_kind(struct gen *g, u32 set)
{
    u32 total = 0;
    for (unsigned k = 0; k < KIND_COUNT; k++)
        total += set >> k & 1 ? kinds[k].weight : 0;
    u32 n = below(g, total);
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        u32 weight = set >> k & 1 ? kinds[k].weight : 0;
        if (n < weight)
            return k;
        n -= weight;
    }
    return KIND_ALU;
}

static void add_item(struct gen *g, u32 set)
{
    struct program *p = g->p;
    if (one_in(g, 30))
        move_on(g);
    unsigned patchables = g->patchables;
    enum kind k = pick_kind(g, set);
    forward_land(g, false);
    u32 at = g->at;
    emit_item(g, k);
    if (one_in(g, 24))
        emit_int(g, VECTOR_CHECK);
    settle_patches(g, patchables);
    if (g->at > at)
        p->item[p->items++] = (struct item){(u16)at, (u16)(g->at - at), (u8)k};
}

/* Where nothing was written is run through, and skipped to what comes next. */
static void fill_gaps(struct gen *g)
{
    u16 next = g->resume[g->at - 1];
    for (u32 n = g->at; n-- > 0;) {
        if (g->resume[n])
            next = (u16)n;
        else
            g->resume[n] = next;
    }
}

static void write_code(struct gen *g, u32 set)
{
    unsigned length = g->o->length ? g->o->length : one_in(g, 4) ? 10 + below(g, 30) : 60 + below(g, 200);
    memset(g->code, 0x90, CODE_SIZE);
    put_u32(g->p->ram + arena_frame(PAGE_VARS) + VAR_BUDGET, 30);
    g->end = CODE_SIZE - 1024;
    if (one_in(g, 2))
        g->at = below(g, MEM_PAGE_SIZE);
    g->p->start.rip = code_base(g) + g->at;
    while (g->p->items < length && g->p->items < ITEMS - 2 && g->at < g->end)
        add_item(g, set);
    forward_land(g, true);
    emit_int(g, VECTOR_FINISH);
    g->p->code_end = g->at;
    fill_gaps(g);
}

/* --- start
 * ----------------------------------------------------------------------------------------------------------------- */

static void start_registers(struct gen *g, struct start *s)
{
    for (unsigned n = 0; n < 16; n++) {
        s->gpr[n] = random_integer(g->r);
        if (n != R_SP && one_in(g, 4)) {
            s->gpr[n] = random_address(g);
            g->use[n] = REG_POINTER;
        }
    }
    s->gpr[R_SP] = code_base(g) + PAGE_STACK * (u64)MEM_PAGE_SIZE + MEM_PAGE_SIZE + 8 * below(g, 256);
    s->rflags = (random_u64(g->r) & 0xcd5) | 2 | (one_in(g, 2) ? RF_IF : 0);
    s->fs = random_address(g);
    s->gs = random_address(g);
    s->kernel_gs = random_address(g);
}

static void start_control(struct gen *g, struct start *s)
{
    s->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    if (g->p->smap)
        s->cr4 |= CR4_SMAP;
    if (g->p->pcid)
        s->cr4 |= CR4_PCIDE;
    if (one_in(g, 4))
        s->cr4 |= CR4_UMIP;
    s->cr3 = g->p->space[0];
    s->xcr0 = isa_has(&g->o->features, FEAT_AVX) ? 7 : 3;
    u64 flags = one_in(g, 3) ? random_u64(g->r) : ~0ull; /* kernels mask all */
    s->sfmask = RF_TF | RF_IF | RF_DF | RF_NT | (flags & 0x8d5) | RF_AC;
}

static void start_fp(struct gen *g, struct start *s)
{
    random_data(g->r, s->ymm, sizeof(s->ymm));
    for (unsigned n = 0; n < 8; n++)
        random_x87(g->r, (u8 *)&s->st[2 * n]);
    s->ftw = one_in(g, 2) ? 0 : (u8)random_u64(g->r);
    s->fsw = (u16)(random_u64(g->r) & 0x7800);
    s->fcw = one_in(g, 6) ? (u16)(0x40 | (random_u64(g->r) & 0xf3f)) : 0x37f;
    s->mxcsr = one_in(g, 6) ? (u32)random_u64(g->r) & 0xffff : 0x1f80;
}

static void fill_data(struct gen *g)
{
    u8 *ram = g->p->ram;
    for (unsigned page = PAGE_DATA; page < PAGE_DATA + DATA_PAGES; page++)
        random_data(g->r, ram + arena_frame(page), MEM_PAGE_SIZE);
    random_data(g->r, ram + arena_frame(PAGE_STACK), 2 * MEM_PAGE_SIZE);
    random_data(g->r, ram + PA_EDGE + 0x1000, 3 * MEM_PAGE_SIZE);
}

static u32 random_kinds(struct gen *g)
{
    u32 set = g->o->kinds;
    for (unsigned k = 0; k < KIND_COUNT; k++)
        if (one_in(g, 4) && set & ~BIT(k))
            set &= ~BIT(k);
    return set;
}

/* Neighbouring seeds are to give programs that have nothing in common. */
static u64 scatter(u64 v)
{
    v = (v + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
    v = (v ^ v >> 29) * 0x94d049bb133111eb;
    v ^= v >> 32;
    return v ? v : 1;
}

void program_generate(struct program *p, u64 seed, const struct program_options *o)
{
    struct random r = {.state = scatter(seed)};
    u8 *ram = p->ram;
    *p = (struct program){.seed = seed, .ram = ram};
    struct gen g = {.p = p, .o = o, .r = &r, .code = ram + PA_ARENA, .resume = (u16 *)(ram + PA_RESUME)};

    g.ring0 = one_in(&g, 2);
    p->start.user = !g.ring0;
    p->smap = one_in(&g, 5);
    p->pcid = one_in(&g, 2);
    space_build(p, &r);
    u32 set = random_kinds(&g);
    fill_data(&g);
    start_registers(&g, &p->start);
    start_control(&g, &p->start);
    start_fp(&g, &p->start);
    write_code(&g, set);
}

/* --- blanking
 * ----------------------------------------------------------------------------------------------------------------- */

void program_blank(struct program *p, unsigned item)
{
    static const u8 nop[] = {0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0};
    u8 *code = p->ram + PA_ARENA + p->item[item].at;
    unsigned len = p->item[item].len;
    while (len >= sizeof(nop)) {
        memcpy(code, nop, sizeof(nop));
        code += sizeof(nop);
        len -= sizeof(nop);
    }
    memset(code, 0x90, len);
}

/* --- dead flags
 * --------------------------------------------------------------------------------------------------------------- */

static u32 flags_overwritten(const struct isa_row *row)
{
    return row->flags_written | row->flags_undefined | row->flags_cleared | row->flags_set;
}

/* Flags that somebody may read before the instruction, if `after` are those behind it. */
static u32 live_before(const u8 *bytes, u32 after, const struct isa_features *f)
{
    struct insn i;
    if (insn_decode(bytes, INSN_MAX_BYTES, ISA_64, f, &i) != INSN_OK)
        return FL_OSZAPC;
    const struct isa_row *row = &isa_rows[i.row];
    u32 live = row->attrs & A_END ? FL_OSZAPC : after;
    return (live & ~flags_overwritten(row)) | row->flags_read;
}

void program_finish(struct program *p, const struct program_options *o, bool all)
{
    const u16 *resume = (const u16 *)(p->ram + PA_RESUME);
    u16 *dead = (u16 *)(p->ram + PA_DEAD), start[CODE_SIZE];
    u32 count = 0, live = FL_OSZAPC;

    program_vars(p)->dead = o->strict_flags ? 0 : RT_BASE + PA_DEAD;
    for (u32 at = 0; at < p->code_end; at = resume[at])
        start[count++] = (u16)at;
    while (count-- > 0) {
        live = all ? 0 : live_before(p->ram + PA_ARENA + start[count], live, &o->features);
        dead[start[count]] = (u16)(FL_OSZAPC & ~live);
    }
}

static int row_at(const u8 *ram, u32 at, const struct isa_features *f)
{
    struct insn i;
    return insn_decode(ram + PA_ARENA + at, INSN_MAX_BYTES, ISA_64, f, &i) == INSN_OK ? i.row : -1;
}

bool program_rewrote_code(const struct program *p, const struct program_options *o, const u8 *ram)
{
    const u16 *resume = (const u16 *)(p->ram + PA_RESUME);
    for (u32 at = 0; at < p->code_end; at = resume[at])
        if (row_at(p->ram, at, &o->features) != row_at(ram, at, &o->features))
            return true;
    return false;
}
