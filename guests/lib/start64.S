/*
 * Entry of the 64-bit guests: multiboot 1 in 32-bit protected mode, then long mode; the interrupt stubs; the leap into and out of
 * caught code; the real-mode start of the other processors.
 */
        .set    MB_FLAGS, 3
        .set    CR4_START, 0x620                /* PAE, OSFXSR, OSXMMEXCPT */

        .section .multiboot, "a"
        .align  4
        .long   0x1badb002, MB_FLAGS, -(0x1badb002 + MB_FLAGS)

        .section .text
        .code32
        .globl  _start
_start:
        cld
        mov     %ebx, multiboot_info
        mov     $stack_top, %esp
        call    build_tables
        call    enter_long
        ljmp    $0x08, $start64

/* Identity map of 4 GiB by 2 MiB pages, and the low 1 GiB again for the user at PML4 entry 1. */
build_tables:
        mov     $pml4, %edi
        movl    $pdpt + 3, (%edi)
        movl    $pml4_user_pdpt + 7, 8(%edi)
        mov     $pdpt, %edi
        mov     $pd + 3, %eax
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $4096, %eax
        add     $8, %edi
        loop    1b
        movl    $pd_user + 7, pml4_user_pdpt
        mov     $pd, %edi
        mov     $0x83, %eax
        mov     $2048, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        mov     $pd_user, %edi
        mov     $0x87, %eax
        mov     $512, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        ret

/* Paging, long mode, no-execute; the GDT. */
enter_long:
        mov     $CR4_START, %eax
        mov     %eax, %cr4
        mov     $pml4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx
        mov     $0x900, %eax                    /* LME, NXE */
        xor     %edx, %edx
        wrmsr
        mov     $0x80010023, %eax               /* PG, WP, NE, MP, PE */
        mov     %eax, %cr0
        lgdt    gdt_pointer
        ret

        .code64
start64:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        mov     $stack_top, %rsp
        call    guest_main
1:      hlt
        jmp     1b

/* --- interrupts --- */
        .altmacro
        .macro  stub n
        .align  16
        .if     \n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21
        push    $\n
        .else
        push    $0
        push    $\n
        .endif
        jmp     interrupt_common
        .endm

        .align  16
        .globl  interrupt_stubs
interrupt_stubs:
        .set    i, 0
        .rept   256
        stub    %i
        .set    i, i + 1
        .endr

interrupt_common:
        push    %rax
        push    %rbx
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %rbp
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        /* The stubs with an error code pushed vector over error; the others error (0), then vector: same order. */
        cld
        mov     %rsp, %rdi
        mov     %rsp, %rbp
        and     $-16, %rsp
        call    interrupt_dispatch
        mov     %rbp, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rbp
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rbx
        pop     %rax
        add     $16, %rsp
        iretq

/* int catch_enter(struct catch *c, void (*fn)(void *), void *arg): 0 if fn returned; catch_leave(c) makes it return 1. */
        .globl  catch_enter, catch_leave
catch_enter:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        pushfq
        mov     %rsp, (%rdi)
        mov     %rdx, %rdi
        sub     $8, %rsp
        call    *%rsi
        add     $8, %rsp
        xor     %eax, %eax
        jmp     2f
catch_leave:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     (%rdi), %rsp
        mov     $1, %eax
2:      popfq
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

/* void enter_user(fn, arg, user_stack): to CPL 3, which comes back by int $0x81 (caught like a fault) */
        .globl  enter_user
enter_user:
        mov     $0x3b, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %rdi, %rcx
        mov     %rsi, %rdi
        push    $0x3b
        push    %rdx
        push    $0x202
        push    $0x43
        push    %rcx
        iretq
        .globl  user_return
user_return:
        int     $0x81

/* --- the other processors: real mode at a page below 1 MiB, to which smp.c copies ap_start..ap_end --- */
        .code16
        .globl  ap_start, ap_end
ap_start:
        cli
        mov     %cs, %ax
        mov     %ax, %ds
        lgdtl   ap_gdt_pointer - ap_start
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x18, $ap_start32
ap_gdt_pointer:
        .word   GDT_BYTES - 1
        .long   gdt
ap_end:
        .code32
ap_start32:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %ss
        mov     ap_stack, %esp
        call    enter_long
        ljmp    $0x08, $ap_start64
        .code64
ap_start64:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     ap_stack, %rsp
        call    ap_main
1:      hlt
        jmp     1b

/* --- data --- */
        .data
        .align  16
        .set    GDT_BYTES, 32 * 8
        .globl  gdt
gdt:    .quad   0
        .quad   0x00af9b000000ffff              /* 08 code64 */
        .quad   0x00cf93000000ffff              /* 10 data */
        .quad   0x00cf9b000000ffff              /* 18 code32 */
        .quad   0x00009b000000ffff              /* 20 code16, base 0 */
        .quad   0x000093000000ffff              /* 28 data16 */
        .quad   0x00cffb000000ffff              /* 30 user code32 */
        .quad   0x00cff3000000ffff              /* 38 user data */
        .quad   0x00affb000000ffff              /* 40 user code64 */
        .fill   32 - 9, 8, 0
gdt_pointer:
        .word   GDT_BYTES - 1
        .quad   gdt
        .globl  ap_stack, multiboot_info
ap_stack: .quad 0
multiboot_info: .quad 0

        .bss
        .align  4096
        .globl  pml4, pml4_user_pdpt
pml4:   .skip   4096
pdpt:   .skip   4096
pml4_user_pdpt: .skip 4096
pd:     .skip   4096 * 4
pd_user: .skip  4096
        .align  16
        .skip   65536
stack_top:
        .section .note.GNU-stack, "", @progbits
