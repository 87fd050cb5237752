/* See report.h. */
#include "report.h"

#include <stdio.h>
#include <string.h>

#include "guest.h"
#include "native.h"

/* RF is set in what a fault pushes, IF and IOPL are the host's. */
#define RFLAGS_COMPARED (FL_OSZAPC | FL_DF | RF_TF | RF_NT | RF_AC | RF_ID)

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static bool same_memory(void)
{
    for (unsigned n = 0; n < ARENA_PAGES; n++)
        if (arena_use(n) == USE_RW && memcmp(native_memory() + n * PAGE, guest_memory() + n * PAGE, PAGE))
            return false;
    return true;
}

struct memory_image *report_snapshot(void)
{
    static struct memory_image image;

    for (unsigned n = 0; n < ARENA_PAGES; n++)
        if (arena_use(n) == USE_RW || arena_use(n) == USE_RO)
            memcpy(image.bytes + n * PAGE, native_memory() + n * PAGE, PAGE);
    return &image;
}

void report_resync(void)
{
    memcpy(guest_memory(), native_memory(), ARENA_PAGES * PAGE);
}

/* The host's kernel hides what it has mapped above the user's addresses: there it always reports P. */
#define USER_END 0x7ffffffff000ull

/* One side found the operand misaligned, the other beyond its segment. */
static bool either_fault(const struct user_state *a, const struct user_state *b)
{
    bool segment = a->vector == 12 || a->vector == 13 || b->vector == 12 || b->vector == 13;
    return segment && (a->vector == 17 || b->vector == 17);
}

static bool same_fault(const struct user_state *a, const struct user_state *b, unsigned mask)
{
    if (mask & MASK_AC && either_fault(a, b))
        return true;
    u32 code = a->vector == 14 && a->cr2 >= USER_END ? ~1u : ~0u;
    u64 address = mask & MASK_CR2 ? MEM_PAGE_MASK : ~0ull;
    return a->vector == b->vector && ((a->error ^ b->error) & code) == 0 && ((a->cr2 ^ b->cr2) & address) == 0;
}

/* Not the last instruction's address and opcode: processors differ in when they update them. */
static bool same_x87(const struct fx_image *a, const struct fx_image *b)
{
    for (unsigned n = 0; n < 8; n++)
        if (memcmp(a->st[n], b->st[n], 10))
            return false;
    return a->fcw == b->fcw && a->fsw == b->fsw && a->ftw == b->ftw;
}

static bool same_vectors(const struct user_state *a, const struct user_state *b, u32 loose)
{
    return ((a->fx.mxcsr ^ b->fx.mxcsr) & ~loose) == 0 && !memcmp(a->fx.xmm, b->fx.xmm, sizeof(a->fx.xmm)) &&
           !memcmp(a->ymm_high, b->ymm_high, sizeof(a->ymm_high));
}

/* Which flags of MXCSR are not compared: only where both sides raised #XM. */
static u32 loose_flags(const struct test_case *t, unsigned mask)
{
    if (t->native.vector != 19 || t->guest.vector != 19)
        return 0;
    return mask & MASK_FLAGS ? 0x3f : mask & MASK_PE ? 0x20 : 0;
}

static bool same_integers(const struct test_case *t)
{
    const struct user_state *a = &t->native, *b = &t->guest;
    u64 mask = t->kind == CODE_64 ? ~0ull : 0xffffffff;

    for (unsigned n = 0; n < 16; n++)
        if ((a->gpr[n] ^ b->gpr[n]) & mask)
            return false;
    return ((a->rip ^ b->rip) & mask) == 0 && ((a->rflags ^ b->rflags) & RFLAGS_COMPARED) == 0;
}

bool report_same(const struct test_case *t, unsigned mask)
{
    bool torn = mask & MASK_TORN && t->native.vector != NO_FAULT && t->guest.vector != NO_FAULT;

    if (torn)
        report_resync();
    return same_fault(&t->native, &t->guest, mask) && same_integers(t) && same_x87(&t->native.fx, &t->guest.fx) &&
           same_vectors(&t->native, &t->guest, loose_flags(t, mask)) && same_memory();
}

static void show_fault(const char *who, const struct user_state *s)
{
    if (s->vector == NO_FAULT)
        printf("  %-6s no fault, rip %llx\n", who, (unsigned long long)s->rip);
    else
        printf("  %-6s fault %u error %x cr2 %llx\n", who, s->vector, s->error, (unsigned long long)s->cr2);
}

static void show_u64(const char *name, u64 before, u64 native, u64 guest)
{
    printf("  %-6s before %016llx host %016llx ours %016llx%s\n", name, (unsigned long long)before,
           (unsigned long long)native, (unsigned long long)guest, native != guest ? "  <--" : "");
}

static void show_bytes(const char *label, const u8 *p, unsigned size)
{
    printf(" %s ", label);
    for (unsigned n = size; n-- > 0;)
        printf("%02x", p[n]);
}

/* Only if something changed or differs. */
static void show_register(const char *kind, unsigned n, const u8 *before, const u8 *native, const u8 *guest,
                          unsigned size)
{
    if (!memcmp(before, native, size) && !memcmp(native, guest, size))
        return;
    printf("  %s%u", kind, n);
    show_bytes("before", before, size);
    show_bytes("host", native, size);
    show_bytes("ours", guest, size);
    printf("%s\n", memcmp(native, guest, size) ? "  <--" : "");
}

static void show_registers(const struct test_case *t)
{
    const struct user_state *b = &t->before, *h = &t->native, *g = &t->guest;

    for (unsigned n = 0; n < 16; n++)
        show_u64(gpr_names[n], b->gpr[n], h->gpr[n], g->gpr[n]);
    show_u64("flags", b->rflags & RFLAGS_COMPARED, h->rflags & RFLAGS_COMPARED, g->rflags & RFLAGS_COMPARED);
    if (!same_x87(&h->fx, &g->fx)) {
        show_u64("fcw", b->fx.fcw, h->fx.fcw, g->fx.fcw);
        show_u64("fsw", b->fx.fsw, h->fx.fsw, g->fx.fsw);
        show_u64("ftw", b->fx.ftw, h->fx.ftw, g->fx.ftw);
        for (unsigned n = 0; n < 8; n++)
            show_register("st", n, b->fx.st[n], h->fx.st[n], g->fx.st[n], 10);
    }
    if (!same_vectors(h, g, 0)) {
        show_u64("mxcsr", b->fx.mxcsr, h->fx.mxcsr, g->fx.mxcsr);
        for (unsigned n = 0; n < 16; n++) {
            show_register("xmm", n, b->fx.xmm[n], h->fx.xmm[n], g->fx.xmm[n], 16);
            show_register("ymmh", n, b->ymm_high[n], h->ymm_high[n], g->ymm_high[n], 16);
        }
    }
}

static void show_memory(const struct memory_image *before)
{
    unsigned shown = 0;

    for (unsigned n = 0; n < ARENA_PAGES * PAGE && shown < 8; n += 8) {
        const u8 *h = native_memory() + n, *g = guest_memory() + n;
        if (arena_use(n / PAGE) != USE_RW || !memcmp(h, g, 8))
            continue;
        printf("  [%08x] before %016llx host %016llx ours %016llx  <--\n", ARENA + n,
               (unsigned long long)get_u64(before->bytes + n), (unsigned long long)get_u64(h),
               (unsigned long long)get_u64(g));
        shown++;
    }
}

static void show_operand(const struct test_case *t, const struct insn *i, const struct memory_image *before)
{
    u64 ea = (i->disp +
              (i->base < 16         ? t->before.gpr[i->base]
               : i->base == REG_RIP ? t->before.rip + i->len
                                    : 0) +
              ((i->index < 16 ? t->before.gpr[i->index] : 0) << i->scale))
                 << i->ashift >>
             i->ashift;
    u64 linear = ea + code_base(t->kind) + (i->seg == SEG_GS ? GS_BASE : 0);

    printf("  operand at %llx", (unsigned long long)linear);
    if (linear >= ARENA && linear - ARENA <= ARENA_PAGES * PAGE - 32)
        show_bytes("before", before->bytes + (linear - ARENA), 32);
    printf("\n");
}

void report_difference(const struct test_case *t, const struct insn *i, const struct memory_image *before)
{
    static const char *const kinds[CODE_KINDS] = {"64-bit", "32-bit flat", "32-bit with limits", "16-bit with limits"};
    char text[128] = "(undefined)";

    if (i->len)
        insn_format(i, t->before.rip, text, sizeof(text));
    printf("%s: %s code:", i->len ? isa_rows[i->row].name : "?", kinds[t->kind]);
    for (unsigned n = 0; n < t->len; n++)
        printf(" %02x", t->bytes[n]);
    printf("  %s\n", text);
    show_fault("host", &t->native);
    show_fault("ours", &t->guest);
    if (i->mem)
        show_operand(t, i, before);
    show_registers(t);
    show_memory(before);
}
