/*
 * Implements engine/translate/twin.h.
 */
#include "engine/translate/twin.h"

#include <string.h>

#include "base/bits.h"
#include "engine/translate/lower.h"

/* ------ models ------ */

static struct block **place_of(const struct code_cache *k, const u8 *guest)
{
    return &k->twins[code_hash((u64)guest, k->hash_bits)];
}

struct block *twin_model(const struct code_cache *k, const u8 *guest, unsigned mode, unsigned flavour)
{
    struct block *b = *place_of(k, guest);
    while (b && (b->guest != guest || b->mode != mode || b->flavour != flavour))
        b = b->twin_next;
    return b;
}

void twin_forget(struct code_cache *k, struct block *b)
{
    struct block **p = place_of(k, b->guest);
    if (!b->model)
        return;
    while (*p != b)
        p = &(*p)->twin_next;
    *p = b->twin_next;
    b->model = false;
}

static bool same_accesses(const struct block *b, const struct block *model)
{
    return b->unaligned == model->unaligned && b->crosses == model->crosses && b->forced == model->forced;
}

/* One that knows of other accesses was translated after they were seen. */
void twin_offer(struct code_cache *k, struct block *b)
{
    if (b->model || b->page2 || b->dead || !twin_moves(b->rip))
        return;
    struct block *other = twin_model(k, b->guest, b->mode, b->flavour);
    if (other && (!b->fix || (other->fix && same_accesses(b, other))))
        return;
    if (other)
        twin_forget(k, other);
    struct block **p = place_of(k, b->guest);
    b->model = true;
    b->twin_next = *p;
    *p = b;
}

/* ------ twins ------ */

void twin_begin(struct block *b, const struct block *model, u64 rip)
{
    *b = (struct block){
        .rip = rip,
        .guest = model->guest,
        .insn = model->insn,
        .page = model->page,
        .bytes = model->bytes,
        .count = model->count,
        .mode = model->mode,
        .flavour = model->flavour,
        .runs_on = model->runs_on,
        .runs = model->runs,
        .unaligned = model->unaligned,
        .crosses = model->crosses,
        .forced = model->forced,
    };
}

/* All that lower_block makes but the code. There are slots left (has_room in code_cache.c). */
static void take_notes(struct code_cache *k, struct block *b, const struct block *model)
{
    u64 by = b->rip - model->rip;
    b->x87 = model->x87;
    b->calls = model->calls;
    b->relies = model->relies;
    b->entry = b->check + (model->entry - model->check);
    b->body = b->check + (model->body - model->check);
    b->end = b->check + (model->end - model->check);
    for (unsigned n = 0; n < LINKS; n++) {
        struct link *l = &b->link[n];
        *l = model->link[n];
        l->target += by;
        if (l->hole && l->slot != LINK_NONE)
            l->slot = code_cache_slot_locked(k, l->target);
    }
    b->at = model->at;
    b->commit = model->commit;
    b->loop_at = model->loop_at;
    b->loop_commit = model->loop_commit;
    b->loop = model->loop;
    b->loop_give_up = model->loop_give_up;
    b->loop_end = model->loop_end;
    b->poll = model->poll;
    b->code_bytes = model->code_bytes;
    b->fixes = model->fixes;
    b->fix = model->fix;
}

static u32 fixed_word(const struct block *b, const struct block *model, const struct fix *f, u32 word)
{
    u32 number = b->id - model->id;
    switch (f->kind) {
    case FIX_BLOCK:
        return word + number;
    case FIX_LINK:
        return word + number * LINKS;
    case FIX_INSN:
        return word + number * BLOCK_MAX;
    case FIX_HOST:
        return word - (u32)(b->check - model->check);
    default: /* FIX_SLOT */
        return WIN_SLOT + 8 * b->link[f->which].slot;
    }
}

static void apply(const struct block *b, const struct block *model, const struct fix *f, u8 *code)
{
    u64 by = b->rip - model->rip;
    switch (f->kind) {
    case FIX_RIP:
        put_u64(code, get_u64(code) + by);
        break;
    case FIX_MINUS_RIP:
        put_u64(code, get_u64(code) - by);
        break;
    case FIX_PAGE:
        put_u64(code, (get_u64(code) + (u64)((i64)by / MEM_PAGE_SIZE)) % WIN_PAGES);
        break;
    default:
        put_u32(code, fixed_word(b, model, f, get_u32(code)));
    }
}

/* Jumps of the model were patched since. */
static void unlink_copy(const struct block *b, u8 *code)
{
    for (unsigned n = 0; n < LINKS; n++) {
        const struct link *l = &b->link[n];
        if (l->hole)
            put_u32(code + l->hole, l->stub - (l->hole + 4u));
    }
}

bool twin_translate(struct translator *t, struct block *b, const struct block *model)
{
    u8 code[CODE_ROOM];
    struct code_cache *k = t->cache;
    if (!model->fix || model == b || !same_accesses(b, model) || model->count != b->count)
        return false;
    take_notes(k, b, model);
    memcpy(code, (const void *)model->check, model->code_bytes);
    unlink_copy(b, code);
    for (unsigned n = 0; n < model->fixes; n++)
        apply(b, model, &model->fix[n], code + model->fix[n].at);
    if (!code_add(k->area, code, model->code_bytes))
        return false;
    t->stats.moved++;
    return true;
}
