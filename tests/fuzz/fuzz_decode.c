/*
 * Fuzz target: decoder, operands and disassembly. First byte: mode and, for half of the inputs, an odd set of features;
 * the rest is decoded instruction by instruction. Aborts where an instruction breaks a promise of isa/insn.h.
 */
#include <stdlib.h>
#include <string.h>

#include "isa/operand.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_operands(const struct insn *i)
{
    for (unsigned n = 0; n < isa_rows[i->row].operands; n++) {
        struct isa_operand o = insn_operand(i, n);
        require(o.type != OPERAND_NONE);
        require(o.base <= REG_RIP && o.index <= REG_ZERO && o.scale <= 3 && o.seg < SEG_COUNT);
        require(o.file != FILE_VEC && (o.file == FILE_GPR8 ? o.reg <= 0x13 : o.reg <= 15));
        (void)insn_operand_visible(i, n);
    }
}

static void check(const struct insn *i)
{
    char text[128], little[8];
    require(i->len >= 1 && i->len <= 15);
    require(i->row < isa_row_count);
    require(i->opsize == 1 || i->opsize == 2 || i->opsize == 4 || i->opsize == 8);
    require(i->ashift == 0 || i->ashift == 32 || i->ashift == 48);
    require(i->base <= REG_RIP && i->index <= REG_ZERO && i->scale <= 3 && i->seg < SEG_COUNT);
    require(!i->lock || i->mem);
    check_operands(i);
    (void)insn_mem_size(i);
    int length = insn_format(i, 0xfffffffffffffff0u, text, sizeof(text));
    require(length > 0 && (size_t)length < sizeof(text) && strlen(text) == (size_t)length);
    require(insn_format(i, 0xfffffffffffffff0u, little, sizeof(little)) == length);
    require(insn_format(i, 0xfffffffffffffff0u, NULL, 0) == length);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const enum isa_mode modes[] = {ISA_16, ISA_32, ISA_64, ISA_64};
    struct isa_features features = {.word = {~0ull}};
    if (!size)
        return 0;
    enum isa_mode mode = modes[data[0] & 3];
    if (data[0] & 4)
        features.word[0] = data[0] * 0x0123456789abcdefu;
    const u8 *p = data + 1, *end = data + size;
    while (p < end) {
        struct insn i;
        enum insn_status status = insn_decode(p, (size_t)(end - p), mode, &features, &i);
        if (status == INSN_SHORT)
            require(end - p < 15);
        if (status == INSN_TOO_LONG)
            require(end - p >= 15);
        if (status == INSN_OK)
            check(&i);
        p += status == INSN_OK ? i.len : 1;
    }
    return 0;
}
