/*
 * The faster forms of instructions (cpu/sem/hot.h) and the fused pairs against the general ones: random programs run in
 * blocks and then one instruction at a time, where only general functions are used. Registers, flags and memory must
 * come out the same.
 *
 * The seed is printed; RING3_TEST_SEED takes another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../seed.h"
#include "cpu/mmu.h"
#include "vcpu.h"

#define PROGRAMS 500
#define INSNS    24
#define AT_MEM   0x50000
#define MEM_SIZE 0x2000

static u64 seed;

static u32 random_u32(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(seed >> 33);
}

/* Opcode bytes, the /digit or -1 for a register, immediate bytes; all with a REX prefix and a ModRM byte. */
static const struct {
    u8 size, op[2];
    int digit;
    u8 imm;
    bool reg_only, mem_only;
} forms[] = {
    {1, {0x8b}, -1, 0},       {1, {0x89}, -1, 0},
    {1, {0x8a}, -1, 0},       {1, {0x88}, -1, 0},
    {2, {0x0f, 0xb6}, -1, 0}, {2, {0x0f, 0xb7}, -1, 0},
    {2, {0x0f, 0xbe}, -1, 0}, {2, {0x0f, 0xbf}, -1, 0},
    {1, {0x63}, -1, 0},       {1, {0x03}, -1, 0},
    {1, {0x0b}, -1, 0},       {1, {0x13}, -1, 0},
    {1, {0x1b}, -1, 0},       {1, {0x23}, -1, 0},
    {1, {0x2b}, -1, 0},       {1, {0x33}, -1, 0},
    {1, {0x01}, -1, 0},       {1, {0x09}, -1, 0},
    {1, {0x11}, -1, 0},       {1, {0x19}, -1, 0},
    {1, {0x21}, -1, 0},       {1, {0x29}, -1, 0},
    {1, {0x31}, -1, 0},       {1, {0x3a}, -1, 0},
    {1, {0x3b}, -1, 0},       {1, {0x38}, -1, 0},
    {1, {0x39}, -1, 0},       {1, {0x80}, 7, 1},
    {1, {0x80}, 4, 1},        {1, {0x83}, 7, 1},
    {1, {0x81}, 7, 4},        {1, {0xf6}, 0, 1},
    {1, {0xf7}, 0, 4},        {1, {0x84}, -1, 0},
    {1, {0x85}, -1, 0},       {1, {0xc6}, 0, 1},
    {1, {0xc7}, 0, 4},        {1, {0x8d}, -1, 0, .mem_only = true},
    {1, {0xff}, 0, 0},        {1, {0xff}, 1, 0},
    {1, {0xf7}, 2, 0},        {1, {0xf7}, 3, 0},
    {1, {0x83}, 0, 1},        {1, {0x83}, 1, 1},
    {1, {0x83}, 2, 1},        {1, {0x83}, 3, 1},
    {1, {0x83}, 4, 1},        {1, {0x83}, 5, 1},
    {1, {0x83}, 6, 1},        {1, {0x81}, 5, 4},
    {1, {0xc1}, 4, 1},        {1, {0xc1}, 5, 1},
    {1, {0xc1}, 7, 1},        {1, {0xd3}, 4, 0},
    {1, {0xd3}, 5, 0},        {1, {0xd3}, 7, 0},
    {1, {0xd1}, 4, 0},        {1, {0xd1}, 5, 0},
    {1, {0xd1}, 7, 0},        {2, {0x0f, 0xaf}, -1, 0},
    {1, {0x6b}, -1, 1},       {1, {0x69}, -1, 4},
    {2, {0x0f, 0x1f}, 0, 0},  {1, {0xb8}, 0, 4, .reg_only = true},
    {2, {0x0f, 0x40}, -1, 0}, {2, {0x0f, 0x90}, 0, 0}, /* conditions: a number from 0 to 15 is added */
};

struct program {
    u8 code[2048];
    unsigned len;
};

static void put(struct program *p, u8 byte)
{
    p->code[p->len++] = byte;
}

/* Not RSP, RBX (base of the memory) or R12 (index). */
static unsigned random_reg(void)
{
    static const u8 regs[] = {0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 14, 15};
    return regs[random_u32() % ARRAY_SIZE(regs)];
}

/* [rbx+disp8] or [rbx+r12+disp8], with a displacement that may cross a page, now and then relative to GS. */
static void put_insn(struct program *p)
{
    unsigned f = random_u32() % ARRAY_SIZE(forms), reg = random_reg(), rm = random_reg();
    bool mem = forms[f].mem_only || (!forms[f].reg_only && random_u32() % 2), index = mem && random_u32() % 3 == 0;
    if (mem && random_u32() % 4 == 0)
        put(p, 0x65);
    put(p, (u8)(0x40 | (random_u32() % 2) << 3 | (reg >> 3) << 2 | (index ? 2 : 0) | (mem ? 0 : rm >> 3)));
    if (forms[f].op[0] == 0xb8) {
        p->code[p->len - 1] &= (u8)~8; /* mov $imm32, %r32 */
        put(p, (u8)(0xb8 + (rm & 7)));
        put(p, (u8)random_u32()), put(p, 0), put(p, 0), put(p, (u8)random_u32());
        return;
    }
    bool condition = forms[f].op[0] == 0x0f && (forms[f].op[1] == 0x40 || forms[f].op[1] == 0x90);
    for (unsigned n = 0; n < forms[f].size; n++)
        put(p, (u8)(forms[f].op[n] + (condition && n ? random_u32() % 16 : 0)));
    unsigned field = forms[f].digit >= 0 ? (unsigned)forms[f].digit : reg & 7;
    if (!mem) {
        put(p, (u8)(0xc0 | field << 3 | (rm & 7)));
    } else {
        put(p, (u8)(0x40 | field << 3 | (index ? 4 : 3)));
        if (index)
            put(p, (u8)((random_u32() % 3) << 6 | 4 << 3 | 3));
        put(p, (u8)random_u32());
    }
    for (unsigned n = 0; n < forms[f].imm; n++)
        put(p, (u8)random_u32());
}

/* Jcc over an INC of R13, or a push and a pop, or nothing. */
static void put_extra(struct program *p)
{
    unsigned what = random_u32() % 4;
    if (what < 2) {
        put(p, (u8)(0x70 | random_u32() % 16));
        put(p, 3);
        put(p, 0x49), put(p, 0xff), put(p, 0xc5);
    } else if (what == 2) {
        put(p, (u8)(0x50 + random_u32() % 3));
        put(p, (u8)(0x58 + random_u32() % 3));
    }
}

static void random_program(struct program *p)
{
    p->len = 0;
    for (unsigned n = 0; n < INSNS; n++) {
        put_insn(p);
        put_extra(p);
    }
    /* call over nothing, and back */
    static const u8 end[] = {0xe8, 5, 0, 0, 0, 0xe6, STOP_PORT, 0x90, 0xeb, 0xfe, 0xc3};
    for (unsigned n = 0; n < sizeof(end); n++)
        put(p, end[n]);
}

struct outcome {
    u64 gpr[16];
    u64 rflags;
    u8 mem[MEM_SIZE];
};

static void run(struct vm *v, const struct program *p, const struct outcome *start, bool step, struct outcome *out)
{
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_64);
    memcpy(c->gpr, start->gpr, sizeof(start->gpr));
    mem_write(v->mem, AT_MEM, start->mem, MEM_SIZE);
    c->gpr[R_SP] = AT_STACK;
    c->gpr[R_BX] = AT_MEM + 0xfc0;
    c->gpr[12] = 0x11;
    c->seg[SEG_GS].base = 0x20;
    c->ax_flags = start->gpr[0] & 0xd501;
    cpu_derive(c);
    if (step) {
        /* A breakpoint that is never met: the processor has to be looked at after each instruction. */
        c->dr[0] = 0x7f000;
        c->dr[7] = 0x401;
        cpu_request(c, REQ_DEBUG);
    }
    vcpu_run(v, 0, p->code, p->code + p->len);
    memcpy(out->gpr, c->gpr, sizeof(out->gpr));
    out->rflags = cpu_rflags(c);
    memcpy(out->mem, v->ram + AT_MEM, MEM_SIZE);
}

static void test_programs(void **state)
{
    static struct vm v;
    static struct outcome start, blocks, steps;
    struct program p;
    assert_int_equal(vm_create(&v, MiB(8), 1), 0);
    for (unsigned n = 0; n < PROGRAMS; n++) {
        random_program(&p);
        for (unsigned r = 0; r < 16; r++)
            start.gpr[r] = (u64)random_u32() << 32 | random_u32() >> (random_u32() % 32);
        for (unsigned m = 0; m < MEM_SIZE; m += 4)
            put_u32(start.mem + m, random_u32());
        run(&v, &p, &start, false, &blocks);
        run(&v, &p, &start, true, &steps);
        assert_int_equal(v.code & 0xff, steps.gpr[0] & 0xff);
        if (memcmp(&blocks, &steps, sizeof(blocks)) == 0)
            continue;
        for (unsigned r = 0; r < 16; r++)
            assert_int_equal(blocks.gpr[r], steps.gpr[r]);
        assert_int_equal(blocks.rflags, steps.rflags);
        assert_memory_equal(blocks.mem, steps.mem, MEM_SIZE);
    }
    assert_true(v.cpu[0]->tlb->stats.walks > 0);
    vm_destroy(&v);
}

int main(void)
{
    seed = seed_choose();
    printf("seed %llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_programs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
