/* See mptable.h. */
#include "machine/mptable.h"

#include <string.h>

#include "bus/pci.h"
#include "machine/board.h"

enum { ENTRY_PROCESSOR = 0, ENTRY_BUS = 1, ENTRY_IOAPIC = 2, ENTRY_IO_INTERRUPT = 3, ENTRY_LOCAL_INTERRUPT = 4 };
enum { INTERRUPT_INT = 0, INTERRUPT_NMI = 1, INTERRUPT_EXTINT = 3 };
enum { BUS_PCI = 0, BUS_ISA = 1 };
enum { HEADER_LENGTH = 4, HEADER_CHECKSUM = 7, HEADER_COUNT = 34 };

#define SPEC_1_4         4
#define CPU_ENABLED      BIT(0)
#define CPU_BOOTSTRAP    BIT(1)
#define LAPIC_VERSION    0x14
#define IOAPIC_VERSION   0x20
#define FLAGS_CONFORM    0
#define FLAGS_HIGH_LEVEL 0x0d
#define ALL_APICS        0xff
#define PCI_SLOTS        32

static void processor(struct bytes *t, unsigned id, const struct mptable_config *cfg)
{
    bytes_u8(t, ENTRY_PROCESSOR);
    bytes_u8(t, (u8)id);
    bytes_u8(t, LAPIC_VERSION);
    bytes_u8(t, CPU_ENABLED | (id == 0 ? CPU_BOOTSTRAP : 0));
    bytes_u32(t, cfg->cpu_signature);
    bytes_u32(t, cfg->cpu_features);
    bytes_u64(t, 0);
}

static void bus(struct bytes *t, u8 id, const char name[6])
{
    bytes_u8(t, ENTRY_BUS);
    bytes_u8(t, id);
    bytes_add(t, name, 6);
}

/* Both kinds of interrupt entry: from a bus to an I/O APIC's input, or to a LINT pin. */
static void interrupt(struct bytes *t, u8 entry, u8 type, u16 flags, u8 from_bus, u8 irq, u8 apic, u8 input)
{
    bytes_u8(t, entry);
    bytes_u8(t, type);
    bytes_u16(t, flags);
    bytes_u8(t, from_bus);
    bytes_u8(t, irq);
    bytes_u8(t, apic);
    bytes_u8(t, input);
}

static unsigned interrupts(struct bytes *t, const struct mptable_config *cfg)
{
    unsigned count = 0;

    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PCI_PINS; pin++, count++) {
            u8 line = cfg->pirq_route[pci_pirq((u8)PCI_DEVFN(slot, 0), pin)];
            interrupt(t, ENTRY_IO_INTERRUPT, INTERRUPT_INT, FLAGS_HIGH_LEVEL, BUS_PCI, (u8)(slot << 2 | pin),
                      BOARD_IOAPIC_ID, line);
        }
    }
    for (u8 irq = 0; irq < 16; irq++) {
        if (irq == 2) /* the cascade; input 2 is the timer's */
            continue;
        u16 flags = irq == IRQ_SCI ? FLAGS_HIGH_LEVEL : FLAGS_CONFORM;
        interrupt(t, ENTRY_IO_INTERRUPT, INTERRUPT_INT, flags, BUS_ISA, irq, BOARD_IOAPIC_ID, irq ? irq : 2);
        count++;
    }
    interrupt(t, ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTINT, FLAGS_CONFORM, BUS_ISA, 0, 0, 0);
    interrupt(t, ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, FLAGS_CONFORM, BUS_ISA, 0, ALL_APICS, 1);
    return count + 2;
}

void mptable_build(struct bytes *t, const struct mptable_config *cfg)
{
    size_t start = t->size;
    unsigned count = cfg->cpus + 3;

    bytes_add(t, "PCMP", 4);
    bytes_u16(t, 0); /* length */
    bytes_u8(t, SPEC_1_4);
    bytes_u8(t, 0);
    bytes_add(t, "RING3   ", 8);
    bytes_add(t, "PC          ", 12);
    bytes_u32(t, 0); /* no OEM table */
    bytes_u16(t, 0);
    bytes_u16(t, 0); /* entries */
    bytes_u32(t, BOARD_LAPIC);
    bytes_u32(t, 0); /* no extended table */
    for (unsigned i = 0; i < cfg->cpus; i++)
        processor(t, i, cfg);
    bus(t, BUS_PCI, "PCI   ");
    bus(t, BUS_ISA, "ISA   ");
    bytes_u8(t, ENTRY_IOAPIC);
    bytes_u8(t, BOARD_IOAPIC_ID);
    bytes_u8(t, IOAPIC_VERSION);
    bytes_u8(t, 1); /* enabled */
    bytes_u32(t, BOARD_IOAPIC);
    count += interrupts(t, cfg);

    bytes_patch(t, start + HEADER_LENGTH, t->size - start, 2);
    bytes_patch(t, start + HEADER_COUNT, count, 2);
    if (bytes_ok(t))
        t->data[start + HEADER_CHECKSUM] = checksum8(t->data + start, t->size - start);
}

void mptable_pointer(u8 p[MP_POINTER_SIZE], u32 table)
{
    memset(p, 0, MP_POINTER_SIZE);
    memcpy(p, "_MP_", 4);
    put_u32(p + 4, table);
    p[8] = 1; /* length in paragraphs */
    p[9] = SPEC_1_4;
    p[10] = checksum8(p, MP_POINTER_SIZE);
}
