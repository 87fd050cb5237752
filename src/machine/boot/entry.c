/* See entry.h. SDM volume 3: 3.4.5 (descriptors), 11.11 (MTRRs). */
#include "machine/boot/entry.h"

#include "cpu/cpu.h"
#include "cpu/mmu.h"
#include "cpu/model.h"
#include "machine/board.h"

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define GDT_LIMIT     (4 * 8 - 1)

#define TYPE_CODE     (DA_CODE | DA_WRITE | DA_ACCESSED)
#define TYPE_DATA     (DA_WRITE | DA_ACCESSED)
#define TYPE_BUSY_TSS (0xbu << DA_TYPE_SHIFT)
#define FLAT          (DA_P | DA_S | DA_G)

static void set_segments(struct cpu *c, const struct boot_entry *e)
{
    const struct cpu_seg data = {.sel = SELECTOR_DATA, .attr = FLAT | TYPE_DATA | DA_DB, .limit = UINT32_MAX};

    for (unsigned i = 0; i < ARRAY_SIZE(c->seg); i++)
        c->seg[i] = data;
    c->seg[SEG_CS].sel = SELECTOR_CODE;
    c->seg[SEG_CS].attr = FLAT | TYPE_CODE | (e->mode == BOOT_LONG ? DA_L : DA_DB);
    c->tr[0] = (struct cpu_seg){.attr = DA_P | TYPE_BUSY_TSS, .limit = 0x67};
    c->gdtr[0] = (struct cpu_seg){.base = e->gdt, .limit = GDT_LIMIT};
    c->idtr[0] = (struct cpu_seg){0};
}

void boot_enter(struct cpu *c, const struct boot_entry *e)
{
    set_segments(c, e);
    c->cr0 = CR0_PE | CR0_ET;
    if (e->mode == BOOT_LONG) {
        c->cr0 |= CR0_PG;
        c->cr3 = e->cr3;
        c->cr4 = CR4_PAE;
        c->efer = EFER_LME | EFER_LMA;
    }
    c->gpr[R_AX] = e->rax;
    c->gpr[R_BX] = e->rbx;
    c->gpr[R_DX] = 0;
    c->gpr[R_SI] = e->rsi;
    cpu_derive(c);
    mmu_flush_all(c);
    cpu_jump(c, e->rip);
}

enum { MTRR_UC = 0, MTRR_WP = 5, MTRR_WB = 6 };
#define MTRR_ALL(type)  ((type)*0x0101010101010101ull)
#define MTRR_VALID      BIT64(11)
#define MTRR_DEF_FIXED  BIT64(10)
#define MTRR_DEF_ENABLE BIT64(11)

void boot_set_mtrrs(struct cpu *c, u64 hole)
{
    u64 address_bits = BIT64(c->model->physical_bits) - 1;

    /* Fixed ranges: 64K from 0, 16K from 0x80000 and 0xa0000, 4K from 0xc0000. */
    c->mtrr_fixed[0] = c->mtrr_fixed[1] = MTRR_ALL(MTRR_WB);
    c->mtrr_fixed[2] = MTRR_ALL(MTRR_UC);
    for (unsigned i = 3; i < ARRAY_SIZE(c->mtrr_fixed); i++)
        c->mtrr_fixed[i] = MTRR_ALL(MTRR_WP);
    c->mtrr_var[0] = hole | MTRR_UC;
    c->mtrr_var[1] = (address_bits & ~(GiB(4) - hole - 1)) | MTRR_VALID;
    c->mtrr_def = MTRR_DEF_ENABLE | MTRR_DEF_FIXED | MTRR_WB;
}
