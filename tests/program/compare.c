/*
 * See compare.h. Compared is all of the declared state of the processor and all of RAM, which has the log of events in
 * it. Flags that the manuals leave undefined are compared too: engines promise those of the host's processor.
 *
 * Left out is what is not architecture: the STI shadow, which lives on in `shadow` until somebody asks, and what fills
 * the second word of an x87 register up.
 */
#include "compare.h"
#include "cpu/sem/vec.h"

#include <stdio.h>
#include <string.h>

#include "isa/insn.h"

struct field {
    const char *name, *part;
    u32 offset, size, count, stride;
};

#define FIELD_F(type, name, since)        {#name, NULL, offsetof(struct cpu, name), sizeof(type), 1, 0},
#define FIELD_A(type, name, count, since) {#name, NULL, offsetof(struct cpu, name), sizeof(type), count, sizeof(type)},
#define PART(name, part, count)                                                                                        \
    {#name,                                                                                                            \
     #part,                                                                                                            \
     offsetof(struct cpu, name[0].part),                                                                               \
     sizeof(((struct cpu_seg *)0)->part),                                                                              \
     count,                                                                                                            \
     sizeof(struct cpu_seg)},
#define FIELD_S(type, name, count, since)                                                                              \
    PART(name, sel, count) PART(name, attr, count) PART(name, limit, count) PART(name, base, count)

static const struct field fields[] = {CPU_STATE(FIELD_F, FIELD_A, FIELD_S)};

static bool ignored(const struct field *f, unsigned ignore)
{
    static const struct {
        const char *name;
        unsigned why;
    } list[] = {
        {"shadow", ~0u},
        {"fip", IGNORE_X87_POINTERS},
        {"fdp", IGNORE_X87_POINTERS},
        {"fop", IGNORE_X87_POINTERS},
        {"dr", IGNORE_DEBUG_REGISTERS},
    };
    for (unsigned n = 0; n < ARRAY_SIZE(list); n++)
        if (!strcmp(f->name, list[n].name))
            return list[n].why == ~0u || ignore & list[n].why;
    return false;
}

static u64 value_of(const struct rig *r, const struct field *f, unsigned n)
{
    u64 v = 0;
    memcpy(&v, (const u8 *)r->cpu + f->offset + n * f->stride, f->size);
    /* With an exception unmasked, the semantics' flags are not always the processor's: tests/insn/mask.def. */
    if (f->offset == offsetof(struct cpu, mxcsr) && (v & MXCSR_MASKS) != MXCSR_MASKS)
        return v & ~(u64)MXCSR_FLAGS;
    return f->offset == offsetof(struct cpu, st) && n % 2 ? (u16)v : v;
}

/* How many differ; prints the first few. */
static unsigned compare_fields(const struct rig *a, const struct rig *b, unsigned ignore, bool print)
{
    unsigned differ = 0;
    for (unsigned k = 0; k < ARRAY_SIZE(fields); k++)
        for (unsigned n = 0; n < fields[k].count && !ignored(&fields[k], ignore); n++) {
            const struct field *f = &fields[k];
            if (value_of(a, f, n) == value_of(b, f, n))
                continue;
            if (print && differ < 16)
                printf("  %s[%u]%s%s: %llx, %llx\n", f->name, n, f->part ? "." : "", f->part ? f->part : "",
                       (unsigned long long)value_of(a, f, n), (unsigned long long)value_of(b, f, n));
            differ++;
        }
    return differ;
}

bool compare_same(const struct rig *a, const struct rig *b, unsigned ignore)
{
    return a->shutdown == b->shutdown && a->failed == b->failed && !memcmp(a->ram, b->ram, RAM_SIZE) &&
           !compare_fields(a, b, ignore, false);
}

/* --- printing
 * ----------------------------------------------------------------------------------------------------------- */

static const char *place_name(u64 pa, char *text, size_t size)
{
    if (pa >= PA_ARENA && pa < PA_EDGE)
        snprintf(text, size, "arena page %u", (unsigned)((pa - PA_ARENA) / MEM_PAGE_SIZE));
    else
        snprintf(text, size, "%s",
                 pa >= PA_EDGE     ? "edge"
                 : pa >= PA_TABLES ? "page tables"
                 : pa >= PA_LOG    ? "log"
                 : pa >= PA_RESUME ? "?"
                 : pa >= PA_STACK  ? "runtime's stack"
                                   : "runtime");
    return text;
}

static void print_memory(const struct rig *a, const struct rig *b)
{
    unsigned shown = 0;
    char text[32];
    for (u64 pa = 0; pa < RAM_SIZE && shown < 8; pa += 8) {
        if (get_u64(a->ram + pa) == get_u64(b->ram + pa) || (pa >= PA_LOG && pa < PA_TABLES))
            continue;
        printf("  memory at %llx (%s): %016llx, %016llx\n", (unsigned long long)pa, place_name(pa, text, sizeof(text)),
               (unsigned long long)get_u64(a->ram + pa), (unsigned long long)get_u64(b->ram + pa));
        shown++;
    }
}

static const struct record *log_of(const struct rig *r)
{
    return (const struct record *)(r->ram + PA_LOG);
}

static unsigned log_length(const struct rig *r)
{
    u64 used = ((const struct runtime_vars *)(r->ram + PA_VARS))->log - RT_BASE - PA_LOG;
    return used / RECORD_SIZE <= RECORDS ? (unsigned)(used / RECORD_SIZE) : RECORDS;
}

/* By the words of struct record. */
static const char *const record_words[] = {"r15",   "r14", "r13", "r12",    "r11", "r10", "r9",  "r8",
                                           "rdi",   "rsi", "rbp", "rbx",    "rdx", "rcx", "rax", "vector",
                                           "error", "rip", "cs",  "rflags", "rsp", "ss",  "cr2", "dr6"};

static void print_record(const struct record *r)
{
    printf("   ");
    for (unsigned n = 0; n < ARRAY_SIZE(record_words); n++)
        printf(" %s %llx%s", record_words[n], (unsigned long long)get_u64((const u8 *)r + 8 * n),
               n % 8 == 7 ? "\n   " : "");
    printf("\n");
}

static void print_record_difference(const struct record *a, const struct record *b)
{
    for (unsigned n = 0; n < ARRAY_SIZE(record_words); n++) {
        u64 x = get_u64((const u8 *)a + 8 * n), y = get_u64((const u8 *)b + 8 * n);
        if (x != y)
            printf("    %s: %llx, %llx\n", record_words[n], (unsigned long long)x, (unsigned long long)y);
    }
}

static void print_code_at(const struct rig *r, u64 linear, unsigned count)
{
    u32 at = program_code_offset(linear);
    for (unsigned n = 0; n < count && at < CODE_SIZE; n++) {
        char text[128];
        struct insn i;
        if (insn_decode(r->ram + PA_ARENA + at, CODE_SIZE - at, ISA_64, &r->cpu->features, &i) != INSN_OK)
            break;
        insn_format(&i, linear, text, sizeof(text));
        printf("      %llx: %s\n", (unsigned long long)linear, text);
        at += i.len;
        linear += i.len;
    }
}

static void print_log(const struct rig *a, const struct rig *b)
{
    unsigned na = log_length(a), nb = log_length(b), n = 0;
    while (n < na && n < nb && !memcmp(&log_of(a)[n], &log_of(b)[n], RECORD_SIZE))
        n++;
    if (n == na && n == nb) {
        printf("  events: the same %u\n", n);
        return;
    }
    printf("  events: %u, %u; the first that differs is %u\n", na, nb, n);
    if (n) {
        printf("   the one before:\n");
        print_record(&log_of(a)[n - 1]);
        print_code_at(a, log_of(a)[n - 1].rip, 12);
    }
    for (unsigned side = 0; side < 2; side++) {
        const struct rig *r = side ? b : a;
        printf("   %s:\n", r->engine->name);
        if (n < (side ? nb : na)) {
            print_record(&log_of(r)[n]);
            print_code_at(r, log_of(r)[n].rip, 3);
        }
    }
    if (n < na && n < nb)
        print_record_difference(&log_of(a)[n], &log_of(b)[n]);
}

void compare_print(const struct rig *a, const struct rig *b, unsigned ignore)
{
    if (a->shutdown != b->shutdown)
        printf("  triple fault: %d, %d\n", a->shutdown, b->shutdown);
    if (a->failed != b->failed)
        printf("  an engine that found its own code wrong: %d, %d\n", a->failed, b->failed);
    print_log(a, b);
    compare_fields(a, b, ignore, true);
    print_memory(a, b);
}

void compare_list(const struct program *p, const bool *blank, const struct isa_features *f)
{
    u64 base = p->start.user ? USER_BASE : KERNEL_BASE;
    printf("  starts in ring %d at %llx%s%s\n", p->start.user ? 3 : 0, (unsigned long long)p->start.rip,
           p->pcid ? ", PCID" : "", p->smap ? ", SMAP" : "");
    for (unsigned n = 0; n < p->items; n++) {
        const struct item *it = &p->item[n];
        for (u32 at = it->at; !blank[n] && at < (u32)it->at + it->len;) {
            char text[128] = "(bad)";
            struct insn i = {.len = 1};
            if (insn_decode(p->ram + PA_ARENA + at, CODE_SIZE - at, ISA_64, f, &i) == INSN_OK)
                insn_format(&i, base + at, text, sizeof(text));
            else
                i.len = 1;
            printf("  %-8s %llx: %s\n", at == it->at ? kind_name(it->kind) : "", (unsigned long long)(base + at), text);
            at += i.len;
        }
    }
}
