/*
 * Implements engine/translate/lower_plan.h: one pass over the instructions that follows what registers hold as "what
 * was in there at some moment, plus a constant".
 */
#include "engine/translate/lower_plan.h"

#include <string.h>

#include "isa/operand.h"

#define KEYS_MAX   32 /* addresses kept apart in a block */
#define GROUP_NONE 0xff

/* What a register holds: an unknown value, by number, plus a constant. */
struct value {
    u32 root;
    i64 add;
};

/* Addresses that differ by constants. */
struct key {
    u32 base, index; /* roots; 0: none */
    u8 seg, scale;
};

/* The accesses by one key. */
struct site {
    struct key key;
    i64 checked; /* the access of instruction `checker` here was found aligned to `size` */
    u8 size, checker;
    u8 group;      /* that is open, or GROUP_NONE */
    i64 low, high; /* of all accesses, for loops */
};

struct group {
    u8 leader, leader_access, count;
    u8 last; /* instruction */
    i64 first, low, high;
};

struct planner {
    struct plan *plan;
    struct plan_loop *loop; /* a pass for that alone */
    u32 first;              /* a register's root at the start, less 1 and its number; for loops */
    struct value produced[16];
    bool grouping; /* first pass */
    const struct block *b;
    unsigned n; /* the instruction under way */
    u32 roots;
    struct value reg[16];
    unsigned sites, groups, accesses;
    struct site site[KEYS_MAX];
    struct group group[PLAN_GROUPS];
};

static void forget(struct planner *p, unsigned reg)
{
    p->reg[reg & 15] = (struct value){.root = ++p->roots};
}

/* Nothing is known any more, and what was established is not used any further. */
static void forget_all(struct planner *p)
{
    for (unsigned reg = 0; reg < 16; reg++)
        forget(p, reg);
    p->sites = 0;
}

/* ------ accesses ------ */

static bool key_equal(const struct key *a, const struct key *b)
{
    return a->base == b->base && a->index == b->index && a->seg == b->seg && a->scale == b->scale;
}

static struct site *site_of(struct planner *p, const struct key *key)
{
    for (unsigned k = 0; k < p->sites; k++) {
        if (key_equal(&p->site[k].key, key))
            return &p->site[k];
    }
    if (p->sites == KEYS_MAX)
        return NULL;
    struct site *s = &p->site[p->sites++];
    *s = (struct site){.key = *key, .group = GROUP_NONE, .low = INT64_MAX, .high = INT64_MIN};
    return s;
}

static bool joins(struct planner *p, struct group *g, i64 at, unsigned size)
{
    i64 low = at < g->low ? at : g->low, high = at + size > g->high ? at + size : g->high;
    if (high - low > PLAN_SPAN)
        return false;
    g->low = low;
    g->high = high;
    g->count++;
    g->last = (u8)p->n;
    return true;
}

/* The access at `at` joins the site's group, or begins one. */
static void group_access(struct planner *p, struct site *s, enum plan_access which, i64 at, unsigned size)
{
    struct planned *place = &p->plan->at[p->n][which];
    p->accesses++;
    if (s->group != GROUP_NONE && joins(p, &p->group[s->group], at, size)) {
        *place = (struct planned){.role = ROLE_FOLLOWS, .group = s->group};
        return;
    }
    s->group = GROUP_NONE;
    if (p->groups == PLAN_GROUPS)
        return;
    s->group = (u8)p->groups++;
    p->group[s->group] = (struct group){.leader = (u8)p->n,
                                        .leader_access = which,
                                        .count = 1,
                                        .last = (u8)p->n,
                                        .first = at,
                                        .low = at,
                                        .high = at + size};
}

static void relies_since(struct planner *p, unsigned first, unsigned last)
{
    for (unsigned n = first + 1; n <= last; n++)
        p->plan->relies |= BIT64(n);
}

/* What an earlier access tells of this one's alignment, and this one of later ones'. */
static void align_access(struct planner *p, struct site *s, struct planned *place, i64 at, unsigned size)
{
    if (s->size >= size && ((u64)(at - s->checked) & (size - 1)) == 0) {
        place->checker = (u8)(s->checker + 1);
        relies_since(p, s->checker, p->n);
        return;
    }
    s->checked = at;
    s->size = (u8)size;
    s->checker = (u8)p->n;
}

static void loop_access(struct planner *p, enum plan_access which, const struct key *key, i64 at, unsigned size)
{
    const struct insn *i = &p->b->insn[p->n];
    bool named = which == PLAN_OPERAND, base = named && i->base < 16, index = named && i->index < 16;
    i64 from_index = (i64)i->disp + (base ? p->reg[i->base].add : 0);
    i64 from_base = (i64)i->disp + (index ? (i64)((u64)p->reg[i->index].add << i->scale) : 0);
    bool hosted = (!base || i->base < 14) && (!index || i->index < 14);
    bool near = at == (i32)at && (!named || (from_index == (i32)from_index && from_base == (i32)from_base));
    struct site *s = size && hosted && near ? site_of(p, key) : NULL;
    if (!s)
        return;
    if (named) {
        p->loop->from[p->n].index = (i32)from_index;
        p->loop->from[p->n].base = (i32)from_base;
    }
    s->low = at < s->low ? at : s->low;
    s->high = at + size > s->high ? at + size : s->high;
    p->loop->of[p->n][which] = (u8)(s - p->site + 1);
}

static void access(struct planner *p, enum plan_access which, struct key key, i64 at, unsigned size)
{
    if (p->loop) {
        loop_access(p, which, &key, at, size);
        return;
    }
    if (!size || (size & (size - 1)) || size > 32 || (p->b->unaligned >> p->n & 1) || at != (i32)at)
        return;
    struct site *s = site_of(p, &key);
    struct planned *place = &p->plan->at[p->n][which];
    if (s && p->grouping)
        group_access(p, s, which, at, size);
    else if (s && place->role == ROLE_ALONE && size > 1)
        align_access(p, s, place, at, size);
}

static u32 root_of(const struct planner *p, unsigned reg, unsigned scale, i64 *at)
{
    if (reg == REG_ZERO)
        return 0;
    *at += (i64)((u64)p->reg[reg].add << scale);
    return p->reg[reg].root;
}

/* Does it access its memory operand, and where its address says? Not hints, nor bit strings. */
static bool accesses(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    if (i->row == INSN_BT_Ev_Gv || i->row == INSN_BTS_Ev_Gv || i->row == INSN_BTR_Ev_Gv || i->row == INSN_BTC_Ev_Gv)
        return false;
    for (unsigned n = 0; n < row->operands; n++) {
        if (isa_kinds[row->operand[n].kind].slot == SLOT_RM && row->operand[n].access & ACC_RW)
            return i->mem && !(i->row >= INSN_PREFETCHNTA_Mb && i->row <= INSN_ENDBR32);
    }
    return false;
}

static void access_operand(struct planner *p, const struct insn *i)
{
    if (!accesses(i) || i->ashift || i->base == REG_RIP)
        return;
    struct key key = {.seg = i->seg == SEG_FS || i->seg == SEG_GS ? i->seg : 0,
                      .scale = i->index == REG_ZERO ? 0 : i->scale};
    i64 at = (i32)i->disp;
    if (at != (i64)i->disp || (i->base == REG_ZERO && i->index == REG_ZERO))
        return;
    key.base = root_of(p, i->base, 0, &at);
    key.index = root_of(p, i->index, i->scale, &at);
    access(p, PLAN_OPERAND, key, at, insn_mem_size(i));
}

static void access_stack(struct planner *p, unsigned reg, i64 disp)
{
    i64 at = disp;
    struct key key = {.base = root_of(p, reg, 0, &at)};
    access(p, PLAN_STACK, key, at, 8);
}

/* ------ instructions ------ */

static void push(struct planner *p, const struct insn *i)
{
    access_operand(p, i);
    access_stack(p, R_SP, -8);
    p->reg[R_SP].add -= 8;
}

static void pop(struct planner *p, const struct insn *i)
{
    access_stack(p, R_SP, 0);
    p->reg[R_SP].add += 8;
    forget(p, i->reg);
}

static void leave(struct planner *p, const struct insn *i)
{
    access_stack(p, R_BP, 0);
    p->reg[R_SP] = p->reg[R_BP];
    p->reg[R_SP].add += 8;
    forget(p, R_BP);
}

static void call(struct planner *p, const struct insn *i)
{
    access_operand(p, i);
    access_stack(p, R_SP, -8);
}

static void ret(struct planner *p, const struct insn *i)
{
    access_stack(p, R_SP, 0);
}

static void jump(struct planner *p, const struct insn *i)
{
    access_operand(p, i);
}

static void step(struct planner *p, const struct insn *i, i64 by)
{
    access_operand(p, i);
    if (i->mem)
        return;
    if (i->opsize == 8)
        p->reg[i->rm].add += by;
    else
        forget(p, i->rm);
}

static void add(struct planner *p, const struct insn *i)
{
    step(p, i, (i64)i->imm);
}

static void sub(struct planner *p, const struct insn *i)
{
    step(p, i, -(i64)i->imm);
}

static void inc(struct planner *p, const struct insn *i)
{
    step(p, i, 1);
}

static void dec(struct planner *p, const struct insn *i)
{
    step(p, i, -1);
}

static void lea(struct planner *p, const struct insn *i)
{
    bool plain = i->opsize == 8 && !i->ashift && i->index == REG_ZERO && i->base < 16;
    struct value v = plain ? p->reg[i->base] : (struct value){.root = ++p->roots};
    if (plain)
        v.add += (i32)i->disp;
    p->reg[i->reg] = v;
}

static void copy_register(struct planner *p, const struct insn *i, unsigned to, unsigned from)
{
    if (i->opsize == 8)
        p->reg[to] = p->reg[from];
    else
        forget(p, to);
}

static void store(struct planner *p, const struct insn *i)
{
    access_operand(p, i);
    if (!i->mem)
        copy_register(p, i, i->rm, i->reg);
}

static void load(struct planner *p, const struct insn *i)
{
    access_operand(p, i);
    if (!i->mem)
        copy_register(p, i, i->reg, i->rm);
    else
        forget(p, i->reg);
}

/* By the table. */
static void other(struct planner *p, const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    if (row->treat != TREAT_COPY && row->treat != TREAT_BRANCH) {
        forget_all(p);
        return;
    }
    access_operand(p, i);
    for (unsigned n = 0; n < row->operands; n++) {
        int reg = insn_gpr_written(i, n);
        if (reg >= 0)
            forget(p, (unsigned)reg);
        else if (reg == INSN_ANY_GPR)
            forget_all(p);
    }
}

static void follow(struct planner *p, const struct insn *i)
{
    typedef void follow_fn(struct planner * p, const struct insn *i);
    static follow_fn *const rows[INSN_COUNT] = {
        [INSN_PUSH_Zv] = push,   [INSN_PUSH_Iz] = push,  [INSN_PUSH_sIb] = push,   [INSN_PUSH_Ev] = push,
        [INSN_POP_Zv] = pop,     [INSN_LEAVE] = leave,   [INSN_CALL_Jz] = call,    [INSN_CALL_Ev] = call,
        [INSN_RET] = ret,        [INSN_RET_Iw] = ret,    [INSN_JMP_Ev] = jump,     [INSN_ADD_Ev_Iz] = add,
        [INSN_ADD_Ev_sIb] = add, [INSN_SUB_Ev_Iz] = sub, [INSN_SUB_Ev_sIb] = sub,  [INSN_INC_Ev] = inc,
        [INSN_DEC_Ev] = dec,     [INSN_LEA_Gv_M] = lea,  [INSN_MOV_Ev_Gv] = store, [INSN_MOV_Gv_Ev] = load,
    };
    if (!rows[i->row])
        other(p, i);
    else if (isa_rows[i->row].attrs & A_D64 && i->opsize != 8)
        forget_all(p);
    else
        rows[i->row](p, i);
}

/* A group of one is none. Returns how many accesses are in groups. */
static unsigned settle_groups(struct planner *p)
{
    unsigned grouped = 0;
    for (unsigned k = 0; k < p->groups; k++) {
        const struct group *g = &p->group[k];
        struct planned *leader = &p->plan->at[g->leader][g->leader_access];
        if (g->count < 2) {
            leader->role = ROLE_ALONE;
            continue;
        }
        leader->role = ROLE_LEADS;
        leader->group = (u8)k;
        leader->low = (i16)(g->low - g->first);
        leader->span = (u16)(g->high - g->low);
        relies_since(p, g->leader, g->last);
        grouped += g->count;
    }
    return grouped;
}

static void pass(struct planner *p)
{
    forget_all(p);
    for (p->n = 0; p->n < p->b->count; p->n++)
        follow(p, &p->b->insn[p->n]);
}

/* What it has for each register and site is set where it comes to be known. */
static void planner_begin(struct planner *p, struct plan *plan, const struct block *b)
{
    p->plan = plan;
    p->loop = NULL;
    p->b = b;
    p->roots = p->sites = p->groups = p->accesses = 0;
}

void plan_block(struct plan *plan, const struct block *b)
{
    struct planner p;
    planner_begin(&p, plan, b);
    memset(plan->at, 0, b->count * sizeof(plan->at[0]));
    plan->relies = 0;
    p.grouping = true;
    pass(&p);
    unsigned alone = p.accesses - settle_groups(&p);
    p.grouping = false;
    if (alone > 1) /* else nothing is told by one of another */
        pass(&p);
}

/* ------ loops ------ */

bool plan_is_loop(const struct block *b)
{
    const struct insn *last = &b->insn[b->count - 1];
    return b->count > 1 && !b->page2 && insn_is_jcc(last) && block_target(b, last) == b->rip;
}

static u32 flags_touched(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    return row->flags_written | row->flags_undefined | row->flags_cleared | row->flags_set;
}

/* Can its flags be had again afterwards? From the registers it compared, or from its result. */
static bool is_repeatable(const struct insn *i)
{
    bool compares = i->row >= INSN_CMP_Eb_Gb && i->row <= INSN_TEST_Ev_Iz_1;
    bool adds =
        i->row == INSN_ADD_Ev_Iz || i->row == INSN_ADD_Ev_sIb || i->row == INSN_SUB_Ev_Iz || i->row == INSN_SUB_Ev_sIb;
    return !i->mem && (compares || (adds && i->opsize >= 4 && i->imm != 1ull << 31));
}

static bool find_producer(const struct block *b, struct plan_loop *l)
{
    for (unsigned n = b->count - 1; n--;) {
        if (!flags_touched(&b->insn[n]))
            continue;
        l->producer = n;
        return is_repeatable(&b->insn[n]);
    }
    return false;
}

/* The register of a root, if that is what it held at the start and holds at the end but for a constant. */
static bool loop_register(const struct planner *p, u32 root, u8 *reg)
{
    unsigned r = root - p->first - 1;
    *reg = REG_ZERO;
    if (!root)
        return true;
    *reg = (u8)r;
    return r < 14 && p->reg[r].root == root;
}

static bool loop_key_of(const struct planner *p, const struct site *s, struct loop_key *k)
{
    if (s->key.seg || s->high - s->low > LOOP_SPAN || !loop_register(p, s->key.base, &k->base) ||
        !loop_register(p, s->key.index, &k->index))
        return false;
    i64 base = k->base == REG_ZERO ? 0 : p->reg[k->base].add, index = k->index == REG_ZERO ? 0 : p->reg[k->index].add;
    k->scale = s->key.scale;
    k->moving = base ? k->base : index ? k->index : REG_ZERO;
    k->step = base ? base : index;
    k->still = k->moving == REG_ZERO ? REG_ZERO : k->moving == k->base ? k->index : k->base;
    k->low = (i32)s->low;
    k->span = (u16)(s->high - s->low);
    i64 far = LOOP_SPAN >> (base ? 0 : k->scale);
    return !(base && index) && k->step >= -far && k->step <= far && s->low >= -(i64)KiB(512) && s->low < (i64)KiB(512);
}

/* Sites become keys, as far as there are some. */
static bool choose_keys(const struct planner *p, struct plan_loop *l)
{
    u8 key_of[KEYS_MAX + 1] = {0};
    for (unsigned n = 0; n < p->sites && l->keys < LOOP_KEYS; n++) {
        if (p->site[n].low < p->site[n].high && loop_key_of(p, &p->site[n], &l->key[l->keys]))
            key_of[n + 1] = (u8)++l->keys;
    }
    for (unsigned n = 0; n < p->b->count; n++) {
        for (unsigned which = 0; which < PLAN_ACCESSES; which++)
            l->of[n][which] = key_of[l->of[n][which]];
    }
    return l->keys > 0;
}

bool plan_loop(struct plan_loop *l, const struct block *b)
{
    struct planner p;
    planner_begin(&p, NULL, b);
    p.loop = l;
    memset(l, 0, sizeof(*l));
    if (!find_producer(b, l))
        return false;
    forget_all(&p);
    u32 last = p.roots;
    p.first = last - 16;
    for (p.n = 0; p.n < b->count; p.n++) {
        const struct isa_row *row = &isa_rows[b->insn[p.n].row];
        u32 roots = p.roots;
        follow(&p, &b->insn[p.n]);
        if (p.roots >= roots + 16 || row->treat == TREAT_STRING) /* all was forgotten */
            return false;
        if (p.n == l->producer)
            memcpy(p.produced, p.reg, sizeof(p.reg));
    }
    const struct insn *i = &b->insn[l->producer];
    unsigned used[] = {i->rm < 16 ? i->rm : i->rm & 3, i->reg < 16 ? i->reg : i->reg & 3, R_AX};
    for (size_t n = 0; n < ARRAY_SIZE(used); n++) {
        const struct value *then = &p.produced[used[n] & 15], *now = &p.reg[used[n] & 15];
        if (then->root != now->root || then->add != now->add)
            return false;
    }
    return choose_keys(&p, l);
}
