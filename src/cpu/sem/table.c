/*
 * The dispatch table, made from the rows: for each row the function by operand size and register or memory form. Rows
 * whose attributes ask for checks get a wrapper of their own that makes them first.
 */
#include "cpu/sem/check.h"
#include "cpu/sem/sem.h"
#include "cpu/sem/sem_list.h"

/* The semantics column as two arguments: the shape of the family, and its name. */
#define SEM(f)                                                                      ONE, f
#define SEM_RM(f)                                                                   RM, f
#define SEM_V(f)                                                                    V, f
#define SEM_VRM(f)                                                                  VRM, f
#define SEM_Y(f)                                                                    Y, f
#define SEM_YRM(f)                                                                  YRM, f
#define INSN(name, mnemonic, encoding, operands, flags, feature, attrs, sem, treat) ROW(name, attrs, sem)
#define ROW(...)                                                                    ROW_(__VA_ARGS__)

/* First pass: the wrappers, checked_ROW_FORM. What no row needs, the compiler drops. */
#define ROW_(name, attrs, shape, f) WRAP_##shape(name, attrs, f)
#define WRAP_ONE(name, attrs, f)    WRAP(name##_, attrs, f)
#define WRAP_RM(name, attrs, f)     WRAP(name##_r, attrs, f##_r) WRAP(name##_m, attrs, f##_m)
#define WRAP_V(name, attrs, f)      WRAP(name##_16, attrs, f##_16) WRAP_Y(name, attrs, f)
#define WRAP_Y(name, attrs, f)      WRAP(name##_32, attrs, f##_32) WRAP(name##_64, attrs, f##_64)
#define WRAP_VRM(name, attrs, f)                                                                                       \
    WRAP(name##_16r, attrs, f##_16r) WRAP(name##_16m, attrs, f##_16m) WRAP_YRM(name, attrs, f)
#define WRAP_YRM(name, attrs, f)                                                                                       \
    WRAP(name##_32r, attrs, f##_32r)                                                                                   \
    WRAP(name##_32m, attrs, f##_32m) WRAP(name##_64r, attrs, f##_64r) WRAP(name##_64m, attrs, f##_64m)

/*
 * MMX state is entered last where the memory operand may still fault, and first elsewhere, so that EMMS can leave it.
 */
#define WRAP(id, attrs, f)                                                                                             \
    static void checked_##id(struct cpu *c, const struct insn *i)                                                      \
    {                                                                                                                  \
        sem_check(c, i, attrs);                                                                                        \
        if (((attrs)&A_MMX) && !i->mem)                                                                                \
            sem_enter_mmx(c);                                                                                          \
        sem_##f(c, i);                                                                                                 \
        if (((attrs)&A_MMX) && i->mem)                                                                                 \
            sem_enter_mmx(c);                                                                                          \
    }

#include "isa/table/all.def"
#undef ROW_

/* Second pass: the table. Forms in the order 16r 16m 32r 32m 64r 64m. */
#define ROW_(name, attrs, shape, f) [INSN_##name] = {FORMS_##shape(name, attrs, f)},
#define PICK(id, attrs, f)          ((attrs)&CHECK_ATTRS ? checked_##id : sem_##f)
#define FORMS_ONE(name, attrs, f)                                                                                      \
    PICK(name##_, attrs, f), PICK(name##_, attrs, f), PICK(name##_, attrs, f), PICK(name##_, attrs, f),                \
        PICK(name##_, attrs, f), PICK(name##_, attrs, f)
#define PAIR(name, attrs, f)     PICK(name##r, attrs, f##r), PICK(name##m, attrs, f##m)
#define FORMS_RM(name, attrs, f) PAIR(name##_, attrs, f##_), PAIR(name##_, attrs, f##_), PAIR(name##_, attrs, f##_)
#define FORMS_VRM(name, attrs, f)                                                                                      \
    PAIR(name##_16, attrs, f##_16), PAIR(name##_32, attrs, f##_32), PAIR(name##_64, attrs, f##_64)
#define FORMS_YRM(name, attrs, f)                                                                                      \
    PAIR(name##_32, attrs, f##_32), PAIR(name##_32, attrs, f##_32), PAIR(name##_64, attrs, f##_64)
#define TWICE(id, attrs, f) PICK(id, attrs, f), PICK(id, attrs, f)
#define FORMS_V(name, attrs, f)                                                                                        \
    TWICE(name##_16, attrs, f##_16), TWICE(name##_32, attrs, f##_32), TWICE(name##_64, attrs, f##_64)
#define FORMS_Y(name, attrs, f)                                                                                        \
    TWICE(name##_32, attrs, f##_32), TWICE(name##_32, attrs, f##_32), TWICE(name##_64, attrs, f##_64)

static insn_fn *const sem_table[INSN_COUNT][6] = {
#include "isa/table/all.def"
};

insn_fn *sem_lookup(const struct insn *i)
{
    unsigned size = i->opsize == 8 ? 2 : i->opsize == 4 ? 1 : 0;
    return sem_table[i->row][2 * size + (i->mem ? 1 : 0)];
}
