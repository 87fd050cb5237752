/*
 * Where things are on the board: numbers that the wiring, the tables and the boot protocols have to agree on.
 */
#ifndef MACHINE_BOARD_H
#define MACHINE_BOARD_H

#include "base/types.h"

/* Memory. RAM fills 0 to the PCI hole and goes on at 4 GiB. */
#define BOARD_RAM_BELOW_4G 0xc0000000ull
#define BOARD_IOAPIC       0xfec00000u
#define BOARD_HPET         0xfed00000u
#define BOARD_HPET_SIZE    0x400u
#define BOARD_VIRTIO_MMIO  0xfed10000u /* a window of 0x200 bytes for each device, without PCI */
#define BOARD_LAPIC        0xfee00000u
#define BOARD_PCI_HOLE_END BOARD_IOAPIC

/* The first megabyte as firmware leaves it. */
#define LOW_BDA         0x400u
#define LOW_EBDA        0x9fc00u /* 1 KiB, reserved; base memory ends here */
#define LOW_VIDEO       0xa0000u
#define LOW_TABLES      0xe0000u /* ACPI tables, when there is no firmware to place them */
#define LOW_TABLES_SIZE 0x10000u
#define LOW_POINTERS    0xf0000u /* RSDP, SMBIOS, MP table: where operating systems search */
#define LOW_END         0x100000u

/* Interrupts: ISA lines. */
enum {
    IRQ_TIMER = 0,
    IRQ_KEYBOARD = 1,
    IRQ_COM1 = 4,
    IRQ_RTC = 8,
    IRQ_SCI = 9,
    IRQ_AUX = 12,
    IRQ_FPU = 13,
};

/* Inputs of the I/O APIC that virtio devices without PCI share. */
#define VIRTIO_LINE_FIRST 16u
#define VIRTIO_LINES      4u

/* The sleep type that means "off" in the PM1 control register. */
#define BOARD_S5_TYPE 0

/* Ports. */
#define PORT_COM1           0x3f8
#define PORT_PM_DEFAULT     0x600 /* PM registers, when there is no firmware to choose */
#define PORT_RESET_CONTROL  0xcf9
#define RESET_CONTROL_VALUE 0x06

/* Processors. Local APIC IDs are 0, 1, ...; the I/O APIC has IDs of its own. */
#define BOARD_IOAPIC_ID 0
#define BOARD_TSC_HZ    1000000000u

#endif
