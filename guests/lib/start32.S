/*
 * Entry of the 32-bit guests: multiboot 1, flat protected mode without paging; interrupt stubs; caught faults. See guest32.h.
 */
        .set    MB_FLAGS, 3
        .section .multiboot, "a"
        .align  4
        .long   0x1badb002, MB_FLAGS, -(0x1badb002 + MB_FLAGS)

        .text
        .code32
        .globl  _start
_start:
        cld
        mov     $stack_top, %esp
        lgdt    gdt_pointer
        ljmp    $0x08, $1f
1:      mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %eax, %ss
        mov     %cr4, %eax
        or      $0x600, %eax                    /* OSFXSR, OSXMMEXCPT */
        mov     %eax, %cr4
        call    guest_main
2:      hlt
        jmp     2b

        .altmacro
        .macro  stub n
        .align  16
        .if     \n == 8 || (\n >= 10 && \n <= 14) || \n == 17
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

/* struct regs32 in guest32.h */
interrupt_common:
        pushal
        push    %ds
        push    %es
        push    %fs
        push    %gs
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        cld
        mov     %esp, %ebp
        push    %esp
        call    interrupt_dispatch
        mov     %ebp, %esp
        .globl  interrupt_return
interrupt_return:
        pop     %gs
        pop     %fs
        pop     %es
        pop     %ds
        popal
        add     $8, %esp
        iretl

/* int catch_enter(struct catch *c, void (*fn)(void *), void *arg); catch_leave(c) makes it return 1. */
        .globl  catch_enter, catch_leave
catch_enter:
        mov     4(%esp), %eax
        mov     8(%esp), %ecx
        mov     12(%esp), %edx
        push    %ebx
        push    %ebp
        push    %esi
        push    %edi
        pushfl
        mov     %esp, (%eax)
        push    %edx
        call    *%ecx
        pop     %edx
        xor     %eax, %eax
        jmp     3f
catch_leave:
        mov     4(%esp), %eax
        mov     $0x10, %ecx
        mov     %ecx, %ds
        mov     %ecx, %es
        mov     %ecx, %fs
        mov     %ecx, %gs
        mov     %ecx, %ss
        mov     (%eax), %esp
        mov     $1, %eax
3:      popfl
        pop     %edi
        pop     %esi
        pop     %ebp
        pop     %ebx
        ret

/* void enter_ring(fn, arg, cs, ss, esp): IRET to an outer ring */
        .globl  enter_ring, ring_return
enter_ring:
        mov     4(%esp), %eax                   /* fn */
        mov     12(%esp), %ecx                  /* cs */
        mov     16(%esp), %edx                  /* ss */
        mov     20(%esp), %ebx                  /* esp, with argument and return address on it */
        push    %edx
        push    %ebx
        pushfl
        push    %ecx
        push    %eax
        mov     %edx, %ds
        mov     %edx, %es
        iretl
ring_return:
        int     $0x81

        .data
        .align  16
        .globl  gdt
gdt:    .quad   0
        .quad   0x00cf9b000000ffff              /* 08 code */
        .quad   0x00cf93000000ffff              /* 10 data */
        .quad   0x00cffb000000ffff              /* 18 user code */
        .quad   0x00cff3000000ffff              /* 20 user data */
        .quad   0x00009b000000ffff              /* 28 code16 */
        .quad   0x000093000000ffff              /* 30 data16 */
        .fill   64 - 7, 8, 0
gdt_pointer:
        .word   64 * 8 - 1
        .long   gdt
        .bss
        .align  16
        .skip   65536
stack_top:
        .section .note.GNU-stack, "", @progbits
