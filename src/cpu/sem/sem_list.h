/* Prototypes of all semantics, from the instruction table: every file of cpu/sem includes it, so that a function that
 * no row names is an error. */
#ifndef CPU_SEM_LIST_H
#define CPU_SEM_LIST_H

#include "isa/insn.h"

#define SEM(f)                                                                      insn_fn sem_##f;
#define SEM_RM(f)                                                                   SEM(f##_r) SEM(f##_m)
#define SEM_V(f)                                                                    SEM(f##_16) SEM(f##_32) SEM(f##_64)
#define SEM_VRM(f)                                                                  SEM(f##_16r) SEM(f##_16m) SEM_YRM(f)
#define SEM_Y(f)                                                                    SEM(f##_32) SEM(f##_64)
#define SEM_YRM(f)                                                                  SEM(f##_32r) SEM(f##_32m) SEM(f##_64r) SEM(f##_64m)
#define INSN(name, mnemonic, encoding, operands, flags, feature, attrs, sem, treat) sem
#include "isa/table/all.def"
#undef INSN
#undef SEM
#undef SEM_RM
#undef SEM_V
#undef SEM_VRM
#undef SEM_Y
#undef SEM_YRM

#endif
