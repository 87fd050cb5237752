/*
 * The runtime of random programs: interrupt handlers and the entry of SYSCALL, position-independent, at PA_RUNTIME in
 * guest RAM. Each event is logged: vector, error code, RIP, CS, RFLAGS, RSP, SS, the general registers, CR2, DR6. What
 * happens then goes by the vector (the table `actions`); mostly the instruction is skipped, by way of a table that the
 * generator made.
 */
#include "map.h"

/* The frame: 15 registers, then these. */
#define F_RAX    (14 * 8)
#define F_VECTOR (15 * 8)
#define F_ERROR  (16 * 8)
#define F_RIP    (17 * 8)
#define F_CS     (18 * 8)
#define F_RFLAGS (19 * 8)
#define F_RSP    (20 * 8)
#define F_SS     (21 * 8)

#define VARS runtime_start + (PA_VARS - PA_RUNTIME)

    .section .rodata
    .balign 4096
    .globl runtime_start, runtime_syscall, runtime_end
runtime_start:
    .set n, 0
    .rept VECTORS
    .balign 16
    .if (n != 8) && !((n >= 10) && (n <= 14)) && (n != 17)
    push $0
    .endif
    push $n
    jmp common
    .set n, n + 1
    .endr

    .balign 16
runtime_syscall:
    mov %rsp, VARS + RT_SYSCALL_SP(%rip)
    mov VARS + RT_SYSCALL_SS(%rip), %rsp
    push $SEL_UDATA
    push VARS + RT_SYSCALL_SP(%rip)
    push %r11
    push $SEL_UCODE
    push %rcx
    push $0
    push $VECTOR_CALL

common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    lea VARS(%rip), %rbx
    mov F_VECTOR(%rsp), %eax
    cmp $IRQ_FIRST + 16, %eax
    jae 3f
/* What an interrupt shows as RF, engines promise only while breakpoints are enabled (cpu/debug.h). */
    cmp $IRQ_FIRST, %eax
    jb 1f
    andl $~0x10000, F_RFLAGS(%rsp)
/* Faults and interrupts may show anything as flags that are dead. Traps are between blocks. */
1:  mov RT_DEAD(%rbx), %rsi
    test %rsi, %rsi
    jz 3f
    mov $1 << 1 | 1 << 3 | 1 << 4, %ecx
    bt %rax, %rcx
    jc 3f
    mov $0x8d5, %eax
    mov F_RIP(%rsp), %rdx
    sub RT_USER(%rbx), %rdx
    cmp $CODE_SIZE, %rdx
    jb 1f
    mov F_RIP(%rsp), %rdx
    sub RT_KERNEL(%rbx), %rdx
    cmp $CODE_SIZE, %rdx
    jae 2f
1:  movzwl (%rsi, %rdx, 2), %eax
2:  not %eax
    and %eax, F_RFLAGS(%rsp)
3:  mov RT_LOG(%rbx), %rdi
    mov %rsp, %rsi
    mov $22, %ecx
    rep movsq
    mov %cr2, %rax
    stosq
    mov %dr6, %rax
    stosq
    mov %rdi, RT_LOG(%rbx)
    decq RT_LEFT(%rbx)
    js finish
    mov F_VECTOR(%rsp), %eax
    lea runtime_start(%rip), %rcx
    movzwl actions - runtime_start(%rcx, %rax, 2), %eax
    add %rcx, %rax
    jmp *%rax

finish:
    mov $STOP_PORT, %edx
    out %al, %dx
1:  jmp 1b

/* The instruction at RIP is left out. */
skip:
    mov F_RIP(%rsp), %rdx
    mov RT_USER(%rbx), %rcx
    sub %rcx, %rdx
    cmp $CODE_SIZE, %rdx
    jb 1f
    mov F_RIP(%rsp), %rdx
    mov RT_KERNEL(%rbx), %rcx
    sub %rcx, %rdx
    cmp $CODE_SIZE, %rdx
    jae recover
1:  mov RT_RESUME(%rbx), %rsi
    movzwl (%rsi, %rdx, 2), %edx
    add %rcx, %rdx
    mov %rdx, F_RIP(%rsp)
    jmp back

/* RIP is nowhere, or where nothing can be run. */
recover:
    mov RT_RECOVER(%rbx), %rsi
    movzwl (%rsi), %edx
    test %edx, %edx
    jz finish
    mov RT_USER(%rbx), %rcx
    testb $3, F_CS(%rsp)
    jnz 1f
    mov RT_KERNEL(%rbx), %rcx
1:  add %rcx, %rdx
    mov %rdx, F_RIP(%rsp)

back:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    cmpq $VECTOR_CALL, (%rsp)
    je 1f
    add $16, %rsp
    iretq
1:  mov 40(%rsp), %rsp
    sysretq

debug:
    andl $~0x100, F_RFLAGS(%rsp)
    jmp back

no_fpu:
    clts
    jmp back

fpu_error:
    fnclex
    jmp skip

alignment:
    andl $~0x40000, F_RFLAGS(%rsp)
    jmp back

/* A page that the generator wants repaired on the first fault: then again. */
page_fault:
    mov %cr2, %rax
    lea RT_FIX(%rbx), %rdi
    mov %rax, %rdx
    sub RT_USER(%rbx), %rdx
    shr $12, %rdx
    mov %cr3, %rcx
    and $0xfffff000, %ecx
    cmp RT_SPACE_A(%rbx), %rcx
    je 1f
    add $ARENA_PAGES * 16, %rdi
1:  cmp $ARENA_PAGES, %rdx
    jb 2f
    lea RT_FIX + 2 * ARENA_PAGES * 16(%rbx), %rdi
    mov %rax, %rdx
    sub RT_KERNEL(%rbx), %rdx
    shr $12, %rdx
    cmp $ARENA_PAGES, %rdx
    jae 3f
2:  shl $4, %rdx
    mov (%rdi, %rdx), %rcx
    mov 8(%rdi, %rdx), %rsi
    test %rsi, %rsi
    jz 3f
    movq $0, 8(%rdi, %rdx)
    mov %rsi, (%rcx)
    invlpg (%rax)
    jmp forget
3:  testb $0x10, F_ERROR(%rsp)
    jnz recover
    jmp skip

/* A change of a page-table entry, with what makes it count. */
edit:
    mov F_RAX(%rsp), %eax
    and $EDITS - 1, %eax
    lea (%rax, %rax, 2), %rax
    lea RT_EDIT(%rbx, %rax, 8), %rax
    mov (%rax), %rcx
    test %rcx, %rcx
    jz back
    mov 8(%rax), %rdx
    mov %rdx, (%rcx)
    mov 16(%rax), %rdx
    invlpg (%rdx)
forget:
    cmpq $0, RT_ALL(%rbx)
    je back
    mov $2, %eax
    invpcid RT_DESCRIPTOR(%rbx), %rax
    jmp back

/* From ring 3 to ring 0 or back: RIP and RSP move to where that ring sees them. RDX has the distance, and the sign bit
 * that tells the halves apart. */
ring:
    mov RT_KERNEL(%rbx), %rdx
    sub RT_USER(%rbx), %rdx
    testb $3, F_CS(%rsp)
    jz 2f
    movq $SEL_KCODE, F_CS(%rsp)
    movq $SEL_KDATA, F_SS(%rsp)
    testq %rdx, F_RIP(%rsp)
    js back
    add %rdx, F_RIP(%rsp)
    add %rdx, F_RSP(%rsp)
    jmp back
2:  movq $SEL_UCODE, F_CS(%rsp)
    movq $SEL_UDATA, F_SS(%rsp)
    testq %rdx, F_RIP(%rsp)
    jns back
    sub %rdx, F_RIP(%rsp)
    sub %rdx, F_RSP(%rsp)
    jmp back

#define TO(label) .word label - runtime_start
actions:
    TO(skip)       /* #DE */
    TO(debug)
    TO(skip)
    TO(back)       /* #BP */
    TO(back)       /* #OF */
    TO(skip)
    TO(skip)       /* #UD */
    TO(no_fpu)
    TO(finish)     /* #DF */
    TO(skip)
    TO(skip)
    TO(skip)
    TO(skip)       /* #SS */
    TO(skip)       /* #GP */
    TO(page_fault)
    TO(skip)
    TO(fpu_error)
    TO(alignment)
    TO(skip)
    TO(skip)       /* #XM */
    .rept VECTOR_EDIT - 20
    TO(back)
    .endr
    TO(edit)
    TO(finish)
    TO(ring)
    .rept VECTOR_CALL - VECTOR_RING
    TO(back)
    .endr
runtime_end:

    .section .note.GNU-stack, "", @progbits
