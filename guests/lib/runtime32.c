/* The 32-bit run-time. See guest32.h. */
#include "lib/guest32.h"

struct catch
{
    u32 esp;
    bool active;
    struct fault fault;
};

extern const char interrupt_stubs[];
extern char guest_end[];
int catch_enter(struct catch *c, void (*fn)(void *), void *arg);
_Noreturn void catch_leave(struct catch *c);
void enter_ring(void *fn, void *arg, u32 cs, u32 ss, void *esp);
void ring_return(void);
void guest_main(void);
void interrupt_dispatch(struct regs32 *r);

u64 idt[256];
struct tss32 tss;
static handler_fn *handlers[256];
static struct catch catch;
static u8 interrupt_stack[16384] __attribute__((aligned(16)));
static u8 user_stack[16384] __attribute__((aligned(16)));
static u8 *next_page;

void set_gate(unsigned vector, u32 offset, u16 selector, u8 type)
{
    idt[vector] = (offset & 0xffff) | (u64)selector << 16 | (u64)type << 40 | (u64)(offset >> 16) << 48;
}

void set_descriptor(unsigned selector, u32 base, u32 limit, u32 attr)
{
    gdt[selector / 8] = (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xf0ff) << 40 |
                        (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}

void set_call_gate(unsigned selector, u16 target, u32 offset, unsigned parameters, u8 type)
{
    gdt[selector / 8] =
        (offset & 0xffff) | (u64)target << 16 | (u64)parameters << 32 | (u64)type << 40 | (u64)(offset >> 16) << 48;
}

void on_vector(unsigned vector, handler_fn *fn)
{
    handlers[vector] = fn;
}

void interrupt_dispatch(struct regs32 *r)
{
    if (handlers[r->vector]) {
        handlers[r->vector](r);
        return;
    }
    if (!catch.active) {
        print("unexpected vector %u error %x eip %x cs %x eflags %x cr2 %x\n", r->vector, r->error, r->eip, r->cs,
              r->eflags, read_cr2());
        check(false, "unexpected exception");
        finish();
    }
    catch.active = false;
    catch.fault = (struct fault){(int)r->vector, r->error, r->eip, r->cs, r->eflags, read_cr2()};
    catch_leave(&catch);
}

struct fault try_call(void (*fn)(void *arg), void *arg)
{
    catch.active = true;
    if (!catch_enter(&catch, fn, arg)) {
        catch.active = false;
        return (struct fault){.vector = -1};
    }
    return catch.fault;
}

struct user_call {
    void (*fn)(void *);
    void *arg;
};

static void call_user(void *arg)
{
    struct user_call *u = arg;
    u32 *sp = (u32 *)(user_stack + sizeof(user_stack)) - 4;
    *--sp = (u32)u->arg;
    *--sp = (u32)ring_return;
    enter_ring((void *)u->fn, u->arg, SEL_USER_CODE, SEL_USER_DATA, sp);
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
    next_page += 4096;
    for (unsigned i = 0; i < 4096; i++)
        p[i] = 0;
    return p;
}

void guest_main(void)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u32)idt};
    next_page = (u8 *)(((u32)guest_end + 4095) & ~4095u);
    for (unsigned v = 0; v < 256; v++)
        set_gate(v, (u32)interrupt_stubs + 16 * v, SEL_CODE, v == 0x81 ? 0xee : 0x8e);
    asm volatile("lidt %0" : : "m"(pointer));
    tss.esp0 = (u32)(interrupt_stack + sizeof(interrupt_stack)), tss.ss0 = SEL_DATA;
    tss.iomap = sizeof(tss);
    set_descriptor(SEL_TSS, (u32)&tss, sizeof(tss) - 1, 0x0089);
    asm volatile("ltr %w0" : : "r"(SEL_TSS));
    port_out(0x21, 0xff), port_out(0xa1, 0xff); /* whatever a firmware left on */
    test();
    finish();
}
