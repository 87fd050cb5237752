/*
 * A boot sector that loads a Linux bzImage from the disk behind it, for emulators that cannot be given a kernel directly
 * (bench/bochs.py writes the disk and patches the table at the end). Linux boot protocol, documentation of the kernel,
 * section "Loading the rest of the kernel"; disk by INT 13h AH=42h, memory above 1 MiB by INT 15h AH=87h.
 *
 * Table entries: first sector, number of sectors, address to load to. All pass through a buffer at 0x10000.
 */
    .code16
    .globl _start

    .equ CHUNK, 64              /* sectors at a time */
    .equ BUFFER_SEGMENT, 0x1000

_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    movb %dl, drive
    inb $0x92, %al              /* A20 */
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    movw $table, %bp

next_entry:
    movl 4(%bp), %ecx           /* sectors left */
    testl %ecx, %ecx
    jz start_kernel
next_chunk:
    movl $CHUNK, %eax
    cmpl %eax, %ecx
    jae 1f
    movl %ecx, %eax
1:  movw %ax, packet + 2
    movl (%bp), %eax
    movl %eax, packet + 8
    pushal
    movw $packet, %si
    movb drive, %dl
    movb $0x42, %ah
    int $0x13
    jc failed
    popal

    movl 8(%bp), %eax           /* base of the destination, split as descriptors have it */
    movw %ax, gdt_to + 2
    shrl $16, %eax
    movb %al, gdt_to + 4
    movb %ah, gdt_to + 7
    pushal
    movw $gdt, %si
    movw packet + 2, %cx        /* words; no more than was read: the BIOS has its data behind the setup code */
    shlw $8, %cx
    movb $0x87, %ah
    int $0x15
    jc failed
    popal

    movzwl packet + 2, %eax
    addl %eax, (%bp)
    subl %eax, %ecx
    shll $9, %eax
    addl %eax, 8(%bp)
    testl %ecx, %ecx
    jnz next_chunk
    addw $12, %bp
    jmp next_entry

start_kernel:
    cli
    movw $0x9000, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movw $0xe000, %sp
    ljmp $0x9020, $0

failed:
    hlt
    jmp failed

drive:
    .byte 0
    .balign 4
packet:
    .byte 16, 0
    .word 0, 0, BUFFER_SEGMENT
    .quad 0
gdt:
    .fill 16, 1, 0
    .word 0xffff, 0
    .byte 1, 0x93, 0, 0         /* from 0x10000 */
gdt_to:
    .word 0xffff, 0
    .byte 0, 0x93, 0, 0
    .fill 16, 1, 0

    .org 448
table:                          /* four entries of 12 bytes at most; the last one has no sectors */
    .fill 12 * 4, 1, 0
    .org 510
    .word 0xaa55
