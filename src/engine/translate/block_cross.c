/*
 * Instructions that lie in two pages: each is a block of its own (engine/translate/translate.h).
 *
 * Such a block is as good as the generations of both pages, and as the second one's translation, which may change while
 * the first one's stands. So its entry goes by a window's slot that belongs to the second page, as a jump into that
 * page would: the slot is forgotten with the translation, and whoever then comes in here asks again.
 */
#include "cpu/mmu.h"
#include "engine/translate/translate.h"
#include "mem/code.h"

/* One of the two pages. */
struct part {
    struct mem_page *page;
    const u8 *base;
    unsigned off, len;
    u64 marked;
};

/* True if the marks already stood. */
static bool mark(struct cpu *c, struct part *p)
{
    u64 need = mem_code_chunks(p->off, p->len);
    if ((p->marked & need) == need)
        return true;
    mmu_mark_code(c, p->page, p->base, p->off, p->len);
    p->marked |= need;
    return false;
}

const u8 *cross_page(struct translator *t, struct mem_page **page)
{
    struct cpu *c = t->cpu;
    u64 pa, linear = code_linear(c);
    if (limit_room(c, 0, INSN_BYTES) <= MEM_PAGE_SIZE - linear % MEM_PAGE_SIZE)
        return NULL; /* it is the segment that ends */
    return mmu_fetch(c, next_page(c, linear), page, &pa);
}

/* As in block.c, with marks in two pages. */
static bool decode_marked(struct cpu *c, struct block *b, struct part *one, struct part *two)
{
    unsigned room = limit_room(c, 0, INSN_BYTES);
    bool stood;
    do {
        u8 buf[INSN_BYTES];
        mmu_host_read(buf, b->guest, one->len);
        mmu_host_read(buf + one->len, b->guest2, room - one->len);
        enum insn_status status = insn_decode(buf, room, b->mode, &c->features, &b->insn[0]);
        if (status != INSN_OK)
            raise_status(c, status);
        if (b->insn[0].len <= one->len)
            return false; /* it was changed just now */
        two->len = b->insn[0].len - one->len;
        stood = mark(c, one);
        stood &= mark(c, two);
    } while (!stood);
    return true;
}

bool cross_decode(struct translator *t, struct block *b, const struct code_origin from[2])
{
    struct cpu *c = t->cpu;
    unsigned off = (u64)b->guest % MEM_PAGE_SIZE;
    struct part one = {.page = from[0].page, .base = b->guest - off, .off = off, .len = MEM_PAGE_SIZE - off};
    struct part two = {.page = from[1].page, .base = b->guest2};
    if (!decode_marked(c, b, &one, &two))
        return false;
    insn_finish(&b->insn[0], 0);
    b->count = 1;
    b->bytes = b->insn[0].len;
    b->runs_on = !block_ends(&b->insn[0]);
    b->link[LINK_CROSS].target = next_page(c, code_linear(c));
    return true;
}

static bool is_current(const struct block *b)
{
    return !b->dead && b->page->gen == mem_code_gen(b->page->page) && b->page2->gen == mem_code_gen(b->page2->page);
}

static bool leads_on(struct translator *t, const struct block *b)
{
    struct mem_page *page;
    return cross_page(t, &page) == b->guest2;
}

bool cross_enter(struct translator *t, const struct block *b)
{
    if (!is_current(b) || !leads_on(t, b) || !is_current(b))
        return false;
    windows_set_slot(t->windows, b->link[LINK_CROSS].slot, b->link[LINK_CROSS].target, b->body);
    return true;
}
