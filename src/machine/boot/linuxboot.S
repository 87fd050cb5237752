/*
 * An option ROM for a BIOS that knows nothing of kernels: its boot entry gets a bzImage, its initramfs and command line
 * out of fw_cfg by DMA, and enters the kernel's real-mode code (Linux boot protocol, "running the kernel").
 * Plug and Play BIOS Specification 1.0A, section 3 (expansion header).
 *
 * 16-bit code in one piece, at any segment: every address is taken relative to linuxboot_rom. The length and the
 * checksums are filled in by whoever hands it out (boot/firmware.c).
 */
#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA   0x511
#define FW_CFG_DMA    0x514

#define CMDLINE_ADDR 0x13
#define CMDLINE_SIZE 0x14
#define CMDLINE_DATA 0x15
#define INITRD_ADDR  0x0a
#define INITRD_SIZE  0x0b
#define INITRD_DATA  0x12
#define KERNEL_ADDR  0x07
#define KERNEL_SIZE  0x08
#define KERNEL_DATA  0x11
#define SETUP_ADDR   0x16
#define SETUP_SIZE   0x17
#define SETUP_DATA   0x18

#define DMA_ERROR       0x01
#define DMA_READ_SELECT 0x0a

        .section .rodata
        .code16
        .balign 16
        .globl linuxboot_rom, linuxboot_rom_size
linuxboot_rom:
        .word   0xaa55
        .byte   0                       /* length in units of 512 bytes */
        lretw                           /* initialisation: there is nothing to do */
        .org    linuxboot_rom + 0x18
        .word   0                       /* no PCI data structure */
        .word   pnp - linuxboot_rom

        .balign 16
pnp:
        .ascii  "$PnP"
        .byte   1                       /* revision */
        .byte   2                       /* length in units of 16 bytes */
        .word   0                       /* no other header */
        .byte   0
        .byte   0                       /* checksum */
        .long   0                       /* device identifier */
        .word   manufacturer - linuxboot_rom
        .word   product - linuxboot_rom
        .byte   0, 0x80, 0x02           /* class: other mass storage */
        .byte   0x64                    /* shadowable, read cacheable, an IPL device */
        .word   0, 0
        .word   boot_entry - linuxboot_rom
        .word   0, 0

manufacturer:
        .asciz  "ring3"
product:
        .asciz  "Linux kernel of --kernel"

/* %eax = the 32-bit item %ax. Uses %dx. */
read_item:
        movw    $FW_CFG_SELECT, %dx
        outw    %ax, %dx
        incw    %dx
        .rept   4
        inb     %dx, %al
        rorl    $8, %eax
        .endr
        retw

/* Loads the blob whose address, size and bytes are the items %bl, %bh and %cx. Stops the machine if that fails. */
load_blob:
        movzbw  %bl, %ax
        callw   read_item
        movl    %eax, %edi
        movzbw  %bh, %ax
        callw   read_item
        bswapl  %edi
        bswapl  %eax
        pushl   %edi                    /* the descriptor, from its end: address, length, control; all big-endian */
        pushl   $0
        pushl   %eax
        movzwl  %cx, %eax
        shll    $16, %eax
        orl     $DMA_READ_SELECT, %eax
        bswapl  %eax
        pushl   %eax

        movw    $FW_CFG_DMA, %dx
        xorl    %eax, %eax
        outl    %eax, %dx
        movw    %ss, %ax
        shll    $4, %eax
        movzwl  %sp, %edi
        addl    %edi, %eax
        bswapl  %eax
        addw    $4, %dx
        outl    %eax, %dx

        movw    %sp, %bp
1:      movl    (%bp), %eax             /* 0 when done */
        testl   $DMA_ERROR << 24, %eax
        jnz     stop
        testl   %eax, %eax
        jnz     1b
        addw    $16, %sp
        retw

stop:
        cli
        hlt
        jmp     stop

boot_entry:
        cli
        cld
        movw    $SETUP_ADDR | SETUP_SIZE << 8, %bx
        movw    $SETUP_DATA, %cx
        callw   load_blob
        movw    $KERNEL_ADDR | KERNEL_SIZE << 8, %bx
        movw    $KERNEL_DATA, %cx
        callw   load_blob
        movw    $INITRD_ADDR | INITRD_SIZE << 8, %bx
        movw    $INITRD_DATA, %cx
        callw   load_blob
        movw    $CMDLINE_ADDR | CMDLINE_SIZE << 8, %bx
        movw    $CMDLINE_DATA, %cx
        callw   load_blob

        /* Segments at the setup code, the stack below the command line, entry 0x200 bytes in. */
        movw    $CMDLINE_ADDR, %ax
        callw   read_item
        movl    %eax, %ebx
        movw    $SETUP_ADDR, %ax
        callw   read_item
        subl    %eax, %ebx
        subw    $16, %bx
        shrl    $4, %eax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %fs
        movw    %ax, %gs
        movw    %ax, %ss
        movw    %bx, %sp
        addw    $0x20, %ax
        pushw   %ax
        pushw   $0
        xorl    %eax, %eax
        xorl    %ebx, %ebx
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        xorl    %esi, %esi
        xorl    %edi, %edi
        xorl    %ebp, %ebp
        lretw
        .balign 512
linuxboot_rom_end:
        .balign 4
linuxboot_rom_size:
        .long   linuxboot_rom_end - linuxboot_rom
        .section .note.GNU-stack, "", @progbits
