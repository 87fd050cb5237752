/* MSI. See msi.h. */
#include "bus/msi.h"

#define PCI_CAP_ID_MSI 0x05

/* The capability with 64-bit addresses and masking. */
enum {
    MSI_CONTROL = 2,
    MSI_ADDRESS = 4,
    MSI_ADDRESS_HIGH = 8,
    MSI_DATA = 12,
    MSI_MASK = 16,
    MSI_PENDING = 20,
    MSI_SIZE = 24,
};

#define CONTROL_ENABLE        BIT(0)
#define CONTROL_CAPABLE_SHIFT 1
#define CONTROL_ENABLED_SHIFT 4
#define CONTROL_ENABLED       0x70
#define CONTROL_64BIT         BIT(7)
#define CONTROL_MASKING       BIT(8)

int pci_msi_init(struct pci_msi *m, struct pci_func *f, unsigned vectors)
{
    unsigned cap = pci_func_cap(f, PCI_CAP_ID_MSI, MSI_SIZE);
    unsigned log2 = (unsigned)__builtin_ctz(vectors);

    if (!cap)
        return -ENOSPC;
    m->func = f;
    m->cap = cap;
    pci_func_reg16(f, cap + MSI_CONTROL, (u16)(CONTROL_64BIT | CONTROL_MASKING | log2 << CONTROL_CAPABLE_SHIFT),
                   CONTROL_ENABLE | CONTROL_ENABLED);
    pci_func_reg32(f, cap + MSI_ADDRESS, 0, ~3u);
    pci_func_reg32(f, cap + MSI_ADDRESS_HIGH, 0, ~0u);
    pci_func_reg16(f, cap + MSI_DATA, 0, 0xffff);
    pci_func_reg32(f, cap + MSI_MASK, 0, (u32)(BIT64(vectors) - 1));
    return 0;
}

static u8 *msi_reg(const struct pci_msi *m, unsigned reg)
{
    return m->func->s->config + m->cap + reg;
}

bool pci_msi_enabled(const struct pci_msi *m)
{
    return get_u16(msi_reg(m, MSI_CONTROL)) & CONTROL_ENABLE;
}

/* How many vectors the guest granted: never more than were asked for. */
static unsigned msi_granted(const struct pci_msi *m)
{
    u16 control = get_u16(msi_reg(m, MSI_CONTROL));
    unsigned asked = (unsigned)bits(control, 3, 1), given = (unsigned)bits(control, 6, 4);

    return 1u << (given < asked ? given : asked);
}

static void msi_send_vector(struct pci_msi *m, unsigned n)
{
    unsigned granted = msi_granted(m);
    u64 address = get_u32(msi_reg(m, MSI_ADDRESS)) | (u64)get_u32(msi_reg(m, MSI_ADDRESS_HIGH)) << 32;
    u32 data = get_u16(msi_reg(m, MSI_DATA));

    data = (data & ~(granted - 1)) | (n & (granted - 1));
    msi_send(&m->func->bus->msi, address, data);
}

void pci_msi_notify(struct pci_msi *m, unsigned n)
{
    u8 *pending = msi_reg(m, MSI_PENDING);

    if (!pci_msi_enabled(m))
        return;
    if ((get_u32(msi_reg(m, MSI_MASK)) & BIT(n & 31)) || !pci_is_master(m->func))
        put_u32(pending, get_u32(pending) | BIT(n & 31));
    else
        msi_send_vector(m, n);
}

void pci_msi_written(struct pci_msi *m, unsigned off, unsigned size)
{
    u8 *pending = msi_reg(m, MSI_PENDING);

    if (!ranges_overlap(off, size, m->cap, MSI_SIZE) && !ranges_overlap(off, size, PCI_COMMAND, 2))
        return;
    if (!pci_msi_enabled(m) || !pci_is_master(m->func))
        return;
    u32 ready = get_u32(pending) & ~get_u32(msi_reg(m, MSI_MASK));
    put_u32(pending, get_u32(pending) & ~ready);
    for (; ready; ready &= ready - 1)
        msi_send_vector(m, (unsigned)__builtin_ctz(ready));
}
