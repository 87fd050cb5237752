/*
 * A firmware image of 64 KiB: starts at the reset vector in real mode and tests what real mode is made of. Says PASS or FAIL on COM1 and by
 * the debug exit. One letter is printed for each part, so that a hang shows where.
 *
 * A check: compute, then `want reg, value` jumps to fail with the line's number in `si`.
 */
        .code16
        .section .text
        .globl  _start

        .macro  want reg, value
        cmp     \value, \reg
        mov     $(__LINE_MARK), %si
        jne     fail
        .set    __LINE_MARK, __LINE_MARK + 1
        .endm
        .set    __LINE_MARK, 1

        .macro  part ch
        mov     $\ch, %al
        call    putc
        .endm

_start:
        cli
        cld
        mov     %cs, %ax
        want    %ax, $0xf000
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7000, %sp

        /* Segment arithmetic: seg * 16 + offset, wrap inside 64 KiB. */
        part    'a'
        movw    $0x1234, 0x5000
        mov     $0x500, %ax
        mov     %ax, %fs
        mov     %fs:0, %ax
        want    %ax, $0x1234
        mov     $0x0100, %ax
        mov     %ax, %gs
        mov     %gs:0x4000, %ax
        want    %ax, $0x1234
        mov     $0xffff, %bx
        mov     %gs:0x4001(%bx), %ax            /* 16-bit addresses wrap */
        want    %ax, $0x1234

        /* Stack: 16-bit SP wraps, PUSH SP, PUSHA, ENTER. */
        part    'b'
        mov     %sp, %bx
        push    %sp
        pop     %ax
        want    %ax, %bx
        mov     $0x1111, %ax
        mov     $0x2222, %cx
        pusha
        mov     $0, %ax
        mov     $0, %cx
        popa
        want    %ax, $0x1111
        want    %cx, $0x2222
        push    %bp
        enter   $16, $2
        mov     %bp, %ax
        sub     %sp, %ax
        want    %ax, $20
        leave
        pop     %bp
        want    %sp, %bx
        mov     %bx, %dx
        mov     $0, %sp
        push    %dx                             /* SP goes from 0 to 0xfffe */
        mov     %sp, %ax
        mov     %dx, %sp
        want    %ax, $0xfffe

        /* Interrupts by the table at 0: INT n, INTO, #DE, #UD, #BR, IRET. */
        part    'c'
        movw    $int60, 0x60 * 4
        movw    $0xf000, 0x60 * 4 + 2
        movw    $fault, 0
        movw    $0xf000, 2
        movw    $fault, 6 * 4
        movw    $0xf000, 6 * 4 + 2
        movw    $fault, 5 * 4
        movw    $0xf000, 5 * 4 + 2
        movw    $fault, 13 * 4
        movw    $0xf000, 13 * 4 + 2
        movw    $int60, 4 * 4
        movw    $0xf000, 4 * 4 + 2
        xor     %dx, %dx
        int     $0x60
        want    %dx, $1
        mov     $0x7f, %al
        add     $1, %al
        into
        want    %dx, $2
        mov     $0x1, %ax
        mov     $0, %bl
        mov     $1f, %di
        div     %bl
        mov     $0xbad, %di
1:      want    %bp, $0x0fa0
        xor     %bp, %bp
        mov     $1f, %di
        ud2
1:      want    %bp, $0x0fa0
        xor     %bp, %bp
        movw    $10, 0x5010
        movw    $20, 0x5012
        mov     $15, %ax
        bound   %ax, 0x5010
        want    %bp, $0
        mov     $21, %ax
        mov     $1f, %di
        bound   %ax, 0x5010
1:      want    %bp, $0x0fa0

        /* A word at offset 0xffff is beyond the segment: #GP. */
        part    'd'
        xor     %bp, %bp
        mov     $0xffff, %bx
        mov     $1f, %di
        mov     %fs:(%bx), %ax
1:      want    %bp, $0x0fa0

        /* Strings, BCD, loops. */
        part    'e'
        mov     $0x6000, %di
        mov     $0xab, %al
        mov     $100, %cx
        rep     stosb
        want    %di, $0x6064
        mov     $0x6000, %si
        mov     $0x6100, %di
        mov     $50, %cx
        rep     movsw
        mov     0x6163, %al
        want    %al, $0xab
        mov     $0x6000, %di
        mov     $200, %cx
        repe    scasb
        want    %di, $0x6065
        mov     $0x19, %al
        add     $0x28, %al
        daa
        want    %al, $0x47
        mov     $0x35, %al
        aam
        want    %ax, $0x0503
        mov     $0x0907, %ax
        aad
        want    %ax, $97

        /* 32-bit operands and addresses in 16-bit code. */
        part    'f'
        mov     $0x12345678, %eax
        mov     $0x1000, %ebx
        mov     %eax, 0x4000(%ebx,%ebx,2)       /* 0x7000 */
        mov     0x7002, %cx
        want    %cx, $0x1234
        imul    $3, %eax, %ecx
        cmp     $0x369d0368, %ecx
        mov     $0xf1, %si
        jne     fail

        /* Unreal mode: limits loaded in protected mode stay. */
        part    'g'
        lgdtl   %cs:gdt_pointer
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        mov     $0x08, %bx
        mov     %bx, %fs
        and     $0xfe, %al
        mov     %eax, %cr0
        mov     $0x200000, %ebx
        mov     %fs:(%ebx), %ecx
        movl    $0xcafef00d, %fs:(%ebx)
        mov     %fs:(%ebx), %eax
        cmp     $0xcafef00d, %eax
        mov     $0xf2, %si
        jne     fail

        /* Into 32-bit protected mode and back. */
        part    'h'
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x10, $0xf0000 + protected
        .code32
protected:
        mov     $0x08, %eax
        mov     %eax, %ds
        mov     0x200000, %ecx
        movw    $0x18, %ax
        mov     %eax, %ds
        ljmp    $0x20, $back16
        .code16
back16:
        mov     %cr0, %eax
        and     $0xfe, %al
        mov     %eax, %cr0
        ljmp    $0xf000, $real_again
real_again:
        xor     %ax, %ax
        mov     %ax, %ds
        cmp     $0xcafef00d, %ecx
        mov     $0xf3, %si
        jne     fail

        /* The A20 gate by port 0x92: off, 1 MiB is 0 again. */
        part    'i'
        movl    $0x11223344, 0x500
        mov     $0x100000, %ebx
        mov     %fs:0x500(%ebx), %eax
        in      $0x92, %al
        or      $2, %al
        out     %al, $0x92
        movl    $0x55667788, %fs:0x500(%ebx)
        mov     0x500, %eax
        cmp     $0x11223344, %eax
        mov     $0xf4, %si
        jne     fail
        in      $0x92, %al
        and     $0xfc, %al
        out     %al, $0x92
        mov     %fs:0x500(%ebx), %eax
        cmp     $0x11223344, %eax
        mov     $0xf5, %si
        jne     fail
        in      $0x92, %al
        or      $2, %al
        out     %al, $0x92

        mov     $pass_text, %si
        call    puts
        mov     $0, %al
        jmp     leave_guest

int60:
        inc     %dx
        iret

/* A fault that is expected: go on at DI. */
fault:
        mov     $0x0fa0, %bp
        push    %bx
        mov     %sp, %bx
        mov     %di, %ss:2(%bx)
        pop     %bx
        iret

fail:
        push    %si
        mov     $fail_text, %si
        call    puts
        pop     %dx
        mov     $4, %cx
1:      rol     $4, %dx
        mov     %dl, %al
        and     $15, %al
        add     $'0', %al
        cmp     $'9', %al
        jbe     2f
        add     $39, %al
2:      call    putc
        loop    1b
        mov     $1, %al
leave_guest:
        push    %ax
        mov     $'\n', %al
        call    putc
        pop     %ax
        out     %al, $0xf4
3:      cli
        hlt
        jmp     3b

putc:
        push    %dx
        push    %ax
        mov     $0x3fd, %dx
1:      in      %dx, %al
        test    $0x20, %al
        jz      1b
        pop     %ax
        mov     $0x3f8, %dx
        out     %al, %dx
        pop     %dx
        ret

puts:
        mov     %cs:(%si), %al
        inc     %si
        test    %al, %al
        jz      1f
        call    putc
        jmp     puts
1:      ret

pass_text: .asciz " PASS"
fail_text: .asciz " FAIL at "

        .align  8
gdt:    .quad   0
        .quad   0x00cf93000000ffff              /* 08 flat data */
        .quad   0x00cf9b000000ffff              /* 10 flat code */
        .quad   0x000093000000ffff              /* 18 data16 */
        .quad   0x00009b0f0000ffff              /* 20 code16 at 0xf0000 */
gdt_pointer:
        .word   5 * 8 - 1
        .long   0xf0000 + gdt

        .org    0xfff0
        ljmp    $0xf000, $_start
        .org    0x10000
