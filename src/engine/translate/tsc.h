/*
 * RDTSC and RDTSCP without leaving translated code: a C function is called that reads the virtual clock, with the
 * guest's vector and x87 registers in place. What it calls is compiled to leave those alone (meson.build); the C
 * library's clock and the kernel's vDSO behind it do so of themselves. Internal to engine/translate.
 */
#ifndef ENGINE_TRANSLATE_TSC_H
#define ENGINE_TRANSLATE_TSC_H

#include "engine/translate/glue.h"

struct emit;

/* Makes glue->tsc; words of the frame that it needs. */
void tsc_make(struct glue *g, struct emit *e);
void tsc_init_frame(struct cpu *c);

/* As cpu_tsc. */
u64 tsc_read(struct cpu *c);

#endif
