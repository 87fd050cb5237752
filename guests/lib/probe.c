/* Implements probe.h. */
#include "lib/probe.h"

#define CR4_OSXSAVE (1ull << 18)
#define STACK_SIZE  8192

void probe_enter(const struct regs *r);
void probe_leave(void);

/* Loads what `struct regs` holds and remembers the stack; probe_leave comes back as if probe_enter returned. */
asm(".pushsection .text\n"
    "probe_enter:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; pushfq\n"
    "mov %rsp, probe_stack(%rip)\n"
    "mov %rdi, %rsp\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8\n"
    "pop %rbp; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rbx; pop %rax\n"
    "add $16, %rsp\n"
    "iretq\n"
    "probe_leave:\n"
    "mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
    "mov probe_stack(%rip), %rsp\n"
    "popfq; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n"
    ".popsection\n"
    ".pushsection .bss\n"
    "probe_stack: .skip 8\n"
    ".popsection");

static struct probe *running;
static bool has_avx;
static handler_fn *diverted[32];
static u8 stack[STACK_SIZE] __attribute__((aligned(16)));

void probe_save_vectors(u8 (*v)[32])
{
    if (has_avx)
        asm volatile(
            "vmovups %%ymm0,(%0); vmovups %%ymm1,32(%0); vmovups %%ymm2,64(%0); vmovups %%ymm3,96(%0)\n"
            "vmovups %%ymm4,128(%0); vmovups %%ymm5,160(%0); vmovups %%ymm6,192(%0); vmovups %%ymm7,224(%0)\n"
            "vmovups %%ymm8,256(%0); vmovups %%ymm9,288(%0); vmovups %%ymm10,320(%0); vmovups %%ymm11,352(%0)\n"
            "vmovups %%ymm12,384(%0); vmovups %%ymm13,416(%0); vmovups %%ymm14,448(%0)\n"
            "vmovups %%ymm15,480(%0)"
            :
            : "r"(v)
            : "memory");
    else
        asm volatile("movups %%xmm0,(%0); movups %%xmm1,32(%0); movups %%xmm2,64(%0); movups %%xmm3,96(%0)"
                     :
                     : "r"(v)
                     : "memory");
}

void probe_load_vectors(u8 (*v)[32])
{
    if (has_avx)
        asm volatile(
            "vmovups (%0),%%ymm0; vmovups 32(%0),%%ymm1; vmovups 64(%0),%%ymm2; vmovups 96(%0),%%ymm3\n"
            "vmovups 128(%0),%%ymm4; vmovups 160(%0),%%ymm5; vmovups 192(%0),%%ymm6; vmovups 224(%0),%%ymm7\n"
            "vmovups 256(%0),%%ymm8; vmovups 288(%0),%%ymm9; vmovups 320(%0),%%ymm10; vmovups 352(%0),%%ymm11\n"
            "vmovups 384(%0),%%ymm12; vmovups 416(%0),%%ymm13; vmovups 448(%0),%%ymm14\n"
            "vmovups 480(%0),%%ymm15"
            :
            : "r"(v));
    else
        asm volatile("movups (%0),%%xmm0; movups 32(%0),%%xmm1; movups 64(%0),%%xmm2; movups 96(%0),%%xmm3" : : "r"(v));
}

static void caught(struct regs *r)
{
    struct probe *p = running;
    probe_save_vectors(p->ymm);
    p->r = *r;
    p->cr2 = read_cr2();
    *r = (struct regs){.rip = (u64)probe_leave,
                       .cs = SEL_CODE64,
                       .rflags = RFLAGS_FIXED,
                       .rsp = (u64)(stack + sizeof(stack) - 64),
                       .ss = SEL_DATA};
}

bool probe_has_avx(void)
{
    return has_avx;
}

bool probe_has(u32 leaf, unsigned reg, unsigned bit)
{
    u32 r[4];
    cpuid(leaf & 0x80000000, 0, r);
    if (r[0] < leaf)
        return false;
    cpuid(leaf, 0, r);
    return r[reg] >> bit & 1;
}

void probe_init(void)
{
    has_avx = probe_has(1, 2, 26) && probe_has(1, 2, 28);
    if (has_avx) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
    }
}

void probe_divert(unsigned vector, handler_fn *fn)
{
    diverted[vector] = fn;
}

/* Vectors 0 to 31 are the probe's while it runs. */
static void catch_all(bool on)
{
    for (unsigned v = 0; v < 32; v++) {
        idt[v].ist = on ? 1 : 0;
        on_vector(v, !on ? NULL : diverted[v] ? diverted[v] : caught);
    }
    idt[NO_FAULT].type = on ? 0xee : 0x8e;
}

void probe_run(struct probe *p)
{
    running = p;
    catch_all(true);
    probe_load_vectors(p->ymm);
    probe_enter(&p->r);
    catch_all(false);
}

u64 *probe_gpr(struct probe *p, unsigned number)
{
    struct regs *r = &p->r;
    u64 *const by_number[16] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
                                &r->r8,  &r->r9,  &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15};
    return by_number[number];
}

void probe_fill(struct probe *p, bool user)
{
    for (unsigned n = 0; n < 16; n++) {
        *probe_gpr(p, n) = (u64)random32() << 32 | random32();
        for (unsigned b = 0; b < 32; b++)
            p->ymm[n][b] = (u8)random32();
    }
    u64 sp = (u64)(stack + sizeof(stack) / 2);
    p->r.rsp = user ? (u64)user_addr((void *)sp) : sp;
    p->r.cs = user ? SEL_USER_CODE64 : SEL_CODE64;
    p->r.ss = user ? SEL_USER_DATA : SEL_DATA;
    p->r.rflags = (random32() & RFLAGS_ARITHMETIC) | RFLAGS_FIXED;
    p->cr2 = 0;
}

unsigned probe_put(void *at, const u8 *code, const u8 *end)
{
    u8 *to = at;
    for (const u8 *from = code; from < end; from++)
        *to++ = *from;
    *to = 0xcc;
    return (unsigned)(end - code);
}

bool probe_same(const struct probe *before, const struct probe *after, unsigned changed)
{
    bool same = true;
    for (unsigned n = 0; n < 16; n++) {
        u64 was = *probe_gpr((struct probe *)before, n), is = *probe_gpr((struct probe *)after, n);
        if (was != is && !(changed >> n & 1)) {
            print("register %u was %lx is %lx\n", n, was, is);
            same = false;
        }
        for (unsigned b = 0; b < (has_avx ? 32 : 16) && (has_avx || n < 4); b++)
            if (before->ymm[n][b] != after->ymm[n][b]) {
                print("vector register %u, byte %u: was %x is %x\n", n, b, before->ymm[n][b], after->ymm[n][b]);
                same = false;
                break;
            }
    }
    u64 flags = before->r.rflags ^ after->r.rflags;
    if (flags & RFLAGS_ARITHMETIC) {
        print("flags were %lx are %lx\n", before->r.rflags, after->r.rflags);
        same = false;
    }
    return same;
}
