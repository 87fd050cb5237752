/*
 * A bare virtual processor for unit tests: RAM, a processor of every feature, no devices but a port to stop at.
 *
 * Guest code is assembled into the test with GUEST16, GUEST32 and GUEST64 and copied to where it runs. It ends with OUT
 * to port STOP_PORT.
 */
#ifndef TESTS_UNIT_VCPU_H
#define TESTS_UNIT_VCPU_H

#include "cpu/cpu.h"
#include "engine/engine.h"

#define STOP_PORT 0xf4
#define VCPU_MAX  4

/* Where the parts of the little system stand; all below 64 KiB, identity-mapped. */
#define AT_CODE   0x1000
#define AT_GDT    0x3000
#define AT_IDT    0x4000
#define AT_STUBS  0x5000 /* handlers: AL = vector, stop */
#define AT_TABLES 0x10000
#define AT_STACK  0x9000
#define AT_DATA   0xa000
#define AT_TSS    0x6000

enum {
    SEL_CODE64 = 0x08,
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_CODE16 = 0x20,
    SEL_UCODE64 = 0x2b,
    SEL_UDATA = 0x33,
    SEL_UCODE32 = 0x3b,
    SEL_TSS = 0x40
};

struct vm {
    struct loop *loop;
    struct mem_space *mem;
    struct world *world;
    struct cpu *cpu[VCPU_MAX];
    unsigned cpus;
    u8 *ram;
    struct mem_window stop;
    _Atomic u32 code; /* what was written to STOP_PORT last */
    _Atomic unsigned stops;
};

enum vcpu_mode { VCPU_REAL, VCPU_32, VCPU_32_PAGED, VCPU_PAE, VCPU_64 };

int vm_create(struct vm *v, u64 ram, unsigned cpus);
void vm_destroy(struct vm *v);

/* Supervisor mode of this kind, at AT_CODE with its stack at AT_STACK, identity-mapped (4 MiB) where paging is on. */
void vcpu_mode(struct vm *v, unsigned n, enum vcpu_mode m);
/* CPL 3 in the flat user segments of the same size. */
void vcpu_user(struct vm *v, unsigned n);

/* Copies code to AT_CODE and runs processor `n` until it stops; returns the value written to the port, or ~0 after a
 * shutdown. */
u32 vcpu_run(struct vm *v, unsigned n, const u8 *code, const u8 *end);
/* Goes on from where it is. */
u32 vcpu_go(struct vm *v, unsigned n);

/* The last-level entry that maps a linear address below 4 MiB, in the present mode. */
void *vcpu_pte(struct vm *v, enum vcpu_mode m, u64 linear);

#define GUEST(bits, name, text)                                                                                        \
    extern const u8 name[], name##_end[];                                                                              \
    __asm__(".pushsection .rodata\n.code" #bits "\n.globl " #name ", " #name "_end\n" #name ":\n" text "\n" #name      \
            "_end:\n.code64\n.popsection\n");
#define GUEST16(name, text) GUEST(16, name, text)
#define GUEST32(name, text) GUEST(32, name, text)
#define GUEST64(name, text) GUEST(64, name, text)
#define STOP                "\n out %al, $0xf4\n"
#define STOP_EAX            "\n out %eax, $0xf4\n"

#endif
