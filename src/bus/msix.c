/* MSI-X. See msi.h. */
#include "bus/msi.h"

#include <string.h>

STATE_DEFINE(pci_msix_state, PCI_MSIX_STATE, 1)

#define PCI_CAP_ID_MSIX 0x11

enum {
    MSIX_CONTROL = 2,
    MSIX_TABLE = 4, /* offset | BAR number */
    MSIX_PENDING = 8,
    MSIX_SIZE = 12,
};

#define CONTROL_MASK_ALL BIT(14)
#define CONTROL_ENABLE   BIT(15)

/* The window: the table fills the lower half, the pending bits start the upper. */
#define PENDING_OFFSET 0x800
#define WINDOW_SIZE    0x1000

#define VECTOR_MASKED BIT(0)
enum { ENTRY_ADDRESS, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_WORDS };

static u16 msix_control(const struct pci_msix *m)
{
    return get_u16(m->func->s->config + m->cap + MSIX_CONTROL);
}

bool pci_msix_enabled(const struct pci_msix *m)
{
    return msix_control(m) & CONTROL_ENABLE;
}

static bool msix_masked(const struct pci_msix *m, unsigned n)
{
    return (msix_control(m) & CONTROL_MASK_ALL) || (m->s->table[n * ENTRY_WORDS + ENTRY_CONTROL] & VECTOR_MASKED) ||
           !pci_is_master(m->func);
}

static void msix_send(struct pci_msix *m, unsigned n)
{
    const u32 *entry = m->s->table + n * ENTRY_WORDS;

    msi_send(&m->func->bus->msi, entry[ENTRY_ADDRESS] | (u64)entry[ENTRY_ADDRESS_HIGH] << 32, entry[ENTRY_DATA]);
}

void pci_msix_notify(struct pci_msix *m, unsigned n)
{
    if (!pci_msix_enabled(m) || n >= m->vectors)
        return;
    if (msix_masked(m, n))
        m->s->pending |= BIT64(n);
    else
        msix_send(m, n);
}

static void msix_flush(struct pci_msix *m)
{
    if (!pci_msix_enabled(m))
        return;
    for (unsigned n = 0; n < m->vectors; n++) {
        if ((m->s->pending & BIT64(n)) && !msix_masked(m, n)) {
            m->s->pending &= ~BIT64(n);
            msix_send(m, n);
        }
    }
}

void pci_msix_written(struct pci_msix *m, unsigned off, unsigned size)
{
    if (ranges_overlap(off, size, m->cap, MSIX_SIZE) || ranges_overlap(off, size, PCI_COMMAND, 2))
        msix_flush(m);
}

static u64 window_read(void *opaque, u64 off, unsigned size)
{
    struct pci_msix *m = opaque;
    u64 value = 0;

    if (range_inside(off, size, m->vectors * ENTRY_WORDS * 4ull))
        memcpy(&value, (const u8 *)m->s->table + off, size);
    else if (off >= PENDING_OFFSET && range_inside(off - PENDING_OFFSET, size, sizeof(m->s->pending)))
        memcpy(&value, (const u8 *)&m->s->pending + (off - PENDING_OFFSET), size);
    return value;
}

static void window_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct pci_msix *m = opaque;

    if (!range_inside(off, size, m->vectors * ENTRY_WORDS * 4ull))
        return;
    memcpy((u8 *)m->s->table + off, &value, size);
    msix_flush(m);
}

static const struct mem_window_ops window_ops = {window_read, window_write, 4, 8};

void pci_msix_reset(struct pci_msix *m)
{
    memset(m->s, 0, sizeof(*m->s));
    for (unsigned n = 0; n < PCI_MSIX_MAX; n++)
        m->s->table[n * ENTRY_WORDS + ENTRY_CONTROL] = VECTOR_MASKED;
}

int pci_msix_init(struct pci_msix *m, struct pci_func *f, struct pci_msix_state *s, unsigned vectors, unsigned bar)
{
    unsigned cap = pci_func_cap(f, PCI_CAP_ID_MSIX, MSIX_SIZE);

    if (!cap)
        return -ENOSPC;
    m->func = f;
    m->s = s;
    m->cap = cap;
    m->vectors = vectors;
    m->window = (struct mem_window){.ops = &window_ops, .opaque = m, .name = "msi-x", .size = WINDOW_SIZE};
    pci_func_reg16(f, cap + MSIX_CONTROL, (u16)(vectors - 1), CONTROL_ENABLE | CONTROL_MASK_ALL);
    pci_func_reg32(f, cap + MSIX_TABLE, bar, 0);
    pci_func_reg32(f, cap + MSIX_PENDING, PENDING_OFFSET | bar, 0);
    pci_func_bar(f, bar, PCI_BAR_MEM32, &m->window);
    pci_msix_reset(m);
    return 0;
}
