/*
 * Implements listing.h.
 *
 *     ffffffff81000123  push rbp                     | +01a 488d4c24f8         lea rcx, [rsp-0x8]
 *                                                    | +01f c4e2f2f50c...      pext rcx, rcx, qword ptr gs:[0x1018]
 *
 * Host addresses are offsets from the block's `check`. What a gs-relative operand is, frame.h tells; fields of the
 * processor's state are named from their descriptors.
 */
#include "engine/translate/listing.h"

#include <stdio.h>
#include <string.h>

#define BLOCKS_SHOWN 16
#define HOST_TAIL    2 /* host instructions of a block from `end` on: lower.c */

struct page {
    listing_fn *line;
    void *opaque;
    const struct translator *t;
    const struct block *b;
    char left[120]; /* of the next line */
};

static void put_line(struct page *p, const char *right)
{
    char text[360];
    snprintf(text, sizeof(text), "%-60s | %s", p->left, right);
    p->left[0] = '\0';
    p->line(p->opaque, text);
}

static void say(struct page *p, const char *what)
{
    snprintf(p->left, sizeof(p->left), "%s", what);
}

/* As it was decoded: the engine counts RIP-relative operands from the start of the block. */
static void say_guest(struct page *p, unsigned n)
{
    struct insn i = p->b->insn[n];
    char text[72];
    u64 rip = p->b->rip + i.off;
    if (i.mem && i.base == REG_RIP)
        i.disp -= i.off + i.len;
    (void)insn_format(&i, rip, text, sizeof(text));
    snprintf(p->left, sizeof(p->left), "%016llx %s%s", (unsigned long long)rip, text,
             p->b->calls >> n & 1 ? " (by semantics)" : "");
}

/* ------ host code ------ */

static const char *field_at(u32 offset, char *text, size_t size)
{
    for (u32 n = 0; n < cpu_class.field_count; n++) {
        const struct state_field *f = &cpu_class.fields[n];
        u32 next = n + 1 < cpu_class.field_count ? cpu_class.fields[n + 1].offset : (u32)offsetof(struct cpu, cur);
        if (offset < f->offset || offset >= next)
            continue;
        if (f->count == 1)
            return f->name;
        snprintf(text, size, "%s[%u]", f->name, (offset - f->offset) / ((next - f->offset) / f->count));
        return text;
    }
    return "";
}

/* What stands at gs:[offset]. */
static const char *window_place(u64 offset, char *text, size_t size)
{
    const u64 frame = WIN_CPU + offsetof(struct cpu, frame);
    if (offset - frame < sizeof(((struct cpu *)0)->frame))
        snprintf(text, size, "frame[%llu]", (unsigned long long)(offset - frame) / 8);
    else if (offset - WIN_CPU < sizeof(struct cpu))
        return field_at((u32)(offset - WIN_CPU), text, size);
    else if (offset - WIN_SLOT < WIN_SLOTS * 8)
        snprintf(text, size, "slot %llu", (unsigned long long)(offset - WIN_SLOT) / 8);
    else
        return offset == WIN_TABLE ? "memory table" : offset == WIN_JUMP ? "jump table" : "";
    return text;
}

/* Everything that the table knows: the host is not the guest's model. */
static struct isa_features all_features(void)
{
    struct isa_features f;
    memset(&f, 0xff, sizeof(f));
    return f;
}

static unsigned put_host(struct page *p, u64 at)
{
    const struct isa_features all = all_features();
    const u8 *bytes = (const u8 *)at;
    char text[96] = "(bad)", hex[2 * INSN_BYTES + 1] = "", right[220], place[40] = "";
    const char *where = "";
    struct insn i = {.len = 1};
    unsigned size = INSN_BYTES;
    while (size > 1 && !code_holds(p->t->cache->area, at + size - 1))
        size--;
    if (insn_decode(bytes, size, ISA_64, &all, &i) == INSN_OK) {
        (void)insn_format(&i, at, text, sizeof(text));
        if (i.mem && i.seg == SEG_GS)
            where = window_place((u64)i.disp, place, sizeof(place));
    }
    for (unsigned n = 0; n < i.len; n++)
        snprintf(hex + 2 * (size_t)n, sizeof(hex) - 2 * (size_t)n, "%02x", bytes[n]);
    snprintf(right, sizeof(right), "+%03llx %-22s %s%s%s", (unsigned long long)(at - p->b->check), hex, text,
             *where ? "  ; " : "", where);
    put_line(p, right);
    return i.len;
}

static void put_range(struct page *p, u64 from, u64 to)
{
    if (from == to && p->left[0])
        put_line(p, "");
    while (from < to)
        from += put_host(p, from);
}

void listing_block(const struct translator *t, const struct block *b, listing_fn *line, void *opaque)
{
    struct page p = {.line = line, .opaque = opaque, .t = t, .b = b};
    char head[160];
    snprintf(head, sizeof(head), "block %u at %016llx: %u instructions, %u bytes; host code at %llx, %llu bytes%s",
             b->id, (unsigned long long)b->rip, b->count, b->bytes, (unsigned long long)b->check,
             (unsigned long long)(b->end - b->check), b->dead ? "; dead" : "");
    line(opaque, head);
    say(&p, "(entry of indirect jumps)");
    put_range(&p, b->check, b->entry);
    for (unsigned n = 0; n < b->count; n++) {
        say_guest(&p, n);
        put_range(&p, b->check + b->at[n], b->check + b->at[n + 1u]);
    }
    u64 out = b->check + b->at[b->count];
    if (b->loop) {
        say(&p, "(turns that stay within the pages of the last one)");
        put_range(&p, out, b->check + b->loop_end);
        out = b->check + b->loop_end;
    }
    say(&p, "(ways out)");
    put_range(&p, out, b->end);
    say(&p, "(way out when it is dead)");
    u64 at = b->end;
    for (unsigned n = 0; n < HOST_TAIL; n++)
        at += put_host(&p, at);
}

void listing_at(const struct translator *t, u64 rip, listing_fn *line, void *opaque)
{
    unsigned found = 0, dead = 0;
    char text[120];
    for (u32 n = 0; n < t->cache->count; n++) {
        const struct block *b = code_cache_block(t->cache, n);
        if (rip - b->rip >= b->bytes)
            continue;
        dead += b->dead;
        if (!b->dead && found++ < BLOCKS_SHOWN)
            listing_block(t, b, line, opaque);
    }
    snprintf(text, sizeof(text), "%u blocks with %016llx, and %u whose code has changed", found,
             (unsigned long long)rip, dead);
    line(opaque, text);
}
