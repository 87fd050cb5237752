/*
 * Message-signalled interrupts: a write of `data` to `address` (0xfeexxxxx) that reaches the local APICs' bus. The I/O
 * APIC sends through it too. Lock held.
 */
#ifndef IRQ_MSI_H
#define IRQ_MSI_H

#include "base/types.h"

struct msi_sink {
    void (*send)(void *opaque, u64 address, u32 data);
    void *opaque;
};

static inline void msi_send(const struct msi_sink *sink, u64 address, u32 data)
{
    if (sink->send)
        sink->send(sink->opaque, address, data);
}

#endif
