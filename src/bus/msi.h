/*
 * MSI and MSI-X capabilities of a PCI function. PCI Local Bus Specification 3.0, section 6.8.
 *
 * MSI: one struct pci_msi beside the function; everything the guest sets lies in configuration space.
 * MSI-X: a table and pending bits in a 4 KiB memory window that fills a BAR of its own.
 *
 * A message is a memory write: the function sends none while Bus Master Enable is clear; it stays pending where the
 * standard has a place for that.
 *
 * All functions need the machine lock.
 */
#ifndef BUS_MSI_H
#define BUS_MSI_H

#include "bus/pci.h"

struct pci_msi {
    struct pci_func *func;
    unsigned cap; /* offset of the capability */
};

/* `vectors` is 1, 2, 4, 8, 16 or 32. With 64-bit addresses and per-vector masking. -ENOSPC if there is no room. */
int pci_msi_init(struct pci_msi *m, struct pci_func *f, unsigned vectors) MUST_CHECK;
bool pci_msi_enabled(const struct pci_msi *m);
/* Sends vector n, or marks it pending. */
void pci_msi_notify(struct pci_msi *m, unsigned n);
/* To be called from the function's `written`: sends what was unmasked. */
void pci_msi_written(struct pci_msi *m, unsigned off, unsigned size);

#define PCI_MSIX_MAX 64

#define PCI_MSIX_STATE(F, A, S)                                                                                        \
    A(u32, table, 4 * PCI_MSIX_MAX, 1) /* address low, address high, data, vector control */                           \
    F(u64, pending, 1)
STATE_DECLARE(pci_msix_state, PCI_MSIX_STATE)

struct pci_msix {
    struct pci_func *func;
    struct pci_msix_state *s;
    struct mem_window window;
    unsigned cap, vectors;
};

/* Takes BAR `bar` of the function for table and pending bits. 1 <= vectors <= PCI_MSIX_MAX. */
int pci_msix_init(struct pci_msix *m, struct pci_func *f, struct pci_msix_state *s, unsigned vectors,
                  unsigned bar) MUST_CHECK;
bool pci_msix_enabled(const struct pci_msix *m);
void pci_msix_notify(struct pci_msix *m, unsigned n);
void pci_msix_written(struct pci_msix *m, unsigned off, unsigned size);
/* Power-on: all vectors masked, nothing pending. */
void pci_msix_reset(struct pci_msix *m);

#endif
