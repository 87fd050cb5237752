/*
 * The decoder and the disassembler on hand-made cases: one table of bytes and text, one of bytes that are no
 * instruction, and the fields of struct insn that text does not show. The wide comparison is tests/insn/zydis.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "isa/operand.h"

static struct isa_features all_features(void)
{
    struct isa_features f = {{0}};
    for (unsigned n = 0; n < FEAT_COUNT; n++)
        isa_set(&f, n);
    return f;
}

static size_t from_hex(const char *hex, u8 *bytes)
{
    size_t n = 0;
    for (char *end; *hex; hex = end) {
        bytes[n++] = (u8)strtoul(hex, &end, 16);
        while (*end == ' ')
            end++;
    }
    return n;
}

/* Decodes what must be an instruction of exactly these bytes. */
static struct insn decode(enum isa_mode mode, const char *hex)
{
    struct isa_features f = all_features();
    struct insn i;
    u8 bytes[32];
    size_t size = from_hex(hex, bytes);
    enum insn_status status = insn_decode(bytes, size, mode, &f, &i);
    if (status != INSN_OK || i.len != size)
        fail_msg("%d-bit %s: status %d, length %u", mode * 8, hex, status, i.len);
    return i;
}

static enum insn_status status_of(enum isa_mode mode, const char *hex)
{
    struct isa_features f = all_features();
    struct insn i;
    u8 bytes[32];
    size_t size = from_hex(hex, bytes);
    return insn_decode(bytes, size, mode, &f, &i);
}

/* At address 0x1000. */
static const struct {
    enum isa_mode mode;
    const char *hex, *text;
} texts[] = {
    /* operand and address size */
    {ISA_16, "01 d8", "add ax, bx"},
    {ISA_16, "66 01 d8", "add eax, ebx"},
    {ISA_32, "01 d8", "add eax, ebx"},
    {ISA_32, "66 01 d8", "add ax, bx"},
    {ISA_64, "01 d8", "add eax, ebx"},
    {ISA_64, "66 01 d8", "add ax, bx"},
    {ISA_64, "48 01 d8", "add rax, rbx"},
    {ISA_64, "66 48 01 d8", "add rax, rbx"},
    {ISA_64, "4d 01 c7", "add r15, r8"},
    {ISA_64, "67 8b 00", "mov eax, dword ptr [eax]"},
    {ISA_32, "67 8b 00", "mov eax, dword ptr [bx+si*1]"},
    {ISA_16, "67 8b 00", "mov ax, word ptr [eax]"},
    /* REX counts only directly before the opcode */
    {ISA_64, "48 66 01 d8", "add ax, bx"},
    {ISA_64, "41 48 01 d8", "add rax, rbx"},
    {ISA_32, "48", "dec eax"},
    /* byte registers */
    {ISA_64, "00 e1", "add cl, ah"},
    {ISA_64, "40 00 e1", "add cl, spl"},
    {ISA_64, "45 00 fe", "add r14b, r15b"},
    {ISA_64, "b7 01", "mov bh, 0x1"},
    {ISA_64, "40 b7 01", "mov dil, 0x1"},
    /* 16-bit addresses */
    {ISA_16, "8b 07", "mov ax, word ptr [bx]"},
    {ISA_16, "8b 46 fe", "mov ax, word ptr [bp-0x2]"},
    {ISA_16, "8b 0e 34 12", "mov cx, word ptr [0x1234]"},
    {ISA_16, "8b 83 00 80", "mov ax, word ptr [bp+di*1-0x8000]"},
    {ISA_16, "26 8b 46 00", "mov ax, word ptr es:[bp]"},
    {ISA_16, "36 8b 46 00", "mov ax, word ptr [bp]"},
    {ISA_16, "26 2e 8b 07", "mov ax, word ptr cs:[bx]"},
    /* 32- and 64-bit addresses */
    {ISA_32, "8b 05 78 56 34 12", "mov eax, dword ptr [0x12345678]"},
    {ISA_32, "8b 45 00", "mov eax, dword ptr [ebp]"},
    {ISA_32, "3e 8b 45 00", "mov eax, dword ptr ds:[ebp]"},
    {ISA_32, "8b 04 24", "mov eax, dword ptr [esp]"},
    {ISA_32, "8b 04 8d 00 00 00 80", "mov eax, dword ptr [ecx*4-0x80000000]"},
    {ISA_64, "8b 05 00 00 00 10", "mov eax, dword ptr [0x10001006]"},
    {ISA_64, "67 8b 05 00 f0 ff ff", "mov eax, dword ptr [0x7]"},
    {ISA_64, "8b 04 25 00 00 ff ff", "mov eax, dword ptr [0xffffffffffff0000]"},
    {ISA_64, "41 8b 04 25 00 00 00 01", "mov eax, dword ptr [0x1000000]"},
    {ISA_64, "41 8b 45 00", "mov eax, dword ptr [r13]"},
    {ISA_64, "43 8b 44 a5 01", "mov eax, dword ptr [r13+r12*4+0x1]"},
    {ISA_64, "42 8b 04 20", "mov eax, dword ptr [rax+r12*1]"},
    {ISA_64, "64 8b 04 25 10 00 00 00", "mov eax, dword ptr fs:[0x10]"},
    {ISA_64, "64 2e 8b 00", "mov eax, dword ptr fs:[rax]"},
    {ISA_64, "2e 8b 00", "mov eax, dword ptr [rax]"},
    {ISA_64, "48 a1 88 77 66 55 44 33 22 11", "mov rax, qword ptr [0x1122334455667788]"},
    {ISA_64, "67 a0 44 33 22 11", "mov al, byte ptr [0x11223344]"},
    {ISA_64, "8d 44 08 10", "lea eax, [rax+rcx*1+0x10]"},
    /* immediates */
    {ISA_64, "48 83 c0 ff", "add rax, 0xffffffffffffffff"},
    {ISA_64, "66 83 c0 ff", "add ax, 0xffff"},
    {ISA_64, "48 05 00 00 00 80", "add rax, 0xffffffff80000000"},
    {ISA_64, "48 b8 88 77 66 55 44 33 22 11", "mov rax, 0x1122334455667788"},
    {ISA_64, "66 b8 34 12", "mov ax, 0x1234"},
    {ISA_64, "c8 34 12 05", "enter 0x1234, 0x5"},
    {ISA_64, "d1 e0", "shl eax, 0x1"},
    {ISA_32, "82 c0 05", "add al, 0x5"},
    /* stack and branches in 64-bit code */
    {ISA_64, "50", "push rax"},
    {ISA_64, "41 50", "push r8"},
    {ISA_64, "66 50", "push ax"},
    {ISA_64, "6a ff", "push 0xffffffffffffffff"},
    {ISA_64, "66 6a ff", "push 0xffff"},
    {ISA_64, "e8 00 00 00 00", "call 0x1005"},
    {ISA_64, "66 e8 00 00 00 00", "call 0x1006"},
    {ISA_32, "66 e9 ff ff", "jmp 0x1003"},
    {ISA_16, "e9 00 f0", "jmp 0x3"},
    {ISA_16, "eb 80", "jmp 0xf82"},
    {ISA_64, "74 fe", "jz 0x1000"},
    {ISA_64, "ff e0", "jmp rax"},
    {ISA_64, "e3 00", "jrcxz 0x1002"},
    {ISA_64, "67 e3 00", "jecxz 0x1003"},
    {ISA_16, "e3 00", "jcxz 0x1002"},
    /* NOP and what shares its opcode */
    {ISA_64, "90", "nop"},
    {ISA_64, "48 90", "nop"},
    {ISA_64, "f3 90", "pause"},
    {ISA_64, "f3 41 90", "pause"},
    {ISA_64, "41 90", "xchg r8d, eax"},
    {ISA_64, "49 90", "xchg r8, rax"},
    {ISA_32, "91", "xchg ecx, eax"},
    /* mandatory prefixes */
    {ISA_64, "0f 10 c1", "movups xmm0, xmm1"},
    {ISA_64, "66 0f 10 c1", "movupd xmm0, xmm1"},
    {ISA_64, "f3 0f 10 c1", "movss xmm0, xmm1"},
    {ISA_64, "66 f3 0f 10 c1", "movss xmm0, xmm1"},
    {ISA_64, "f3 f2 0f 10 c1", "movsd xmm0, xmm1"},
    {ISA_64, "f2 f3 0f 10 c1", "movss xmm0, xmm1"},
    {ISA_64, "f3 66 44 0f 10 08", "movss xmm9, dword ptr [rax]"},
    {ISA_64, "f3 0f bd c1", "lzcnt eax, ecx"},
    {ISA_64, "0f bd c1", "bsr eax, ecx"},
    {ISA_64, "66 f3 0f bd c1", "lzcnt ax, cx"},
    {ISA_64, "0f 38 f0 00", "movbe eax, dword ptr [rax]"},
    {ISA_64, "66 0f 38 f0 00", "movbe ax, word ptr [rax]"},
    {ISA_64, "f2 0f 38 f0 00", "crc32 eax, byte ptr [rax]"},
    {ISA_64, "66 f2 0f 38 f1 c1", "crc32 eax, cx"},
    {ISA_64, "f2 48 0f 38 f1 c1", "crc32 rax, rcx"},
    {ISA_64, "66 0f 38 f6 c1", "adcx eax, ecx"},
    {ISA_64, "66 48 0f 6e c0", "movq xmm0, rax"},
    {ISA_64, "66 0f 6e c0", "movd xmm0, eax"},
    /* LOCK and REP */
    {ISA_64, "f0 01 18", "lock add dword ptr [rax], ebx"},
    {ISA_64, "f0 48 0f c7 08", "lock cmpxchg16b xmmword ptr [rax]"},
    {ISA_64, "f0 87 18", "lock xchg dword ptr [rax], ebx"},
    {ISA_64, "f3 a4", "rep movsb"},
    {ISA_64, "f3 48 ab", "rep stosq"},
    {ISA_32, "f2 ae", "repne scasb"},
    {ISA_32, "f3 a6", "repe cmpsb"},
    /* VEX */
    {ISA_64, "c5 f8 58 c1", "vaddps xmm0, xmm0, xmm1"},
    {ISA_64, "c5 7c 58 c1", "vaddps ymm8, ymm0, ymm1"},
    {ISA_64, "c4 41 38 58 c1", "vaddps xmm8, xmm8, xmm9"},
    {ISA_32, "c5 f8 58 c1", "vaddps xmm0, xmm0, xmm1"},
    {ISA_32, "c4 c1 78 58 c1", "vaddps xmm0, xmm0, xmm1"},
    {ISA_32, "c4 00", "les eax, fword ptr [eax]"},
    {ISA_16, "c5 07", "lds ax, dword ptr [bx]"},
    {ISA_64, "c4 e2 78 f2 c1", "andn eax, eax, ecx"},
    {ISA_64, "c4 e2 f8 f2 c1", "andn rax, rax, rcx"},
    {ISA_32, "c4 e2 f8 f2 c1", "andn eax, eax, ecx"},
    {ISA_64, "c4 e3 79 4a c1 f0", "vblendvps xmm0, xmm0, xmm1, xmm15"},
    {ISA_32, "c4 e3 79 4a c1 f0", "vblendvps xmm0, xmm0, xmm1, xmm7"},
    {ISA_64, "c4 e2 f9 92 14 08", "vgatherdpd xmm2, qword ptr [rax+xmm1*1], xmm0"},
    {ISA_64, "c4 a2 f9 92 14 20", "vgatherdpd xmm2, qword ptr [rax+xmm12*1], xmm0"},
    {ISA_64, "c4 e2 f9 92 14 20", "vgatherdpd xmm2, qword ptr [rax+xmm4*1], xmm0"},
    /* x87, with a register in the fixed ModRM byte */
    {ISA_64, "d9 c3", "fld st3"},
    {ISA_64, "d8 c1", "fadd st0, st1"},
    {ISA_64, "dc c1", "fadd st1, st0"},
    {ISA_64, "de c9", "fmulp st1, st0"},
    {ISA_64, "db 28", "fld tbyte ptr [rax]"},
    {ISA_64, "df e0", "fnstsw ax"},
    /* hint NOPs and bytes without a documented meaning */
    {ISA_64, "0f 1f 44 00 00", "nop dword ptr [rax+rax*1]"},
    {ISA_64, "0f 0b", "ud2"},
    {ISA_32, "d6", "salc"},
    {ISA_64, "f1", "int1"},
    /* system */
    {ISA_64, "0f 20 c0", "mov rax, cr0"},
    {ISA_64, "0f 20 00", "mov rax, cr0"},
    {ISA_64, "44 0f 20 c0", "mov rax, cr8"},
    {ISA_32, "0f 22 d8", "mov cr3, eax"},
    {ISA_64, "0f 21 3f", "mov rdi, dr7"},
    {ISA_64, "8c d8", "mov eax, ds"},
    {ISA_64, "8c 18", "mov word ptr [rax], ds"},
    {ISA_64, "0f 01 f8", "swapgs"},
    {ISA_64, "0f 01 10", "lgdt tbyte ptr [rax]"},
    {ISA_32, "0f 01 10", "lgdt fword ptr [eax]"},
};

static void test_text(void **state)
{
    for (size_t n = 0; n < ARRAY_SIZE(texts); n++) {
        char text[128];
        struct insn i = decode(texts[n].mode, texts[n].hex);
        insn_format(&i, 0x1000, text, sizeof(text));
        if (strcmp(text, texts[n].text) != 0)
            fail_msg("%d-bit %s: \"%s\", expected \"%s\"", texts[n].mode * 8, texts[n].hex, text, texts[n].text);
    }
}

static const struct {
    enum isa_mode mode;
    const char *hex;
    enum insn_status status;
} failures[] = {
    /* LOCK where it may not be */
    {ISA_64, "f0 01 d8", INSN_UD},
    {ISA_64, "f0 8b 00", INSN_UD},
    {ISA_64, "f0 39 18", INSN_UD},
    {ISA_64, "f0 03 00", INSN_UD},
    {ISA_64, "f0 90", INSN_UD},
    {ISA_64, "f0 0f 20 c0", INSN_UD},
    /* VEX after a prefix that it excludes; unused vvvv; maps that are none; L and W that the row excludes */
    {ISA_64, "66 c5 f8 58 c1", INSN_UD},
    {ISA_64, "f2 c5 f8 58 c1", INSN_UD},
    {ISA_64, "f3 c5 f8 58 c1", INSN_UD},
    {ISA_64, "f0 c5 f8 58 c1", INSN_UD},
    {ISA_64, "40 c5 f8 58 c1", INSN_UD},
    {ISA_64, "c5 f0 51 c1", INSN_UD},
    {ISA_64, "c4 e0 78 58 c1", INSN_UD},
    {ISA_64, "c4 e4 78 58 c1", INSN_UD},
    {ISA_64, "c4 e2 7c f2 c1", INSN_UD},
    /* gathers: no SIB byte; index, mask and destination the same register; 16-bit addresses */
    {ISA_64, "c4 e2 f9 92 10", INSN_UD},
    {ISA_64, "c4 e2 f9 92 14 10", INSN_UD},
    {ISA_64, "c4 e2 e9 92 14 08", INSN_UD},
    {ISA_64, "c4 e2 f1 92 14 08", INSN_UD},
    {ISA_16, "c4 e2 f9 92 14 08", INSN_UD},
    /* registers that do not exist */
    {ISA_64, "0f 20 c8", INSN_UD},
    {ISA_64, "0f 20 e8", INSN_UD},
    {ISA_64, "44 0f 20 c8", INSN_UD},
    {ISA_64, "44 0f 21 c0", INSN_UD},
    {ISA_64, "8e c8", INSN_UD},
    {ISA_64, "8e f0", INSN_UD},
    {ISA_64, "8c f8", INSN_UD},
    /* memory only, register only, other modes */
    {ISA_64, "8d c0", INSN_UD},
    {ISA_32, "62 c0", INSN_UD},
    {ISA_32, "c4", INSN_SHORT},
    {ISA_64, "06", INSN_UD},
    {ISA_64, "27", INSN_UD},
    {ISA_64, "37", INSN_UD},
    {ISA_64, "60", INSN_UD},
    {ISA_64, "82 c0 05", INSN_UD},
    {ISA_64, "9a 00 00 00 00 00 00", INSN_UD},
    {ISA_64, "ce", INSN_UD},
    {ISA_64, "d4 0a", INSN_UD},
    {ISA_64, "d6", INSN_UD},
    {ISA_32, "0f 01 f8", INSN_UD},
    /* no such opcode, or not with that prefix */
    {ISA_64, "0f 04", INSN_UD},
    {ISA_64, "f3 0f 28 c1", INSN_UD},
    {ISA_64, "0f b8 c1", INSN_UD},
    {ISA_64, "f3 0f 38 f0 00", INSN_UD},
    {ISA_64, "c6 f8 00", INSN_UD},
    {ISA_64, "c7 f8 00 00 00 00", INSN_UD},
    /* 15 bytes and no more */
    {ISA_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", INSN_TOO_LONG},
    {ISA_64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 81 00 00 00 00 00", INSN_TOO_LONG},
    {ISA_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66", INSN_SHORT},
    /* cut off: after a prefix, opcode, ModRM, SIB, displacement, immediate */
    {ISA_64, "", INSN_SHORT},
    {ISA_64, "66", INSN_SHORT},
    {ISA_64, "48", INSN_SHORT},
    {ISA_64, "0f", INSN_SHORT},
    {ISA_64, "0f 38", INSN_SHORT},
    {ISA_64, "c5", INSN_SHORT},
    {ISA_64, "c4 e2", INSN_SHORT},
    {ISA_64, "c4 e2 78", INSN_SHORT},
    {ISA_64, "01", INSN_SHORT},
    {ISA_64, "8b 04", INSN_SHORT},
    {ISA_64, "8b 40", INSN_SHORT},
    {ISA_64, "8b 80 00 00 00", INSN_SHORT},
    {ISA_64, "81 c0 00 00", INSN_SHORT},
    {ISA_64, "48 b8 00 00 00 00 00 00 00", INSN_SHORT},
    {ISA_64, "c8 00 00", INSN_SHORT},
};

static void test_failures(void **state)
{
    for (size_t n = 0; n < ARRAY_SIZE(failures); n++) {
        enum insn_status status = status_of(failures[n].mode, failures[n].hex);
        if (status != failures[n].status)
            fail_msg("%d-bit %s: status %d, expected %d", failures[n].mode * 8, failures[n].hex, status,
                     failures[n].status);
    }
}

static void test_longest(void **state)
{
    struct insn i = decode(ISA_64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 81 c0 78 56 34 12");
    assert_int_equal(i.len, 15);
    assert_int_equal(i.imm, 0x12345678);
}

/* A row whose feature is missing does not exist, and what stands behind it shows. */
static void test_features(void **state)
{
    struct isa_features none = {{0}};
    struct insn i;
    static const u8 lzcnt[] = {0xf3, 0x0f, 0xbd, 0xc1}, popcnt[] = {0xf3, 0x0f, 0xb8, 0xc1},
                    cmov[] = {0x0f, 0x44, 0xc1};
    isa_set(&none, FEAT_BASE);
    assert_int_equal(insn_decode(lzcnt, sizeof(lzcnt), ISA_64, &none, &i), INSN_OK);
    assert_string_equal(isa_rows[i.row].mnemonic, "bsr");
    assert_int_equal(insn_decode(popcnt, sizeof(popcnt), ISA_64, &none, &i), INSN_UD);
    assert_int_equal(insn_decode(cmov, sizeof(cmov), ISA_64, &none, &i), INSN_UD);
}

static void test_sizes(void **state)
{
    assert_int_equal(decode(ISA_64, "00 d8").opsize, 1);
    assert_int_equal(decode(ISA_64, "a4").opsize, 1);
    assert_int_equal(decode(ISA_64, "ee").opsize, 1);
    assert_int_equal(decode(ISA_64, "0f b6 c0").opsize, 4);
    assert_int_equal(decode(ISA_64, "e8 00 00 00 00").opsize, 8);
    assert_int_equal(decode(ISA_64, "66 58").opsize, 2);
    assert_int_equal(decode(ISA_64, "8b 00").ashift, 0);
    assert_int_equal(decode(ISA_64, "67 8b 00").ashift, 32);
    assert_int_equal(decode(ISA_16, "8b 00").ashift, 48);
    struct insn movd = decode(ISA_64, "66 0f 6e c0");
    assert_int_equal(movd.opsize, 4);
    assert_true(movd.prefix66);
}

static void test_fields(void **state)
{
    struct insn i = decode(ISA_64, "88 e0");
    assert_int_equal(i.reg, 0x10);
    assert_int_equal(i.rm, 0);
    i = decode(ISA_64, "65 42 8b 84 e5 00 00 00 80");
    assert_true(i.mem);
    assert_int_equal(i.base, 5);
    assert_int_equal(i.index, 12);
    assert_int_equal(i.scale, 3);
    assert_int_equal(i.seg, SEG_GS);
    assert_int_equal(i.disp, -0x80000000ll);
    i = decode(ISA_64, "8b 05 fe ff ff ff");
    assert_int_equal(i.base, REG_RIP);
    assert_int_equal(i.index, REG_ZERO);
    assert_int_equal(i.disp, -2);
    i = decode(ISA_32, "9a 44 33 22 11 66 55");
    assert_int_equal(i.imm, 0x11223344);
    assert_int_equal(i.imm2, 0x5566);
    i = decode(ISA_64, "c8 34 12 05");
    assert_int_equal(i.imm, 0x1234);
    assert_int_equal(i.imm2, 5);
    i = decode(ISA_64, "2e a4");
    assert_int_equal(i.seg, SEG_DS);
    i = decode(ISA_32, "2e a4");
    assert_int_equal(i.seg, SEG_CS);
    i = decode(ISA_64, "c4 c2 05 96 07");
    assert_int_equal(i.vvvv, 15);
    assert_int_equal(i.vl, 1);
    assert_int_equal(i.base, 15);
    i = decode(ISA_64, "f3 01 d8");
    assert_int_equal(i.rep, 0);
    i = decode(ISA_64, "f2 f3 a4");
    assert_int_equal(i.rep, 0xf3);
}

static void test_memory_size(void **state)
{
    struct insn i = decode(ISA_64, "48 01 18");
    assert_int_equal(insn_mem_size(&i), 8);
    i = decode(ISA_64, "0f b6 00");
    assert_int_equal(insn_mem_size(&i), 1);
    i = decode(ISA_64, "c5 fc 58 00");
    assert_int_equal(insn_mem_size(&i), 32);
    i = decode(ISA_64, "66 0f 3a 14 00 01");
    assert_int_equal(insn_mem_size(&i), 1);
    i = decode(ISA_64, "66 0f 3a 14 c0 01");
    assert_int_equal(insn_mem_size(&i), 0);
    i = decode(ISA_64, "0f ae 00");
    assert_int_equal(insn_mem_size(&i), 0);
}

/* insn_format is snprintf to its caller. */
static void test_format_truncates(void **state)
{
    struct insn i = decode(ISA_64, "01 d8");
    char text[5] = "....";
    assert_int_equal(insn_format(&i, 0, text, sizeof(text)), 12);
    assert_string_equal(text, "add ");
    assert_int_equal(insn_format(&i, 0, NULL, 0), 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_longest),     cmocka_unit_test(test_features),
        cmocka_unit_test(test_sizes),       cmocka_unit_test(test_fields),
        cmocka_unit_test(test_memory_size), cmocka_unit_test(test_format_truncates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
