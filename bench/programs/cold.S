/*
 * Code that is run once: some 190,000 instructions in blocks of ten, each block with other constants, each ended by a branch.
 * uint64_t cold_code(uint64_t x).
 */
    .text
    .globl cold_code
    .type cold_code, @function

    .equ BLOCKS, 19000

cold_code:
    pushq %rbx
    subq $64, %rsp
    movq %rdi, %rax
    movl $7, %ecx
    xorl %edx, %edx
    .set block, 0
    .rept BLOCKS
    addq $(block * 37), %rax
    movq %rax, (block % 8 * 8)(%rsp)
    leaq (block % 5)(%rax, %rcx, 4), %rdx
    xorl $(block ^ 0x5a5a), %edx
    imulq $(block % 113 + 3), %rdx, %rbx
    rolq $(block % 61 + 1), %rax
    addq %rbx, %rax
    movq %rdx, %rcx
    testb $(1 << (block % 8)), %dl
    .if block % 3 == 0
    jz 1f
    .elseif block % 3 == 1
    jnz 1f
    .else
    jmp 1f
    .endif
1:
    .set block, block + 1
    .endr
    addq $64, %rsp
    popq %rbx
    ret
    .size cold_code, . - cold_code
    .section .note.GNU-stack, "", @progbits
