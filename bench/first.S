/*
 * A firmware image whose first instructions write one byte to port 0xe9: the time from the start of the process to that
 * byte is the time to the first guest instruction. 64 KiB, mapped so that it ends at 4 GiB; the processor starts at the
 * last 16 bytes.
 */
    .code16
    .globl _start
_start:
    .org 0xfff0
    movb $'!', %al
    outb %al, $0xe9
1:  hlt
    jmp 1b
    .org 0x10000
