/*
 * The rows and the operand kinds as data: isa_rows, isa_kinds. Both come straight from isa/table.
 */
#include "isa/insn.h"

const struct isa_kind isa_kinds[OPK_COUNT] = {
#define OPERAND(kind, slot, file, size, flags) [OPK_##kind] = {#kind, slot, file, size, flags},
#include "isa/table/operand.def"
#undef OPERAND
};

/* Flag sets of a row travel as one number: twelve bits each (FL_* end at bit 11). */
#define FR(set)            ((u64)FL_##set)
#define FW(set)            ((u64)FL_##set << 12)
#define FU(set)            ((u64)FL_##set << 24)
#define F0(set)            ((u64)FL_##set << 36)
#define F1(set)            ((u64)FL_##set << 48)
#define FLAG_SET(flags, n) ((u32)((u64)(flags) >> (12 * (n)) & 0xfff))

#define RD(k)     {OPK_##k, ACC_R},
#define WR(k)     {OPK_##k, ACC_W},
#define RW(k)     {OPK_##k, ACC_RW},
#define NA(k)     {OPK_##k, 0},
#define IMP_RD(k) {OPK_##k, ACC_R | ACC_IMPLICIT},
#define IMP_WR(k) {OPK_##k, ACC_W | ACC_IMPLICIT},
#define IMP_RW(k) {OPK_##k, ACC_RW | ACC_IMPLICIT},

#define INSN(name_, mnemonic_, encoding_, operands_, flags_, feature_, attrs_, semantics_, treat_)                     \
    [INSN_##name_] = {                                                                                                 \
        .mnemonic = mnemonic_,                                                                                         \
        .name = #name_,                                                                                                \
        .operand = {operands_},                                                                                        \
        .flags_read = FLAG_SET(flags_, 0),                                                                             \
        .flags_written = FLAG_SET(flags_, 1),                                                                          \
        .flags_undefined = FLAG_SET(flags_, 2),                                                                        \
        .flags_cleared = FLAG_SET(flags_, 3),                                                                          \
        .flags_set = FLAG_SET(flags_, 4),                                                                              \
        .attrs = attrs_,                                                                                               \
        .feature = FEAT_##feature_,                                                                                    \
        .treat = TREAT_##treat_,                                                                                       \
        .operands = sizeof((const u8[][2]){operands_}) / 2,                                                            \
    },

const struct isa_row isa_rows[] = {
#include "isa/table/all.def"
};
const unsigned isa_row_count = INSN_COUNT;
