/* The 64-bit run-time: interrupts, caught faults, CPL 3, page tables, memory. See guest.h. */
#include "lib/guest.h"

#define MAX_CPUS 64

struct catch
{
    u64 rsp;
    bool active;
    struct fault fault;
};

extern const char interrupt_stubs[];
extern char guest_end[];
int catch_enter(struct catch *c, void (*fn)(void *), void *arg);
_Noreturn void catch_leave(struct catch *c);
void enter_user(void *fn, void *arg, void *stack);
void user_return(void);
void guest_main(void);
void interrupt_dispatch(struct regs *r);
void runtime_load_tables(unsigned cpu);

struct idt_gate idt[256];
struct tss64 tss;
static handler_fn *handlers[256];
static struct catch catches[MAX_CPUS];
static u8 interrupt_stack[16384] __attribute__((aligned(16)));
static u8 ist_stack[16384] __attribute__((aligned(16))); /* IST 1 */
static u8 user_stack[16384] __attribute__((aligned(16)));
static u8 *next_page;

void set_gate(unsigned vector, void (*entry)(void), u16 selector, u8 type_dpl, u8 ist)
{
    u64 a = (u64)entry;
    idt[vector] = (struct idt_gate){(u16)a, selector, ist, type_dpl, (u16)(a >> 16), (u32)(a >> 32), 0};
}

void on_vector(unsigned vector, handler_fn *fn)
{
    handlers[vector] = fn;
}

void interrupt_dispatch(struct regs *r)
{
    if (handlers[r->vector]) {
        handlers[r->vector](r);
        return;
    }
    struct catch *c = &catches[this_cpu()];
    if (!c->active) {
        print("unexpected vector %lu error %lx rip %lx cs %lx cr2 %lx rsp %lx\n", r->vector, r->error, r->rip, r->cs,
              read_cr2(), r->rsp);
        check(false, "unexpected exception");
        finish();
    }
    c->active = false;
    c->fault = (struct fault){(int)r->vector, r->error, r->rip, r->cs, r->rflags, r->rsp, read_cr2()};
    catch_leave(c);
}

struct fault try_call(void (*fn)(void *arg), void *arg)
{
    struct catch *c = &catches[this_cpu()];
    c->active = true;
    if (!catch_enter(c, fn, arg)) {
        c->active = false;
        return (struct fault){.vector = -1};
    }
    return c->fault;
}

struct user_call {
    void (*fn)(void *);
    void *arg;
};

/* The user function returns to user_return, which is in the same program at its user address. */
static void call_user(void *arg)
{
    struct user_call *u = arg;
    u64 *sp = (u64 *)(user_stack + sizeof(user_stack)) - 2;
    *--sp = (u64)user_addr((void *)user_return);
    enter_user(user_addr((void *)u->fn), u->arg, user_addr(sp));
}

struct fault try_user(void (*fn)(void *arg), void *arg)
{
    struct user_call u = {fn, arg};
    struct fault f = try_call(call_user, &u);
    if (f.vector == 0x81)
        f.vector = -1;
    return f;
}

void *page_alloc(void)
{
    u8 *p = next_page;
    next_page += PAGE;
    for (unsigned i = 0; i < PAGE; i++)
        p[i] = 0;
    return p;
}

u64 *page_entry(u64 linear, int level)
{
    u64 *table = (u64 *)(read_cr3() & ~0xfffull);
    for (int l = 4;; l--) {
        u64 *e = &table[linear >> (12 + 9 * (l - 1)) & 511];
        if (l == level)
            return e;
        if (!(*e & PTE_P) || (l < 4 && (*e & PTE_PS)))
            return NULL;
        table = (u64 *)(*e & 0xffffffffff000ull);
    }
}

void map_page(u64 linear, u64 physical, u64 flags)
{
    for (int l = 4; l > 1; l--) {
        u64 *e = page_entry(linear, l);
        if (!(*e & PTE_P))
            *e = (u64)page_alloc() | PTE_P | PTE_W | PTE_U;
    }
    *page_entry(linear, 1) = physical | flags;
    invlpg((void *)linear);
}

u32 random32(void)
{
    static u64 state = 0x9e3779b97f4a7c15ull;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(state >> 32);
}

void runtime_load_tables(unsigned cpu)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u64)idt};
    asm volatile("lidt %0" : : "m"(pointer));
    if (cpu == 0)
        asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

static void setup_tss(void)
{
    u64 base = (u64)&tss, limit = sizeof(tss) - 1;
    tss.rsp[0] = (u64)(interrupt_stack + sizeof(interrupt_stack));
    tss.ist[0] = (u64)(ist_stack + sizeof(ist_stack));
    tss.iomap = offsetof(struct tss64, bitmap);
    for (unsigned i = 0; i < sizeof(tss.bitmap); i++)
        tss.bitmap[i] = 0xff;
    gdt[SEL_TSS / 8] = (limit & 0xffff) | (base & 0xffffff) << 16 | 0x89ull << 40 | (limit >> 16 & 15) << 48 |
                       (base >> 24 & 0xff) << 56;
    gdt[SEL_TSS / 8 + 1] = base >> 32;
}

void guest_main(void)
{
    next_page = (u8 *)(((u64)guest_end + PAGE - 1) & ~(PAGE - 1));
    for (unsigned v = 0; v < 256; v++)
        set_gate(v, (void (*)(void))(u64)(interrupt_stubs + 16 * v), SEL_CODE64, v == 0x81 ? 0xee : 0x8e, 0);
    setup_tss();
    runtime_load_tables(0);
    port_out(0x21, 0xff), port_out(0xa1, 0xff); /* whatever a firmware left on */
    test();
    finish();
}
