/*
 * Addresses that nobody should use: not canonical, wrapping, across the edges of the canonical hole, across pages of
 * which the second is missing; by every shape of address and every size of access, at CPL 0 and 3, each after the same
 * code was run on good addresses until it is warm. What faults must fault as the SDM says (volume 1 section 3.3.7.1:
 * canonical addressing, #SS for the stack; volume 3 section 4.7: error code and CR2) and must have changed no register,
 * no flag, no byte. What crosses pages that lie apart must do what it does within one page.
 */
#include "lib/probe.h"

#define AREA     0x18000000000ull /* two pages that lie apart in physical memory, none after them */
#define LOW_TOP  0x7ffffffff000ull
#define HIGH     0xffff800000000000ull
#define TOP      0xfffffffffffff000ull
#define CODE     0x1c000000000ull
#define LOW_CODE 0x7fffffffd000ull /* for addresses relative to RIP */
#define WARM     12

enum { READ = 0, WRITE = 1, ALIGNED = 2, SKIP_VALUES = 4, NEED_AVX = 8, NEED_AVX2 = 16, PREPARES = 32, OPEN = 64 };

/* name, bytes accessed, properties, code: the address is in RDI. PREPARES: other instructions come first, which change
 * RAX, RCX, RBX, RSI and flags. */
#define OPS(X)                                                                                                         \
    X(load8, 1, READ, "mov (%rdi),%al")                                                                                \
    X(load8h, 1, READ, "mov (%rdi),%bh")                                                                               \
    X(load16, 2, READ, "mov (%rdi),%cx")                                                                               \
    X(load32, 4, READ, "mov (%rdi),%edx")                                                                              \
    X(load64, 8, READ, "mov (%rdi),%r14")                                                                              \
    X(load_self, 8, READ, "mov (%rdi),%r13; mov (%rdi),%r15")                                                          \
    X(movzx8, 1, READ, "movzbl (%rdi),%r15d")                                                                          \
    X(movzx16, 2, READ, "movzwq (%rdi),%rcx")                                                                          \
    X(movsx8, 1, READ, "movsbw (%rdi),%cx")                                                                            \
    X(movsxd, 4, READ, "movslq (%rdi),%r14")                                                                           \
    X(movbe, 8, READ, "movbe (%rdi),%rax")                                                                             \
    X(add_load, 8, READ, "add (%rdi),%rcx")                                                                            \
    X(adc_load, 4, READ, "adc (%rdi),%r15d")                                                                           \
    X(cmp_imm, 8, READ, "cmpq $77,(%rdi)")                                                                             \
    X(test_imm, 4, READ, "testl $0x12345678,(%rdi)")                                                                   \
    X(imul_load, 8, READ, "imul $3,(%rdi),%r14")                                                                       \
    X(mul_load, 8, READ, "mulq (%rdi)")                                                                                \
    X(mulx_load, 8, READ, "mulx (%rdi),%rcx,%r14")                                                                     \
    X(bt_imm, 4, READ, "btl $7,(%rdi)")                                                                                \
    X(popcnt, 8, READ, "popcnt (%rdi),%rcx")                                                                           \
    X(bextr, 8, READ, "bextr %rcx,(%rdi),%rax")                                                                        \
    X(shlx, 4, READ, "shlx %ecx,(%rdi),%r14d")                                                                         \
    X(cmov_never, 8, READ | PREPARES, "stc; cmovnc (%rdi),%rax")                                                       \
    X(push_mem, 8, READ, "push (%rdi)")                                                                                \
    X(lodsq, 8, READ | PREPARES, "mov %rdi,%rsi; lodsq")                                                               \
    X(scasd, 4, READ, "scasl")                                                                                         \
    X(xlat, 1, READ | PREPARES, "mov %rdi,%rbx; mov $0,%al; xlat")                                                     \
    X(movss, 4, READ, "movss (%rdi),%xmm9")                                                                            \
    X(movsd, 8, READ, "movsd (%rdi),%xmm2")                                                                            \
    X(movhps, 8, READ, "movhps (%rdi),%xmm2")                                                                          \
    X(movddup, 8, READ, "movddup (%rdi),%xmm3")                                                                        \
    X(movd, 4, READ, "movd (%rdi),%xmm3")                                                                              \
    X(pinsrw, 2, READ, "pinsrw $3,(%rdi),%xmm1")                                                                       \
    X(pinsrb, 1, READ, "pinsrb $9,(%rdi),%xmm1")                                                                       \
    X(pmovzxbq, 2, READ, "pmovzxbq (%rdi),%xmm1")                                                                      \
    X(cvtps2pd, 8, READ, "cvtdq2pd (%rdi),%xmm1")                                                                      \
    X(movups_load, 16, READ, "movups (%rdi),%xmm1")                                                                    \
    X(lddqu, 16, READ, "lddqu (%rdi),%xmm1")                                                                           \
    X(movaps_load, 16, READ | ALIGNED, "movaps (%rdi),%xmm1")                                                          \
    X(paddd, 16, READ | ALIGNED, "paddd (%rdi),%xmm1")                                                                 \
    X(pcmpistri, 16, READ, "pcmpistri $0x1a,(%rdi),%xmm1")                                                             \
    X(vaddps_xmm, 16, READ | NEED_AVX, "vpaddd (%rdi),%xmm3,%xmm1")                                                    \
    X(vmovups_load, 32, READ | NEED_AVX, "vmovups (%rdi),%ymm4")                                                       \
    X(vpxor, 32, READ | NEED_AVX2, "vpxor (%rdi),%ymm4,%ymm5")                                                         \
    X(vmovdqa_load, 32, READ | ALIGNED | NEED_AVX, "vmovdqa (%rdi),%ymm4")                                             \
    X(vbroadcastss, 4, READ | NEED_AVX, "vbroadcastss (%rdi),%ymm6")                                                   \
    X(vbroadcastf128, 16, READ | NEED_AVX, "vbroadcastf128 (%rdi),%ymm6")                                              \
    X(vpbroadcastb, 1, READ | NEED_AVX2, "vpbroadcastb (%rdi),%ymm6")                                                  \
    X(vpbroadcastw, 2, READ | NEED_AVX2, "vpbroadcastw (%rdi),%ymm6")                                                  \
    X(vinsertf128, 16, READ | NEED_AVX, "vinsertf128 $1,(%rdi),%ymm3,%ymm7")                                           \
    X(vpmovzxbq, 4, READ | NEED_AVX2, "vpmovzxbq (%rdi),%ymm7")                                                        \
    X(vpmovzxbd, 8, READ | NEED_AVX2, "vpmovzxbd (%rdi),%ymm7")                                                        \
    X(vpmovsxwd, 16, READ | NEED_AVX2, "vpmovsxwd (%rdi),%ymm7")                                                       \
    X(vcvtdq2pd, 16, READ | NEED_AVX, "vcvtdq2pd (%rdi),%ymm7")                                                        \
    X(vpsllq, 16, READ | NEED_AVX2, "vpsllq (%rdi),%ymm7,%ymm8")                                                       \
    X(vpermq, 32, READ | NEED_AVX2, "vpermq $0x1b,(%rdi),%ymm8")                                                       \
    X(fld32, 4, READ | PREPARES | SKIP_VALUES, "fninit; flds (%rdi)")                                                  \
    X(fild64, 8, READ | PREPARES | SKIP_VALUES, "fninit; fildll (%rdi)")                                               \
    X(store8, 1, WRITE, "mov %cl,(%rdi)")                                                                              \
    X(store8h, 1, WRITE, "mov %ah,(%rdi)")                                                                             \
    X(store16, 2, WRITE, "mov %r14w,(%rdi)")                                                                           \
    X(store32, 4, WRITE, "mov %ecx,(%rdi)")                                                                            \
    X(store64, 8, WRITE, "mov %r15,(%rdi)")                                                                            \
    X(store_imm, 8, WRITE, "movq $-2,(%rdi)")                                                                          \
    X(store_sp, 8, WRITE | PREPARES, "mov %rsp,%rax; sub %rsp,%rax; mov %rax,(%rdi)")                                  \
    X(movbe_store, 4, WRITE, "movbe %ecx,(%rdi)")                                                                      \
    X(movnti, 8, WRITE, "movnti %rcx,(%rdi)")                                                                          \
    X(setcc, 1, WRITE, "setc (%rdi)")                                                                                  \
    X(pop_mem, 8, WRITE, "popq (%rdi)")                                                                                \
    X(stosq, 8, WRITE, "stosq")                                                                                        \
    X(movsq, 8, WRITE | PREPARES, "mov %rsp,%rsi; movsq")                                                              \
    X(mov_sreg, 2, WRITE, "mov %ds,(%rdi)")                                                                            \
    X(movss_store, 4, WRITE, "movss %xmm9,(%rdi)")                                                                     \
    X(movlps_store, 8, WRITE, "movlps %xmm2,(%rdi)")                                                                   \
    X(pextrw, 2, WRITE, "pextrw $5,%xmm2,(%rdi)")                                                                      \
    X(pextrb, 1, WRITE, "pextrb $5,%xmm2,(%rdi)")                                                                      \
    X(extractps, 4, WRITE, "extractps $3,%xmm2,(%rdi)")                                                                \
    X(movups_store, 16, WRITE, "movups %xmm3,(%rdi)")                                                                  \
    X(movaps_store, 16, WRITE | ALIGNED, "movaps %xmm3,(%rdi)")                                                        \
    X(movntdq, 16, WRITE | ALIGNED, "movntdq %xmm3,(%rdi)")                                                            \
    X(vmovups_store, 32, WRITE | NEED_AVX, "vmovups %ymm3,(%rdi)")                                                     \
    X(vmovntps, 32, WRITE | ALIGNED | NEED_AVX, "vmovntps %ymm3,(%rdi)")                                               \
    X(vextractf128, 16, WRITE | NEED_AVX, "vextractf128 $1,%ymm3,(%rdi)")                                              \
    X(fst80, 10, WRITE | PREPARES | SKIP_VALUES, "fninit; fldpi; fstpt (%rdi)")                                        \
    X(add8, 1, WRITE, "add %cl,(%rdi)")                                                                                \
    X(or16, 2, WRITE, "or %r14w,(%rdi)")                                                                               \
    X(sub32, 4, WRITE, "sub %r15d,(%rdi)")                                                                             \
    X(xor64, 8, WRITE, "xor %rcx,(%rdi)")                                                                              \
    X(inc32, 4, WRITE, "incl (%rdi)")                                                                                  \
    X(neg64, 8, WRITE, "negq (%rdi)")                                                                                  \
    X(shl_cl, 4, WRITE, "shll %cl,(%rdi)")                                                                             \
    X(shld, 8, WRITE, "shld $5,%r14,(%rdi)")                                                                           \
    X(btc_imm, 8, WRITE, "btcq $60,(%rdi)")                                                                            \
    X(xchg64, 8, WRITE, "xchg %rcx,(%rdi)")                                                                            \
    X(xchg8, 1, WRITE, "xchg %r14b,(%rdi)")                                                                            \
    X(xadd32, 4, WRITE, "lock xadd %ecx,(%rdi)")                                                                       \
    X(xadd64, 8, WRITE, "xadd %r15,(%rdi)")                                                                            \
    X(lock_or8, 1, WRITE, "lock orb $1,(%rdi)")                                                                        \
    X(lock_dec64, 8, WRITE, "lock decq (%rdi)")                                                                        \
    X(lock_bts, 4, WRITE, "lock btsl $3,(%rdi)")                                                                       \
    X(cmpxchg32, 4, WRITE, "lock cmpxchg %r14d,(%rdi)")                                                                \
    X(cmpxchg64, 8, WRITE, "cmpxchg %rcx,(%rdi)")                                                                      \
    X(cmpxchg8b, 8, WRITE, "lock cmpxchg8b (%rdi)")                                                                    \
    X(cmpxchg16b, 16, WRITE | ALIGNED, "lock cmpxchg16b (%rdi)")                                                       \
    X(rep_stosb, 1, WRITE | PREPARES, "mov $1,%ecx; rep stosb")                                                        \
    X(std_stosd, 4, WRITE | PREPARES, "std; stosl; cld")

#define OP_SNIPPET(name, size, flags, text) SNIPPET(op_##name, text);
OPS(OP_SNIPPET)

static const struct op {
    const char *name;
    const u8 *code, *end;
    unsigned size, flags;
} ops[] = {
#define OP_ROW(name, size, flags, text) {#name, op_##name, op_##name##_end, size, flags},
    OPS(OP_ROW)};

/*
 * Shapes of addresses, as loads of 8 bytes to RAX and stores of RAX. In `sum` the address is made of: its registers
 * and segment base get parts of it at random.
 */
enum { PART_DI = 1, PART_SI = 2, PART_14 = 4, PART_15 = 8, PART_SP = 16, PART_BP = 32, PART_FS = 64, PART_GS = 128 };
#define SHAPES(X)                                                                                                      \
    X(base, "(%rdi)", PART_DI, 0, 0)                                                                                   \
    X(disp8, "0x7f(%rdi)", PART_DI, 0, 0x7f)                                                                           \
    X(disp8_down, "-0x80(%rdi)", PART_DI, 0, -0x80)                                                                    \
    X(disp32, "0x7fffffff(%rdi)", PART_DI, 0, 0x7fffffff)                                                              \
    X(disp32_down, "-0x80000000(%rdi)", PART_DI, 0, -0x80000000l)                                                      \
    X(base14, "8(%r14)", PART_14, 0, 8)                                                                                \
    X(base15, "-8(%r15)", PART_15, 0, -8)                                                                              \
    X(index1, "0x10(%rdi,%rsi,1)", PART_DI | PART_SI, 1, 0x10)                                                         \
    X(index8, "-0x7fffff00(%rdi,%rsi,8)", PART_DI | PART_SI, 8, -0x7fffff00l)                                          \
    X(index_only, "0x1000(,%rsi,8)", PART_SI, 8, 0x1000)                                                               \
    X(index14, "(%rdi,%r14,4)", PART_DI | PART_14, 4, 0)                                                               \
    X(base15_14, "0x100(%r15,%r14,2)", PART_15 | PART_14, 2, 0x100)                                                    \
    X(stack, "(%rsp)", PART_SP, 0, 0)                                                                                  \
    X(stack_index, "0x18(%rsp,%rsi,8)", PART_SP | PART_SI, 8, 0x18)                                                    \
    X(frame, "-8(%rbp)", PART_BP, 0, -8)                                                                               \
    X(fs_base, "%fs:(%rdi)", PART_DI | PART_FS, 0, 0)                                                                  \
    X(fs_disp, "%fs:0x28", PART_FS, 0, 0x28)                                                                           \
    X(gs_index, "%gs:-0x40(%rdi,%rsi,8)", PART_DI | PART_SI | PART_GS, 8, -0x40)                                       \
    X(gs_15, "%gs:0x40(%r15)", PART_15 | PART_GS, 0, 0x40)                                                             \
    X(gs_stack, "%gs:0x40(%rsp)", PART_SP | PART_GS, 0, 0x40)

#define SHAPE_SNIPPETS(name, address, parts, scale, disp)                                                              \
    SNIPPET(ld_##name, "mov " address ",%rax");                                                                        \
    SNIPPET(st_##name, "mov %rax," address);
SHAPES(SHAPE_SNIPPETS)

static const struct shape {
    const char *name;
    const u8 *load, *load_end, *store, *store_end;
    unsigned parts, scale;
    long disp;
} shapes[] = {
#define SHAPE_ROW(name, address, parts, scale, disp)                                                                   \
    {#name, ld_##name, ld_##name##_end, st_##name, st_##name##_end, parts, scale, disp},
    SHAPES(SHAPE_ROW)};

static const u64 mapped[] = {AREA, AREA + PAGE, LOW_TOP, HIGH, TOP};
static u8 *area[2]; /* where the two pages can be seen without their edge */
static u8 *code;
static bool user;

static bool is_mapped(u64 linear)
{
    for (unsigned n = 0; n < sizeof(mapped) / sizeof(mapped[0]); n++)
        if (mapped[n] == (linear & ~(PAGE - 1)))
            return true;
    /* The identity map is the supervisor's. */
    return linear < 0x100000000 && !user;
}

struct want {
    int vector;
    u64 error, cr2;
};

/* SDM volume 3 section 4.7. */
static struct want expected(u64 address, unsigned size, bool write, bool stack)
{
    u64 last = address + size - 1;
    if (!is_canonical(address) || !is_canonical(last))
        return (struct want){stack ? 12 : 13, 0, 0};
    u64 present = !user || (last & ~(PAGE - 1)) >= 0x100000000 ? 0 : ERR_P;
    u64 error = (write ? ERR_W : 0) | (user ? ERR_U : 0);
    if (!is_mapped(address))
        return (struct want){14, error | (address < 0x100000000 ? present : 0), address};
    if (!is_mapped(last))
        return (struct want){14, error | (last < 0x100000000 ? present : 0), last & ~(PAGE - 1)};
    return (struct want){NO_FAULT, 0, 0};
}

static u64 pattern(unsigned page, unsigned n)
{
    return n * 0x0101010101010101ull + page * 0x1010101010101010ull + 7;
}

static void fill_area(void)
{
    for (unsigned n = 0; n < PAGE; n += 8)
        *(u64 *)(area[0] + n) = pattern(0, n), *(u64 *)(area[1] + n) = pattern(1, n);
}

static bool area_untouched(void)
{
    for (unsigned n = 0; n < PAGE; n += 8)
        if (*(u64 *)(area[0] + n) != pattern(0, n) || *(u64 *)(area[1] + n) != pattern(1, n))
            return false;
    return true;
}

static bool verdict(const char *name, u64 address, const struct probe *p, const struct want *w)
{
    bool ok = p->r.vector == (u64)w->vector && p->r.error == w->error && (w->vector != 14 || p->cr2 == w->cr2);
    check(ok, "%s at %lx, cpl %u: vector %lu error %lx cr2 %lx, want %d %lx %lx", name, address, user ? 3 : 0,
          p->r.vector, p->r.error, p->cr2, w->vector, w->error, w->cr2);
    return ok;
}

/* Wrapping round the top of the address space: the SDM leaves it open. */
static bool wraps(u64 address, unsigned size)
{
    return address + size - 1 < address;
}

static bool runs_here(const struct op *op)
{
    return (!(op->flags & NEED_AVX) || probe_has_avx()) && (!(op->flags & NEED_AVX2) || probe_has(7, 1, 5));
}

static void run_at(struct probe *p, const struct probe *start, u64 address)
{
    *p = *start;
    p->r.rdi = address;
    probe_run(p);
}

/* Hot on good addresses, aligned and not; on the first page only, and with the right to all of it. */
static void warm_up(const struct probe *start, const struct op *op)
{
    struct probe p;
    for (unsigned n = 0; n < WARM; n++) {
        run_at(&p, start, AREA + 128 + (op->flags & ALIGNED ? 32 * n : n & 1 ? 31 : 64));
        check(p.r.vector == NO_FAULT, "%s on a good address: vector %lu", op->name, p.r.vector);
    }
}

static void one_address(const struct probe *start, const struct op *op, u64 address)
{
    struct probe p;
    if (op->flags & ALIGNED && address % op->size)
        return;
    struct want w = expected(address, op->size, op->flags & WRITE, false);
    if (w.vector == NO_FAULT || wraps(address, op->size)) {
        if (op->flags & WRITE && address < AREA)
            return;
        run_at(&p, start, address);
        if (!wraps(address, op->size))
            verdict(op->name, address, &p, &w);
        fill_area();
        return;
    }
    run_at(&p, start, address);
    verdict(op->name, address, &p, &w);
    check(area_untouched(), "%s at %lx stored and faulted", op->name, address);
    struct probe before = *start;
    before.r.rdi = address;
    unsigned changed = 0;
    if (op->flags & PREPARES) {
        changed = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 6;
        before.r.rflags = p.r.rflags;
    }
    check(p.r.rip == CODE || changed, "%s at %lx: RIP is %lx", op->name, address, p.r.rip);
    check(probe_same(&before, &p, changed), "%s at %lx changed registers and faulted", op->name, address);
}

static void addresses(const struct op *op)
{
    static const u64 bad[] = {
        0x800000000000,     0x800000000ff8,     0x1000000000000,
        0x7fff800000000000, 0x8000000000000000, 0xfffe800000000000,
        0xffff000000000000, 0xffff7ffffffff000, 0xffff7ffffffffff0,
        0x8000018000000080, 0x0001018000000080, 0xffff018000000080,
        0x7fffffffffe0,     0xffff800000000000, 0xffff800000000ff0,
        0xffff800000001000, AREA - 64,          AREA + 2 * PAGE,
        0x7fffffffeff0,     0xffffffffffffefe0, TOP,
        0xffffffffffffffe0, 0x10000000000000,   0xdeadbeefdeadbee0,
    };
    struct probe start;
    probe_fill(&start, user);
    start.r.rip = CODE;
    probe_put(code, op->code, op->end);
    fill_area();
    warm_up(&start, op);
    fill_area();
    for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++)
        one_address(&start, op, bad[n]);
    static const u64 edges[] = {LOW_TOP + PAGE, HIGH, AREA, AREA + 2 * PAGE, 0xffff800000001000, LOW_TOP};
    for (unsigned n = 0; n < sizeof(edges) / sizeof(edges[0]); n++)
        for (unsigned before = 1; before < op->size; before++)
            one_address(&start, op, edges[n] - before);
    for (unsigned before = 1; before < op->size; before++)
        one_address(&start, op, 0 - (u64)before);
}

/* The same bytes at an edge between pages that lie apart, and in the middle of a page: the same must come out. */
static void edge_values(const struct op *op)
{
    if (op->flags & (ALIGNED | SKIP_VALUES))
        return;
    struct probe start, in, over;
    probe_fill(&start, user);
    start.r.rip = CODE;
    probe_put(code, op->code, op->end);
    for (unsigned n = 0; n < WARM + op->size; n++) {
        unsigned before = n % op->size;
        u8 want[64];
        fill_area();
        u8 *middle = area[0] + 512;
        for (unsigned k = 0; k < 64; k++)
            middle[k] = k < 32 ? area[0][PAGE - 32 + k] : area[1][k - 32];
        run_at(&in, &start, AREA + 512 + 32 - before);
        for (unsigned k = 0; k < 64; k++)
            want[k] = middle[k];
        run_at(&over, &start, AREA + PAGE - before);
        bool same = in.r.vector == over.r.vector;
        for (unsigned k = 0; k < 64; k++)
            same &= want[k] == (k < 32 ? area[0][PAGE - 32 + k] : area[1][k - 32]);
        u64 moved = AREA + PAGE - (AREA + 512 + 32);
        in.r.rdi += moved;
        if (in.r.rsi != over.r.rsi)
            in.r.rsi += moved;
        if (in.r.rbx != over.r.rbx)
            in.r.rbx += moved;
        same &= probe_same(&in, &over, 0);
        if (!same) {
            check(false, "%s, %u bytes before the edge, differs from the middle of a page", op->name, before);
            return;
        }
    }
}

static void each_op(void)
{
    for (unsigned n = 0; n < sizeof(ops) / sizeof(ops[0]); n++) {
        if (!runs_here(&ops[n]))
            continue;
        addresses(&ops[n]);
        edge_values(&ops[n]);
    }
}

/* ------ shapes ------ */

static u64 *part_of(struct probe *p, unsigned part)
{
    switch (part) {
    case PART_DI:
        return &p->r.rdi;
    case PART_SI:
        return &p->r.rsi;
    case PART_14:
        return &p->r.r14;
    case PART_15:
        return &p->r.r15;
    case PART_SP:
        return &p->r.rsp;
    default:
        return &p->r.rbp;
    }
}

/* Registers and segment bases that sum up to `address`. A segment base must be canonical (it is written by WRMSR). */
static void set_shape(struct probe *p, const struct shape *s, u64 address)
{
    u64 rest = address - (u64)s->disp;
    if (s->parts & (PART_FS | PART_GS)) {
        bool alone = !(s->parts & ~(unsigned)(PART_FS | PART_GS));
        u64 base = alone ? rest : (u64)((long)((u64)random32() << 16) << 16 >> 16) | (random32() & 1 ? HIGH : 0);
        if (alone && !is_canonical(base))
            base = rest = 0;
        base = is_canonical(base) ? base : 0;
        wrmsr(s->parts & PART_FS ? 0xc0000100 : 0xc0000101, base);
        rest -= base;
    }
    unsigned index = s->scale ? (s->parts & PART_SI ? PART_SI : PART_14) : 0;
    if (index) {
        bool alone = !(s->parts & (PART_DI | PART_15 | PART_SP));
        u64 v = alone ? rest / s->scale : (u64)random32() << 32 | random32();
        *part_of(p, index) = v;
        rest -= v * s->scale;
    }
    for (unsigned part = PART_DI; part <= PART_BP; part *= 2)
        if (s->parts & part && part != index)
            *part_of(p, part) = rest;
}

static u64 shape_address(struct probe *p, const struct shape *s)
{
    u64 sum = (u64)s->disp;
    unsigned index = s->scale ? (s->parts & PART_SI ? PART_SI : PART_14) : 0;
    for (unsigned part = PART_DI; part <= PART_BP; part *= 2)
        if (s->parts & part)
            sum += *part_of(p, part) * (part == index ? s->scale : 1);
    return sum + (s->parts & PART_FS ? rdmsr(0xc0000100) : 0) + (s->parts & PART_GS ? rdmsr(0xc0000101) : 0);
}

static void shape_at(const struct shape *s, bool write, u64 address)
{
    struct probe p, before;
    probe_fill(&p, user);
    p.r.rip = CODE;
    set_shape(&p, s, address);
    address = shape_address(&p, s);
    if (wraps(address, 8))
        return;
    before = p;
    struct want w = expected(address, 8, write, s->parts & (PART_SP | PART_BP) && !(s->parts & (PART_FS | PART_GS)));
    if (w.vector == NO_FAULT && write && address < AREA)
        return;
    probe_run(&p);
    verdict(s->name, address, &p, &w);
    check(probe_same(&before, &p, w.vector == NO_FAULT && !write ? 1 : 0), "%s at %lx: registers", s->name, address);
}

static void each_shape(void)
{
    static const u64 bad[] = {
        AREA + 64,          AREA + 71,          AREA + PAGE - 3,    AREA + 2 * PAGE - 3, 0x7ffffffffff8,
        0x7ffffffffffd,     0x800000000000,     0xffff7ffffffffff8, 0xffff7ffffffffffd,  0xffff800000000000,
        0xffff800000000ffc, 0x8000018000000040, 0x0001018000000040, 0xffff018000000040,  0x7fffffffeffc,
        0xfffffffffffff000, 0xffffffffffffeffc, 0x100000000,        0x4000000000000000,  0xfffffffffffffff8,
    };
    for (unsigned n = 0; n < 2 * sizeof(shapes) / sizeof(shapes[0]); n++) {
        const struct shape *s = &shapes[n / 2];
        probe_put(code, n & 1 ? s->store : s->load, n & 1 ? s->store_end : s->load_end);
        for (unsigned k = 0; k < WARM; k++)
            shape_at(s, n & 1, AREA + 256 + (k & 1) * 5);
        for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
            shape_at(s, n & 1, bad[k]);
    }
    wrmsr(0xc0000100, 0);
    wrmsr(0xc0000101, 0);
}

/* ------ addresses that are part of the code, or of 32 bits ------ */

/* mov disp(%rip),%rax */
static void relative_at(u64 at, long disp)
{
    static const u8 load[] = {0x48, 0x8b, 0x05, 0, 0, 0, 0};
    struct probe p, before;
    probe_fill(&p, user);
    probe_put(code, load, load + 7);
    int d = (int)disp;
    __builtin_memcpy(code + 3, &d, 4);
    p.r.rip = at;
    before = p;
    u64 address = at + 7 + (u64)disp;
    struct want w = expected(address, 8, false, false);
    probe_run(&p);
    verdict("mov disp(%rip),%rax", address, &p, &w);
    check(probe_same(&before, &p, w.vector == NO_FAULT ? 1 : 0), "relative to RIP, %lx: registers", address);
}

static void relative(void)
{
    for (unsigned n = 0; n < 3; n++) {
        relative_at(LOW_CODE, (long)(LOW_TOP + 8 - LOW_CODE - 7));
        relative_at(LOW_CODE, (long)(LOW_TOP + PAGE - LOW_CODE - 7));
        relative_at(LOW_CODE, (long)(LOW_TOP + PAGE - 3 - LOW_CODE - 7));
        relative_at(LOW_CODE, 0x7fffffff);
        relative_at(CODE, 0x7ffffff0);
        relative_at(CODE, -0x7ffffff0l);
    }
}

/* movabs with a 64-bit address */
static void absolute(void)
{
    static const u8 load[] = {0x48, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0}, store[] = {0x48, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0};
    static const u64 at[] = {
        AREA + 8, 0x800000000000,           0xffff7fffffffffff, 0x7ffffffffffa, AREA + 2 * PAGE - 4,
        HIGH + 8, 0x8000000000000000 | AREA};
    for (unsigned n = 0; n < 2 * sizeof(at) / sizeof(at[0]); n++) {
        const u8 *insn = n & 1 ? store : load;
        struct probe p, before;
        probe_fill(&p, user);
        probe_put(code, insn, insn + 10);
        __builtin_memcpy(code + 2, &at[n / 2], 8);
        p.r.rip = CODE;
        for (unsigned k = 0; k < 3; k++) {
            before = p;
            struct want w = expected(at[n / 2], 8, n & 1, false);
            probe_run(&p);
            verdict("movabs", at[n / 2], &p, &w);
            check(probe_same(&before, &p, w.vector == NO_FAULT ? 1 : 0), "movabs: registers");
            p = before;
        }
    }
}

/* The 32-bit sum wraps at 4 GiB, and is not sign-extended (SDM volume 1 section 3.3.7). */
SNIPPET(a32_load, "mov -8(%edi,%esi,4),%rax");
SNIPPET(a32_store, "mov %rax,0x7fffffff(%edi)");
SNIPPET(a32_rel, "mov 0x7f(%edi),%eax");
static void narrow(void)
{
    volatile u64 *word = (u64 *)(area[1] + 64);
    struct probe p;
    u64 target = (u64)word;
    for (unsigned n = 0; n < WARM && !user; n++) {
        *word = 0x1122334455667700 + n;
        probe_fill(&p, false);
        p.r.rip = CODE;
        p.r.rdi = (u64)random32() << 32 | (u32)(target + 8 - 4 * 0xc0000001u);
        p.r.rsi = (u64)random32() << 32 | 0xc0000001u;
        probe_put(code, a32_load, a32_load_end);
        probe_run(&p);
        check(p.r.vector == NO_FAULT && p.r.rax == *word, "32-bit sum: vector %lu rax %lx", p.r.vector, p.r.rax);
        probe_put(code, a32_store, a32_store_end);
        p.r.rip = CODE;
        p.r.rdi = 0xffffffff00000000 | (u32)(target - 0x7fffffff);
        p.r.rax = n;
        probe_run(&p);
        check(p.r.vector == NO_FAULT && *word == n, "32-bit sum, store: vector %lu", p.r.vector);
    }
    probe_fill(&p, true);
    probe_put(code, a32_rel, a32_rel_end);
    p.r.rip = CODE;
    p.r.rdi = 0xffffffffffffff80;
    bool was = user;
    user = true;
    probe_run(&p);
    struct want w = {14, ERR_U | ERR_P, 0xffffffff};
    verdict("32-bit address at 4 GiB", 0xffffffff, &p, &w);
    user = was;
}

/* ------ the stack ------ */

#define STACK_OPS(X)                                                                                                   \
    X(push, "push %rcx", WRITE, -8)                                                                                    \
    X(push14, "push %r14", WRITE, -8)                                                                                  \
    X(push_sp, "push %rsp", WRITE, -8)                                                                                 \
    X(push_imm, "push $0x12345678", WRITE, -8)                                                                         \
    X(pushf, "pushfq", WRITE, -8)                                                                                      \
    X(call, "call 1f; 1:", WRITE, -8)                                                                                  \
    X(call_reg, "call *%rbx", WRITE, -8)                                                                               \
    X(pop, "pop %rcx", READ, 0)                                                                                        \
    X(pop15, "pop %r15", READ, 0)                                                                                      \
    X(popf, "popfq", READ, 0)                                                                                          \
    X(ret, "ret", READ, 0)                                                                                             \
    X(ret_imm, "ret $0x20", READ, 0)                                                                                   \
    X(enter, "enter $0x20,$0", WRITE | OPEN, -8)
#define STACK_SNIPPET(name, text, flags, off) SNIPPET(stack_##name, text);
STACK_OPS(STACK_SNIPPET)

static const struct stack_op {
    const char *name;
    const u8 *code, *end;
    unsigned flags;
    int off;
} stack_ops[] = {
#define STACK_ROW(name, text, flags, off) {#name, stack_##name, stack_##name##_end, flags, off},
    STACK_OPS(STACK_ROW)};

static void stack_at(const struct stack_op *op, u64 sp)
{
    struct probe p, before;
    u64 address = sp + (u64)(long)op->off;
    probe_fill(&p, user);
    p.r.rip = CODE;
    p.r.rsp = sp;
    p.r.rbx = CODE + (u64)(op->end - op->code);
    before = p;
    struct want w = expected(address, 8, op->flags & WRITE, true);
    if (w.vector == NO_FAULT && op->flags & WRITE && address < AREA)
        return;
    probe_run(&p);
    if (w.vector == NO_FAULT || wraps(address, 8) || (op->flags & OPEN && is_canonical(address)))
        return;
    verdict(op->name, address, &p, &w);
    check(p.r.rip == CODE, "%s with RSP %lx: RIP is %lx", op->name, sp, p.r.rip);
    check(probe_same(&before, &p, 0), "%s with RSP %lx: registers", op->name, sp);
}

static void each_stack_op(void)
{
    static const u64 sp[] = {0x800000000000,
                             0x800000000008,
                             0x800000000004,
                             0x7ffffffffffc,
                             0xffff800000000000,
                             0xffff800000000008,
                             0xffff800000000004,
                             0xffff7ffffffffff8,
                             0xffff800000001000,
                             0xffff800000001004,
                             AREA + 2 * PAGE,
                             AREA + 2 * PAGE + 4,
                             AREA,
                             AREA + 4,
                             0x8000000000000000,
                             0x4000000000000,
                             0,
                             0xfffffffffffff000,
                             0xdeadbeefdeadbeef};
    for (unsigned n = 0; n < sizeof(stack_ops) / sizeof(stack_ops[0]); n++) {
        const struct stack_op *op = &stack_ops[n];
        probe_put(code, op->code, op->end);
        for (unsigned k = 0; k < WARM; k++) {
            *(u64 *)(area[0] + 512) = CODE + (u64)(op->end - op->code);
            stack_at(op, AREA + 512);
        }
        for (unsigned k = 0; k < sizeof(sp) / sizeof(sp[0]); k++)
            stack_at(op, sp[k]);
    }
}

/* ------ what is no RAM ------ */

#define PLACE 0x1b000000000ull
SNIPPET(op_fxsave, "fxsave64 (%rdi)");
SNIPPET(op_fxrstor, "fxrstor64 (%rdi)");
SNIPPET(op_rep_movsb, "lea 64(%rdi),%rsi; mov $200,%ecx; rep movsb");
SNIPPET(op_cmpsb, "lea 64(%rdi),%rsi; mov $200,%ecx; repe cmpsb");
SNIPPET(op_lgdt, "sub $32,%rsp; sgdt (%rsp); lgdt (%rdi); lgdt (%rsp); add $32,%rsp");
static const struct op big_ops[] = {{"fxsave", op_fxsave, op_fxsave_end, 512, WRITE | ALIGNED},
                                    {"fxrstor", op_fxrstor, op_fxrstor_end, 512, ALIGNED},
                                    {"rep movsb", op_rep_movsb, op_rep_movsb_end, 264, WRITE},
                                    {"cmpsb", op_cmpsb, op_cmpsb_end, 264, READ},
                                    {"lgdt", op_lgdt, op_lgdt_end, 10, READ | PREPARES}};

/* Devices, ROM, holes, the end of RAM: every access comes back, and none with a fault of paging. */
static void one_place(const struct op *op, u64 off)
{
    struct probe p;
    u64 at = op->flags & ALIGNED ? off & ~63ull : off;
    probe_fill(&p, user);
    p.r.rip = CODE;
    p.r.rdi = PLACE + at;
    probe_run(&p);
    check(p.r.vector == NO_FAULT || p.r.vector == 13 || p.r.vector == 16 || p.r.vector == 19,
          "%s at %lx of a place without RAM: vector %lu error %lx cr2 %lx", op->name, at, p.r.vector, p.r.error, p.cr2);
}

/* The local APIC's register of its version, and reserved ones after the last: nothing there acts on a store. */
static void one_op_in_places(const struct op *op)
{
    static const struct {
        u64 first, second, off;
    } places[] = {{0xd0000000, 0xd0001000, 0},     {0xd0000000, 0xd0001000, PAGE - 3},
                  {0xfffff000, 0xd0000000, 16},    {0xfffff000, 0xffffe000, PAGE - 7},
                  {0x0ffff000, 0x10000000, 0xff1}, {0x0ffff000, 0x10000000, 0xfff},
                  {0x10000000, 0x0ffff000, 0xffc}, {0xfee00000, 0xfee00000, 0x800},
                  {0xfee00000, 0xd0000000, 0xfff}, {0xfffffff000, 0xfffffff000, PAGE - 1},
                  {0xfee00000, 0xd0000000, 0x31},  {0xa0000, 0xa1000, PAGE - 5}};
    probe_put(code, op->code, op->end);
    for (unsigned n = 0; n < sizeof(places) / sizeof(places[0]); n++) {
        bool apic = places[n].first == 0xfee00000;
        if (apic && (op->flags & WRITE) && (op->size > 64 || places[n].off == 0x31))
            continue;
        map_page(PLACE, places[n].first, PTE_P | PTE_W | PTE_U);
        map_page(PLACE + PAGE, places[n].second, PTE_P | PTE_W | PTE_U);
        for (unsigned k = 0; k < 3; k++)
            one_place(op, places[n].off);
    }
}

static void each_place(void)
{
    for (unsigned n = 0; n < sizeof(ops) / sizeof(ops[0]); n++)
        if (runs_here(&ops[n]))
            one_op_in_places(&ops[n]);
    for (unsigned n = 0; n < sizeof(big_ops) / sizeof(big_ops[0]); n++)
        if (!user || big_ops[n].code != op_lgdt)
            one_op_in_places(&big_ops[n]);
}

static void map_all(void)
{
    area[0] = page_alloc();
    page_alloc();
    area[1] = page_alloc();
    code = page_alloc();
    u64 flags = PTE_P | PTE_W | PTE_U;
    map_page(AREA, (u64)area[0], flags);
    map_page(AREA + PAGE, (u64)area[1], flags);
    map_page(LOW_TOP, (u64)page_alloc(), flags);
    map_page(HIGH, (u64)page_alloc(), flags);
    map_page(TOP, (u64)page_alloc(), flags);
    map_page(CODE, (u64)code, flags);
    map_page(LOW_CODE, (u64)code, flags);
}

void test(void)
{
    probe_init();
    map_all();
    for (unsigned cpl = 0; cpl < 2; cpl++) {
        user = cpl;
        each_op();
        each_shape();
        relative();
        absolute();
        narrow();
        each_stack_op();
        each_place();
    }
}
