/*
 * A PCI bus: functions, their configuration space, base address registers and INTx wires. PCI Local Bus
 * Specification 3.0, chapter 6.
 *
 * A device embeds a struct pci_func, describes it once (pci_func_init, pci_func_bar, pci_func_cap) and then only
 * answers: its windows are mapped and moved by the bus as the guest programs the BARs and the command register. Its
 * configuration bytes are declared state inside the device's own state (S(pci_func_state, pci, 1, 1)).
 *
 * Every byte of configuration space has a mask of bits that the guest may write and one of bits that it clears by
 * writing 1; all others keep their reset value.
 *
 * A BAR decodes only where it makes sense: not at 0, not over RAM, not beyond its address width. Anything else leaves
 * the window unmapped, which is also what makes the sizing protocol (write ones, read the mask) harmless.
 *
 * All functions need the machine lock.
 */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include "base/bits.h"
#include "irq/msi.h"
#include "mem/space.h"
#include "state/state.h"

#define PCI_DEVFN(device, function) ((device) << 3 | (function))

/* Configuration space header, type 0. */
enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x09, /* programming interface, subclass, class */
    PCI_CACHE_LINE = 0x0c,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYS_VENDOR = 0x2c,
    PCI_SUBSYS = 0x2e,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
    PCI_HEADER_END = 0x40,
    PCI_CONFIG_SIZE = 256,
};

#define PCI_COMMAND_IO           BIT(0)
#define PCI_COMMAND_MEMORY       BIT(1)
#define PCI_COMMAND_MASTER       BIT(2)
#define PCI_COMMAND_PARITY       BIT(6)
#define PCI_COMMAND_SERR         BIT(8)
#define PCI_COMMAND_INTX_DISABLE BIT(10)
#define PCI_STATUS_INTERRUPT     BIT(3)
#define PCI_STATUS_CAPABILITIES  BIT(4)
#define PCI_HEADER_MULTIFUNCTION 0x80

enum pci_bar_kind {
    PCI_BAR_NONE,
    PCI_BAR_IO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM64, /* takes the next slot too */
    PCI_BAR_MEM64_PREFETCH,
};

#define PCI_BARS 6
#define PCI_PINS 4

struct pci_func;

struct pci_bus {
    struct mem_space *mem;
    struct pci_func *func[256]; /* bus 0, by devfn */
    /* INTx: the board's four wires, each shared by counting. */
    void (*set_pirq)(void *opaque, unsigned pirq, bool level);
    void *pirq_opaque;
    u16 pirq_level[PCI_PINS];
    struct msi_sink msi;
};

#define PCI_FUNC_STATE(F, A, S)                                                                                        \
    A(u8, config, PCI_CONFIG_SIZE, 1)                                                                                  \
    F(bool, intx, 1) /* what the device asks for, before INTx Disable */
STATE_DECLARE(pci_func_state, PCI_FUNC_STATE)

struct pci_ident {
    u16 vendor, device;
    u16 subsys_vendor, subsys;
    u32 class; /* class << 16 | subclass << 8 | programming interface */
    u8 revision;
    u8 pin; /* 0 none, 1 INTA# to 4 INTD# */
    bool multifunction;
};

struct pci_bar {
    struct mem_window *window;
    enum pci_bar_kind kind;
};

struct pci_func {
    struct pci_bus *bus;
    u8 devfn;
    u8 cap_end;  /* first free byte for capabilities */
    u8 cap_last; /* offset of the last capability, 0 if none */
    bool wire;   /* derived: the INTx level this function puts on the bus now */
    struct pci_func_state *s;
    u8 initial[PCI_CONFIG_SIZE];
    u8 writable[PCI_CONFIG_SIZE];
    u8 clear[PCI_CONFIG_SIZE]; /* write 1 to clear */
    struct pci_bar bar[PCI_BARS];
    /* Before a guest's read of `size` bytes at `off`: the last moment to bring them up to date; may be NULL. */
    void (*reading)(void *opaque, unsigned off, unsigned size);
    /* After a guest's write of `size` bytes at `off` took effect; may be NULL. */
    void (*written)(void *opaque, unsigned off, unsigned size);
    void *opaque;
};

void pci_bus_init(struct pci_bus *bus, struct mem_space *mem, const struct msi_sink *msi);
/* Who gets the four INTx wires. */
void pci_bus_set_router(struct pci_bus *bus, void (*set_pirq)(void *opaque, unsigned pirq, bool level), void *opaque);

/* Fills in the header and puts the function on the bus. The slot must be free (-EBUSY). */
int pci_func_init(struct pci_func *f, struct pci_bus *bus, u8 devfn, const struct pci_ident *id,
                  struct pci_func_state *s) MUST_CHECK;
/* Unmaps and takes the function from the bus; harmless if it was never put there. */
void pci_func_remove(struct pci_func *f);

/* The window's size must be a power of two, at least 4 (I/O) or 16 (memory). */
void pci_func_bar(struct pci_func *f, unsigned n, enum pci_bar_kind kind, struct mem_window *window);
/* Room for a capability of `size` bytes, linked into the list; its offset, 0 if there is no room. Masks are the
 * caller's. */
unsigned pci_func_cap(struct pci_func *f, u8 id, unsigned size);
/* Initial value and masks of a register beyond the header. */
void pci_func_reg8(struct pci_func *f, unsigned off, u8 initial, u8 writable);
void pci_func_reg16(struct pci_func *f, unsigned off, u16 initial, u16 writable);
void pci_func_reg32(struct pci_func *f, unsigned off, u32 initial, u32 writable);

/* Power-on: initial configuration, windows unmapped, INTx down. */
void pci_func_reset(struct pci_func *f);
/* After the state was loaded: windows and wire as the configuration says. */
void pci_func_loaded(struct pci_func *f);

/* The INTx request of the function: a level. */
void pci_set_intx(struct pci_func *f, bool level);
/* May the function access memory by itself? */
bool pci_is_master(const struct pci_func *f);
/* Where BAR n decodes now; 0 if it does not. */
u64 pci_bar_address(const struct pci_func *f, unsigned n);

/*
 * Configuration accesses of 1, 2 or 4 bytes that do not cross a dword. `address` as in configuration mechanism #1: bus
 * << 16 | devfn << 8 | register. Nobody there: reads as all ones.
 */
u32 pci_config_read(struct pci_bus *bus, u32 address, unsigned size);
void pci_config_write(struct pci_bus *bus, u32 address, u32 value, unsigned size);

/* Which of the board's wires the pin of a device goes to: rotated by slot, as the i440FX boards do. pin 0 is INTA#. */
static inline unsigned pci_pirq(u8 devfn, unsigned pin)
{
    return (pin + (devfn >> 3) + PCI_PINS - 1) % PCI_PINS;
}

#endif
