/*
 * Where things are in the guest of a random program: for C and for runtime.S.
 *
 * Physical: 2 MiB of RAM, all of which the kernel sees at RT_BASE too. The arena is a run of pages of code and data,
 * seen at three linear addresses with the same layout: USER_BASE (CPL 3), KERNEL_BASE (supervisor), LOW_BASE (data
 * only, below 4 GiB, for 32-bit addresses). What each page may do is random.
 */
#ifndef TESTS_PROGRAM_MAP_H
#define TESTS_PROGRAM_MAP_H

#define RAM_SIZE 0x200000

/* Physical addresses. */
#define PA_GDT     0x1000
#define PA_IDT     0x2000
#define PA_TSS     0x3000
#define PA_RUNTIME 0x4000  /* two pages: runtime.S */
#define PA_VARS    0x6000  /* struct runtime_vars */
#define PA_STACK   0x8000  /* two pages for each of the runtime's stacks; addresses are those of their ends */
#define PA_RESUME  0x10000 /* u16 for each byte of code: where the next instruction begins */
#define PA_LOG     0x20000 /* struct record */
#define PA_TABLES  0x40000
#define PA_ARENA   0x100000
#define PA_DEAD                                                                                                        \
    0x180000             /* u16 for each byte of code: flags that nobody reads any more before the instruction there   \
                          */
#define PA_EDGE 0x140000 /* pages at the ends of the address space's two halves */

#define STACK_RING0   0xa000
#define STACK_IST     0xc000
#define STACK_DOUBLE  0xe000
#define STACK_SYSCALL 0x10000

/* Linear addresses. Among the pages of data the arena crosses a multiple of 4 GiB or 2 GiB, where hashes collide. */
#define RT_BASE     0xfffff00000000000
#define USER_BASE   0x00005a5affff2000
#define KERNEL_BASE 0xffffa5a57fff2000
#define LOW_BASE    0x000000007fff2000
#define EDGE_USER   0x00007ffffffff000
#define EDGE_KERNEL 0xffff800000000000
#define EDGE_TOP    0xfffffffffffff000
#define EDGE_NULL   0x0000000000000000

/* Pages of the arena. What is not named is not mapped. */
#define PAGE_CODE   0
#define CODE_PAGES  6
#define PAGE_VARS   7 /* the program's own: counters and jump tables */
#define PAGE_DATA   8
#define DATA_PAGES  12
#define PAGE_REMAP  20 /* their frames change while the program runs */
#define PAGE_STACK  23
#define PAGE_ALIAS  27 /* two of the code pages once more */
#define PAGE_JIT    30 /* written and executed */
#define ARENA_PAGES 32

#define CODE_SIZE (CODE_PAGES * 0x1000)

/* In PAGE_VARS. */
#define VAR_RECOVER 0 /* u32: where to go on in the code after a jump to nowhere; 0: end */
#define VAR_BUDGET  4 /* i32: calls that are left */
#define VAR_COUNTER 64
#define VAR_TABLE   0x400

/* Selectors. */
#define SEL_KCODE 0x08
#define SEL_KDATA 0x10
#define SEL_UDATA 0x23
#define SEL_UCODE 0x2b
#define SEL_TSS   0x30

#define STOP_PORT 0x8f4
#define IRQ_PORT  0x8f8 /* a byte: this interrupt, IRQ_FIRST to IRQ_FIRST + 15, is requested */
#define IRQ_FIRST 0x20

/* Vectors of INT that a program uses to speak to the runtime. */
#define VECTOR_CHECK  0x30 /* log the registers */
#define VECTOR_EDIT   0x31 /* edit a page-table entry: number in RAX */
#define VECTOR_FINISH 0x32
#define VECTOR_RING   0x33 /* to the other ring */
#define VECTORS       64
#define VECTOR_CALL   64 /* what the log shows for SYSCALL */

/* The log: 22 words from the stack, CR2, DR6. */
#define RECORD_SIZE 192
#define RECORDS     400

/* Words of struct runtime_vars, by offset. */
#define RT_LOG        0
#define RT_LEFT       8
#define RT_USER       16
#define RT_KERNEL     24
#define RT_RECOVER    32
#define RT_SPACE_A    40
#define RT_SYSCALL_SP 48
#define RT_SYSCALL_SS 56
#define RT_ALL        64 /* not 0: INVPCID of everything after an edit */
#define RT_RESUME     72
#define RT_DESCRIPTOR 80
#define RT_DEAD       96 /* 0: compare all flags */
#define RT_FIX        128
#define RT_EDIT       (RT_FIX + 3 * ARENA_PAGES * 16)
#define EDITS         32

#endif
