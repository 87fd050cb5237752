/*
 * What `--check` says of a difference: the place, general registers, what else differs of the state, memory, and the
 * block with its code. See check.h.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/translate/check_internal.h"
#include "engine/translate/listing.h"

#define SAY(c, ...) log_msg((c)->log, LOG_ERROR, __VA_ARGS__)

static void say_place(const struct check *k, const struct cpu *c, enum glue_reason reason)
{
    static const char *const why[] = {
        [CHECK_END] = "to the end",
        [CHECK_CALL] = "to what code leaves to them",
        [CHECK_SLOW] = "to an access that faults or is not of plain memory",
        [CHECK_FAULT] = "to a fault",
    };
    static const char *const left[] = {
        [GLUE_CALL] = "for an instruction's semantics",
        [GLUE_LINK] = "for the next block",
        [GLUE_INDIRECT] = "by an indirect jump",
        [GLUE_DEAD] = "as a dead block",
        [GLUE_REQUEST] = "not entered",
        [GLUE_FAULT] = "by a fault of the host",
        [GLUE_ASYNC] = "by a kick",
    };
    const struct block *b = k->block;
    SAY(c, "--check: translated code and the semantics differ: processor %u, block at %04x:%016llx", c->id,
        c->seg[SEG_CS].sel, (unsigned long long)b->rip);
    SAY(c, "instructions of %u: entered at %u; semantics came to %u, %s; code came to %d (%s)", b->count, k->from, k->n,
        why[k->why], k->reached > b->count ? -1 : (int)k->reached, left[reason]);
    if (k->elsewhere)
        SAY(c, "the next instruction faulted on the host, though the memory it accesses is at hand");
}

static void say_values(const struct cpu *c, const char *name, u64 before, u64 semantics, u64 translated)
{
    SAY(c, "%c %-16s %16llx %16llx %16llx", semantics == translated ? ' ' : '*', name, (unsigned long long)before,
        (unsigned long long)semantics, (unsigned long long)translated);
}

static void say_registers(const struct check *k, const struct cpu *c)
{
    static const char names[18][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "",    "rip"};
    SAY(c, "  %-16s %16s %16s %16s", "", "before", "semantics", "translated");
    for (unsigned n = 0; n < ARRAY_SIZE(names); n++) {
        if (names[n][0])
            say_values(c, names[n], k->before.gpr[n], k->semantics.gpr[n], k->translated.gpr[n]);
    }
    say_values(c, "rflags", cpu_rflags(&k->before), cpu_rflags(&k->semantics), cpu_rflags(&k->translated));
}

/* ------ the rest of the state, by its descriptors ------ */

static const u8 type_size[] = {
    [STATE_T_u8] = 1,  [STATE_T_u16] = 2, [STATE_T_u32] = 4, [STATE_T_u64] = 8,  [STATE_T_i8] = 1,
    [STATE_T_i16] = 2, [STATE_T_i32] = 4, [STATE_T_i64] = 8, [STATE_T_bool] = 1,
};

static u64 value_of(const void *object, size_t at, unsigned size)
{
    u64 v = 0;
    memcpy(&v, (const u8 *)object + at, size);
    return v;
}

static void say_field(const struct check *k, const struct cpu *c, const struct state_field *f, size_t base,
                      const char *prefix)
{
    unsigned size = type_size[f->type];
    for (u32 n = 0; n < f->count; n++) {
        size_t at = base + f->offset + (size_t)n * size;
        u64 semantics = value_of(&k->semantics, at, size), translated = value_of(&k->translated, at, size);
        char name[60];
        snprintf(name, sizeof(name), "%s%s[%u]", prefix, f->name, n);
        if (semantics != translated)
            say_values(c, name, value_of(&k->before, at, size), semantics, translated);
    }
}

static void say_state(const struct check *k, const struct cpu *c)
{
    for (u32 n = 0; n < cpu_class.field_count; n++) {
        const struct state_field *f = &cpu_class.fields[n];
        if (f->offset == offsetof(struct cpu, gpr))
            continue;
        if (f->type != STATE_T_struct)
            say_field(k, c, f, 0, "");
        for (u32 i = 0; f->type == STATE_T_struct && i < f->count; i++) {
            char prefix[40];
            snprintf(prefix, sizeof(prefix), "%s[%u].", f->name, i);
            for (u32 m = 0; m < f->nested->field_count; m++)
                say_field(k, c, &f->nested->fields[m], f->offset + i * (size_t)f->nested->size, prefix);
        }
    }
    if (memcmp(k->semantics.seg_base, k->translated.seg_base, sizeof(k->semantics.seg_base)) != 0)
        SAY(c, "* the derived segment bases differ");
}

/* ------ memory ------ */

static void hex(char *text, const u8 *bytes, unsigned size)
{
    for (unsigned n = 0; n < size; n++)
        snprintf(text + 2 * (size_t)n, 3, "%02x", bytes[n]);
}

static void say_memory(const struct check *k, const struct cpu *c)
{
    for (unsigned n = 0; n < k->stores; n++) {
        const struct store *s = &k->store[n];
        char before[2 * STORE_BYTES + 1], semantics[2 * STORE_BYTES + 1], translated[2 * STORE_BYTES + 1];
        hex(before, s->before, s->size);
        hex(semantics, s->semantics, s->size);
        hex(translated, s->translated, s->size);
        SAY(c, "%c bytes at %016llx, written by instruction %u: before %s, semantics %s, translated %s",
            memcmp(s->semantics, s->translated, s->size) != 0 ? '*' : ' ', (unsigned long long)s->linear, s->insn,
            before, semantics, translated);
    }
}

static void say_line(void *opaque, const char *line)
{
    const struct cpu *c = opaque;
    SAY(c, "%s", line);
}

void check_report(const struct translator *t, enum glue_reason reason)
{
    const struct check *k = t->check;
    say_place(k, t->cpu, reason);
    say_registers(k, t->cpu);
    say_state(k, t->cpu);
    say_memory(k, t->cpu);
    listing_block(t, k->block, say_line, t->cpu);
}
