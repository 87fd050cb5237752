/*
 * The two devices that test kernels look for, compatible with QEMU's: pc-testdev on the ISA bus and pci-testdev.
 *
 * pc-testdev:
 *   0xe0-0xe3      a 32-bit latch, accesses of any width at any byte of it
 *   0xe4           physical address of a page (32 bits written): "flush" it. QEMU takes the page away from its
 *                  hypervisor and gives it back; the guest sees nothing of that, and so nothing happens here
 *   0xe8-0xeb      the latch again, always by single bytes
 *   0x2000 + n     a byte: level of ISA line n, n < 24
 *   0xff000000     64 KiB that behave like memory but are a device
 *
 * pci-testdev (1b36:0005): BAR 0 is 4 KiB of memory, BAR 1 is 256 ports. A byte written to offset 0 starts test n of
 * that BAR; the header at offset 0 then says what to write where, and counts the writes that arrived: 0 test, 1 width,
 * 4 offset (u32), 8 data, 12 count (u32), 16 name
 */
#ifndef DEV_PC_TESTDEV_H
#define DEV_PC_TESTDEV_H

#include "bus/pci.h"
#include "dev/dev.h"
#include "irq/line.h"

struct testdev;
struct pci_testdev;

#define TESTDEV_LINES 24

struct testdev_config {
    struct mem_space *mem;
    struct irq_line line[TESTDEV_LINES];
};

/* First member is a struct dev. NULL with a message. */
struct testdev *testdev_create(const struct testdev_config *cfg, struct error *err);

struct pci_testdev_config {
    struct pci_bus *bus;
    u8 devfn;
};

struct pci_testdev *pci_testdev_create(const struct pci_testdev_config *cfg, struct error *err);

#endif
