/*
 * Implements tests/unit/vcpu.h.
 */
#include "vcpu.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/mmu.h"
#include "cpu/model.h"
#include "cpu/world.h"
#include "event/loop.h"

static void all_features(struct isa_features *f)
{
    memset(f, 0xff, sizeof(*f));
}

static const struct cpu_model test_model = {
    .name = "test",
    .vendor = "GenuineIntel",
    .brand = "test",
    .family = 6,
    .model = 85,
    .stepping = 4,
    .physical_bits = 40,
    .linear_bits = 48,
    .features = all_features,
};

static void stop_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct vm *v = opaque;
    v->code = (u32)value;
    v->stops++;
    for (unsigned n = 0; n < v->cpus; n++)
        cpu_request(v->cpu[n], REQ_STOP);
}

static const struct mem_window_ops stop_ops = {.write = stop_write};

int vm_create(struct vm *v, u64 ram, unsigned cpus)
{
    *v = (struct vm){.cpus = cpus};
    v->loop = loop_create();
    v->world = world_create(cpus);
    v->mem = v->loop ? mem_space_create(v->loop, ram, ram < GiB(3) ? ram : GiB(3), NULL) : NULL;
    if (!v->mem || !v->world)
        return -1;
    v->ram = mem_space_ram(v->mem)->host;
    v->stop = (struct mem_window){.ops = &stop_ops, .opaque = v, .name = "stop", .size = 4};
    if (mem_port_map(v->mem, &v->stop, STOP_PORT) < 0)
        return -1;
    for (unsigned n = 0; n < cpus; n++) {
        struct cpu_config cfg = {.id = n,
                                 .count = cpus,
                                 .model = &test_model,
                                 .mem = v->mem,
                                 .loop = v->loop,
                                 .world = v->world,
                                 .tsc_hz = 1000000000};
        v->cpu[n] = cpu_create(&cfg);
        if (!v->cpu[n] || engine_find("interp")->attach(v->cpu[n], &(struct engine_config){0}, NULL) < 0)
            return -1;
    }
    return 0;
}

void vm_destroy(struct vm *v)
{
    for (unsigned n = 0; n < v->cpus; n++) {
        if (v->cpu[n])
            engine_find("interp")->detach(v->cpu[n]);
        cpu_destroy(v->cpu[n]);
    }
    world_destroy(v->world);
    mem_space_destroy(v->mem);
    loop_destroy(v->loop);
}

#define DATA_ATTR (DA_P | DA_S | DA_WRITE | DA_ACCESSED | DA_DB | DA_G)
#define CODE_ATTR (DA_P | DA_S | DA_CODE | DA_WRITE | DA_ACCESSED)

static u64 descriptor(u32 base, u32 limit, u32 attr)
{
    if (attr & DA_G)
        limit >>= 12;
    u64 low = (limit & 0xffff) | base << 16;
    u64 high = (base >> 16 & 0xff) | (attr & ~0xf0000u) | (limit & 0xf0000) | (base & 0xff000000);
    return low | high << 32;
}

static void put_gdt(struct vm *v)
{
    const struct {
        u16 sel;
        u32 base, limit, attr;
    } list[] = {
        {SEL_CODE64, 0, 0xffffffff, CODE_ATTR | DA_L | DA_G},
        {SEL_DATA, 0, 0xffffffff, DATA_ATTR},
        {SEL_CODE32, 0, 0xffffffff, CODE_ATTR | DA_DB | DA_G},
        {SEL_CODE16, 0, 0xffff, CODE_ATTR},
        {SEL_UCODE64, 0, 0xffffffff, CODE_ATTR | DA_L | DA_G | 3 << DA_DPL_SHIFT},
        {SEL_UDATA, 0, 0xffffffff, DATA_ATTR | 3 << DA_DPL_SHIFT},
        {SEL_UCODE32, 0, 0xffffffff, CODE_ATTR | DA_DB | DA_G | 3 << DA_DPL_SHIFT},
        {SEL_TSS, AT_TSS, 0x67, DA_P | 11 << DA_TYPE_SHIFT},
    };
    for (size_t n = 0; n < ARRAY_SIZE(list); n++)
        put_u64(v->ram + AT_GDT + (list[n].sel & ~7), descriptor(list[n].base, list[n].limit, list[n].attr));
}

/* Each vector's handler: mov $vector, %al; out %al, $STOP_PORT; jmp . */
static void put_stubs(struct vm *v)
{
    for (unsigned n = 0; n < 32; n++) {
        const u8 stub[] = {0xb0, (u8)n, 0xe6, STOP_PORT, 0xeb, 0xfe};
        memcpy(v->ram + AT_STUBS + 16 * n, stub, sizeof(stub));
    }
}

static void put_idt(struct vm *v, enum vcpu_mode m)
{
    for (unsigned n = 0; n < 32; n++) {
        u32 target = AT_STUBS + 16 * n;
        u8 *gate = v->ram + AT_IDT + (m == VCPU_64 ? 16 * n : m == VCPU_REAL ? 4 * n : 8 * n);
        if (m == VCPU_REAL) {
            put_u32(gate, target);
            continue;
        }
        put_u32(gate, (target & 0xffff) | (m == VCPU_64 ? SEL_CODE64 : SEL_CODE32) << 16);
        put_u32(gate + 4, 0x8e00 | (target & 0xffff0000));
        if (m == VCPU_64)
            put_u64(gate + 8, 0);
    }
}

/* Identity, 4 KiB pages, writable, for everybody: table n covers 2 or 4 MiB. */
static void put_tables(struct vm *v, enum vcpu_mode m)
{
    u8 *t = v->ram + AT_TABLES;
    memset(t, 0, 0x8000);
    if (m == VCPU_32_PAGED) {
        put_u32(t, (AT_TABLES + 0x1000) | 7);
        for (u32 n = 0; n < 1024; n++)
            put_u32(t + 0x1000 + 4 * n, n << 12 | 7);
        return;
    }
    /* PAE uses the second of these as its page-directory-pointer table. */
    put_u64(t, (AT_TABLES + 0x1000) | 7);
    put_u64(t + 0x1000, (AT_TABLES + 0x2000) | (m == VCPU_PAE ? 1 : 7));
    put_u64(t + 0x2000, (AT_TABLES + 0x3000) | 7);
    put_u64(t + 0x2008, (AT_TABLES + 0x4000) | 7);
    for (u64 n = 0; n < 1024; n++)
        put_u64(t + 0x3000 + 8 * n, n << 12 | 7);
}

void *vcpu_pte(struct vm *v, enum vcpu_mode m, u64 linear)
{
    if (m == VCPU_32_PAGED)
        return v->ram + AT_TABLES + 0x1000 + 4 * (linear >> 12);
    return v->ram + AT_TABLES + 0x3000 + 8 * (linear >> 12);
}

static struct cpu_seg seg(u16 sel, u32 attr)
{
    return (struct cpu_seg){.sel = sel, .attr = attr, .limit = 0xffffffff};
}

static void set_registers(struct cpu *c, enum vcpu_mode m)
{
    c->cr0 |= CR0_ET | CR0_NE;
    if (m == VCPU_REAL)
        return;
    c->cr0 |= CR0_PE | CR0_WP;
    if (m == VCPU_32)
        return;
    c->cr0 |= CR0_PG;
    c->cr3 = m == VCPU_PAE ? AT_TABLES + 0x1000 : AT_TABLES;
    if (m == VCPU_32_PAGED) {
        c->cr4 |= CR4_PSE;
        return;
    }
    c->cr4 |= CR4_PAE | CR4_OSFXSR;
    c->efer |= EFER_NX;
    if (m == VCPU_64)
        c->efer |= EFER_LME | EFER_LMA;
}

void vcpu_mode(struct vm *v, unsigned n, enum vcpu_mode m)
{
    struct cpu *c = v->cpu[n];
    cpu_reset(c, true);
    c->activity = CPU_ACTIVE;
    atomic_store(&c->request, 0);
    set_registers(c, m);
    put_gdt(v);
    put_idt(v, m);
    put_stubs(v);
    if (m > VCPU_32)
        put_tables(v, m);
    if (m == VCPU_PAE && !mmu_load_pdptes(c, c->cr3))
        abort();
    c->gdtr[0] = (struct cpu_seg){.base = AT_GDT, .limit = 0xff};
    c->idtr[0] = (struct cpu_seg){.base = AT_IDT, .limit = 0xfff};
    for (unsigned s = 0; m != VCPU_REAL && s < SEG_COUNT; s++)
        c->seg[s] = seg(SEL_DATA, DATA_ATTR);
    if (m == VCPU_REAL)
        c->seg[SEG_CS] = (struct cpu_seg){.attr = DA_P | DA_S | DA_CODE | DA_WRITE | DA_ACCESSED, .limit = 0xffff};
    else if (m == VCPU_64)
        c->seg[SEG_CS] = seg(SEL_CODE64, CODE_ATTR | DA_L | DA_G);
    else
        c->seg[SEG_CS] = seg(SEL_CODE32, CODE_ATTR | DA_DB | DA_G);
    c->tr[0] = (struct cpu_seg){.sel = SEL_TSS, .base = AT_TSS, .limit = 0x67, .attr = DA_P | 11 << DA_TYPE_SHIFT};
    put_u64(v->ram + AT_TSS + 4, m == VCPU_64 ? AT_STACK : AT_STACK | (u64)SEL_DATA << 32);
    c->gpr[R_SP] = AT_STACK - 0x400 * n;
    c->gpr[REG_RIP] = AT_CODE;
    cpu_derive(c);
    mmu_flush_all(c);
}

void vcpu_user(struct vm *v, unsigned n)
{
    struct cpu *c = v->cpu[n];
    for (unsigned s = 0; s < SEG_COUNT; s++)
        c->seg[s] = seg(SEL_UDATA, DATA_ATTR | 3 << DA_DPL_SHIFT);
    bool mode64 = c->mode == ISA_64;
    c->seg[SEG_CS] =
        seg(mode64 ? SEL_UCODE64 : SEL_UCODE32, CODE_ATTR | DA_G | (mode64 ? DA_L : DA_DB) | 3 << DA_DPL_SHIFT);
    c->cpl = 3;
    c->rflags |= 3 << RF_IOPL_SHIFT;
    cpu_derive(c);
    mmu_flush_all(c);
}

u32 vcpu_go(struct vm *v, unsigned n)
{
    if (engine_find("interp")->run(v->cpu[n]) == ENGINE_SHUTDOWN)
        return ~0u;
    return v->code;
}

u32 vcpu_run(struct vm *v, unsigned n, const u8 *code, const u8 *end)
{
    mem_write(v->mem, AT_CODE, code, (u64)(end - code));
    v->cpu[n]->gpr[REG_RIP] = AT_CODE;
    v->cpu[n]->cur = NULL;
    return vcpu_go(v, n);
}
