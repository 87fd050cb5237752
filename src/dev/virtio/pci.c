/* See pci.h. */
#include "dev/virtio/pci.h"

#include <stdlib.h>

#include "bus/msi.h"

#define DEVICE_ID_BASE 0x1040
#define REVISION       1
#define SUBSYS_ID      0x1100

#define MSIX_BAR   1
#define WINDOW_BAR 4

/* The pages of the window. */
enum { PAGE_COMMON, PAGE_ISR, PAGE_DEVICE, PAGE_NOTIFY, PAGES };
#define WINDOW_SIZE     (PAGES * MEM_PAGE_SIZE)
#define NOTIFY_MULTIPLE 4

/* struct virtio_pci_cap (4.1.4): vendor capability, and what it points to. */
#define PCI_CAP_ID_VENDOR 0x09
enum { CAP_LENGTH = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_BYTES = 12, CAP_SIZE = 16 };
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };
enum { CAP_NOTIFY_MULTIPLIER = CAP_SIZE, CAP_PCI_DATA = CAP_SIZE, CAP_LONG = CAP_SIZE + 4 };

/* struct virtio_pci_common_cfg (4.1.4.3). */
enum {
    DEVICE_FEATURE_SELECT = 0x00,
    DEVICE_FEATURE = 0x04,
    DRIVER_FEATURE_SELECT = 0x08,
    DRIVER_FEATURE = 0x0c,
    CONFIG_MSIX_VECTOR = 0x10,
    NUM_QUEUES = 0x12,
    DEVICE_STATUS = 0x14,
    CONFIG_GENERATION = 0x15,
    QUEUE_SELECT = 0x16,
    QUEUE_SIZE = 0x18,
    QUEUE_MSIX_VECTOR = 0x1a,
    QUEUE_ENABLE = 0x1c,
    QUEUE_NOTIFY_OFF = 0x1e,
    QUEUE_DESC = 0x20,
    QUEUE_DRIVER = 0x28,
    QUEUE_DEVICE = 0x30,
    QUEUE_RESET = 0x3a,
    COMMON_SIZE = 0x3c,
};

#define ISR_QUEUE  BIT(0)
#define ISR_CONFIG BIT(1)

#define VIRTIO_PCI_STATE(F, A, S)                                                                                      \
    S(pci_func_state, pci, 1, 1)                                                                                       \
    S(pci_msix_state, msix, 1, 1)                                                                                      \
    F(u32, device_feature_select, 1)                                                                                   \
    F(u32, driver_feature_select, 1)                                                                                   \
    F(u16, queue_select, 1)                                                                                            \
    F(u16, config_vector, 1)                                                                                           \
    F(u8, isr, 1)
STATE_DECLARE(virtio_pci_state, VIRTIO_PCI_STATE)
STATE_DEFINE(virtio_pci_state, VIRTIO_PCI_STATE, 1)

struct virtio_pci {
    struct dev dev;
    struct virtio_pci_state s;
    struct pci_func func;
    struct pci_msix msix;
    struct mem_window window;
    struct virtio_device *device;
    unsigned cap_pci; /* offset of the capability for accesses through configuration space */
};

/* --- interrupts ------------------------------------------------------------------------------------------------- */

static void isr_set(struct virtio_pci *p, u8 isr)
{
    p->s.isr = isr;
    pci_set_intx(&p->func, isr && !pci_msix_enabled(&p->msix));
}

static void interrupt(struct virtio_pci *p, u16 vector, u8 isr)
{
    if (pci_msix_enabled(&p->msix))
        pci_msix_notify(&p->msix, vector); /* ignores VIRTQ_NO_VECTOR */
    else
        isr_set(p, p->s.isr | isr);
}

static void queue_interrupt(void *opaque, struct virtq *q)
{
    interrupt(opaque, q->s->vector, ISR_QUEUE);
}

static void config_interrupt(void *opaque)
{
    struct virtio_pci *p = opaque;

    interrupt(p, p->s.config_vector, ISR_CONFIG);
}

static void transport_reset(void *opaque)
{
    struct virtio_pci *p = opaque;

    p->s.config_vector = VIRTQ_NO_VECTOR;
    p->s.queue_select = 0;
    p->s.device_feature_select = p->s.driver_feature_select = 0;
    isr_set(p, 0);
}

static bool master(void *opaque)
{
    return pci_is_master(&((struct virtio_pci *)opaque)->func);
}

/* --- common configuration --------------------------------------------------------------------------------------- */

static u32 half(u64 value, u64 off)
{
    return (u32)(value >> (off & 4 ? 32 : 0));
}

/* Registers of the queue that is selected. One that is not there has size 0. */
static u32 queue_read(struct virtio_pci *p, u64 off)
{
    const struct virtq *q = virtio_queue_at(p->device, p->s.queue_select);

    if (!q)
        return 0;
    switch (off) {
    case QUEUE_SIZE:
        return q->s->size;
    case QUEUE_MSIX_VECTOR:
        return q->s->vector;
    case QUEUE_ENABLE:
        return q->s->enabled && !q->stopping;
    case QUEUE_NOTIFY_OFF:
        return q->index;
    case QUEUE_DESC:
    case QUEUE_DESC + 4:
        return half(q->s->desc, off);
    case QUEUE_DRIVER:
    case QUEUE_DRIVER + 4:
        return half(q->s->driver, off);
    case QUEUE_DEVICE:
    case QUEUE_DEVICE + 4:
        return half(q->s->device, off);
    case QUEUE_RESET:
        return q->stopping;
    default:
        return 0;
    }
}

static u32 common_read(struct virtio_pci *p, u64 off)
{
    const struct virtio_device *d = p->device;

    switch (off) {
    case DEVICE_FEATURE_SELECT:
        return p->s.device_feature_select;
    case DEVICE_FEATURE:
        return virtio_features(d, p->s.device_feature_select);
    case DRIVER_FEATURE_SELECT:
        return p->s.driver_feature_select;
    case DRIVER_FEATURE:
        return virtio_driver_features(d, p->s.driver_feature_select);
    case CONFIG_MSIX_VECTOR:
        return p->s.config_vector;
    case NUM_QUEUES:
        return d->queues;
    case DEVICE_STATUS:
        return virtio_status(d);
    case CONFIG_GENERATION:
        return d->s->generation & 0xff;
    case QUEUE_SELECT:
        return p->s.queue_select;
    default:
        return queue_read(p, off);
    }
}

static u16 vector_take(const struct virtio_pci *p, u32 value)
{
    return value < p->msix.vectors ? (u16)value : VIRTQ_NO_VECTOR;
}

static void half_set(u64 *value, u64 off, u32 v)
{
    *value = off & 4 ? (*value & 0xffffffff) | (u64)v << 32 : (*value & ~0xffffffffull) | v;
}

static void queue_write(struct virtio_pci *p, u64 off, u32 v)
{
    struct virtq *q = virtio_queue_at(p->device, p->s.queue_select);

    if (!q)
        return;
    if (off == QUEUE_MSIX_VECTOR)
        q->s->vector = vector_take(p, v);
    else if (off == QUEUE_ENABLE && v == 1)
        virtio_queue_enable(p->device, q->index);
    else if (off == QUEUE_RESET && v == 1)
        virtio_queue_reset(p->device, q->index);
    if (q->s->enabled)
        return;
    if (off == QUEUE_SIZE)
        q->s->size = (u16)v;
    else if (off == QUEUE_DESC || off == QUEUE_DESC + 4)
        half_set(&q->s->desc, off, v);
    else if (off == QUEUE_DRIVER || off == QUEUE_DRIVER + 4)
        half_set(&q->s->driver, off, v);
    else if (off == QUEUE_DEVICE || off == QUEUE_DEVICE + 4)
        half_set(&q->s->device, off, v);
}

static void common_write(struct virtio_pci *p, u64 off, u32 v)
{
    switch (off) {
    case DEVICE_FEATURE_SELECT:
        p->s.device_feature_select = v;
        break;
    case DRIVER_FEATURE_SELECT:
        p->s.driver_feature_select = v;
        break;
    case DRIVER_FEATURE:
        virtio_driver_features_write(p->device, p->s.driver_feature_select, v);
        break;
    case CONFIG_MSIX_VECTOR:
        p->s.config_vector = vector_take(p, v);
        break;
    case DEVICE_STATUS:
        virtio_status_write(p->device, (u8)v);
        break;
    case QUEUE_SELECT:
        p->s.queue_select = (u16)v;
        break;
    default:
        queue_write(p, off, v);
        break;
    }
}

/* --- the window ------------------------------------------------------------------------------------------------- */

static u8 isr_read(struct virtio_pci *p)
{
    u8 isr = p->s.isr;

    isr_set(p, 0);
    return isr;
}

static u64 window_read(void *opaque, u64 off, unsigned size)
{
    struct virtio_pci *p = opaque;
    u64 in = off % MEM_PAGE_SIZE;

    switch (off / MEM_PAGE_SIZE) {
    case PAGE_COMMON:
        return common_read(p, in);
    case PAGE_ISR:
        return in == 0 ? isr_read(p) : 0;
    case PAGE_DEVICE:
        return virtio_config_read(p->device, (unsigned)in, size);
    default:
        return 0;
    }
}

static void window_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct virtio_pci *p = opaque;
    u64 in = off % MEM_PAGE_SIZE;

    switch (off / MEM_PAGE_SIZE) {
    case PAGE_COMMON:
        common_write(p, in, (u32)value);
        break;
    case PAGE_DEVICE:
        virtio_config_write(p->device, (unsigned)in, (u32)value, size);
        break;
    case PAGE_NOTIFY:
        virtio_notify(p->device, (unsigned)in / NOTIFY_MULTIPLE);
        break;
    }
}

static const struct mem_window_ops window_ops = {window_read, window_write, 1, 4};

/* --- configuration space ---------------------------------------------------------------------------------------- */

/* What the capability for accesses through configuration space points to; false if that is nothing. */
static bool cap_target(const struct virtio_pci *p, u32 *off, u32 *len)
{
    const u8 *cap = p->func.s->config + p->cap_pci;

    *off = get_u32(cap + CAP_OFFSET);
    *len = get_u32(cap + CAP_BYTES);
    return cap[CAP_BAR] == WINDOW_BAR && (*len == 1 || *len == 2 || *len == 4) && !(*off % *len) &&
           range_inside(*off, *len, WINDOW_SIZE);
}

static void config_reading(void *opaque, unsigned off, unsigned size)
{
    struct virtio_pci *p = opaque;
    u32 target, len;

    if (ranges_overlap(off, size, p->cap_pci + CAP_PCI_DATA, 4) && cap_target(p, &target, &len))
        put_u32(p->func.s->config + p->cap_pci + CAP_PCI_DATA, (u32)window_read(p, target, len));
}

static void config_written(void *opaque, unsigned off, unsigned size)
{
    struct virtio_pci *p = opaque;
    u32 target, len;

    pci_msix_written(&p->msix, off, size);
    isr_set(p, p->s.isr); /* MSI-X may be on or off now */
    if (ranges_overlap(off, size, p->cap_pci + CAP_PCI_DATA, 4) && cap_target(p, &target, &len))
        window_write(p, target, get_u32(p->func.s->config + p->cap_pci + CAP_PCI_DATA) & (~0u >> (32 - 8 * len)), len);
    if (ranges_overlap(off, size, PCI_COMMAND, 2) && pci_is_master(&p->func))
        virtio_notify_all(p->device);
}

static unsigned cap_add(struct virtio_pci *p, u8 type, unsigned page, u32 bytes, unsigned size)
{
    unsigned cap = pci_func_cap(&p->func, PCI_CAP_ID_VENDOR, size);

    pci_func_reg8(&p->func, cap + CAP_LENGTH, (u8)size, 0);
    pci_func_reg8(&p->func, cap + CAP_TYPE, type, 0);
    pci_func_reg8(&p->func, cap + CAP_BAR, WINDOW_BAR, 0);
    pci_func_reg32(&p->func, cap + CAP_OFFSET, page * MEM_PAGE_SIZE, 0);
    pci_func_reg32(&p->func, cap + CAP_BYTES, bytes, 0);
    return cap;
}

/* All of them fit into the 192 bytes behind the header. */
static void caps_add(struct virtio_pci *p)
{
    const struct virtio_device *d = p->device;
    unsigned cap;

    (void)cap_add(p, CAP_COMMON, PAGE_COMMON, COMMON_SIZE, CAP_SIZE);
    (void)cap_add(p, CAP_ISR, PAGE_ISR, 1, CAP_SIZE);
    if (d->config_size)
        (void)cap_add(p, CAP_DEVICE, PAGE_DEVICE, d->config_size, CAP_SIZE);
    cap = cap_add(p, CAP_NOTIFY, PAGE_NOTIFY, d->queues * NOTIFY_MULTIPLE, CAP_LONG);
    pci_func_reg32(&p->func, cap + CAP_NOTIFY_MULTIPLIER, NOTIFY_MULTIPLE, 0);
    cap = p->cap_pci = cap_add(p, CAP_PCI, PAGE_COMMON, 0, CAP_LONG);
    pci_func_reg8(&p->func, cap + CAP_BAR, 0, 0xff);
    pci_func_reg32(&p->func, cap + CAP_OFFSET, 0, ~0u);
    pci_func_reg32(&p->func, cap + CAP_BYTES, 0, ~0u);
    pci_func_reg32(&p->func, cap + CAP_PCI_DATA, 0, ~0u);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *virtio_pci_get_state(struct dev *d)
{
    return &((struct virtio_pci *)d)->s;
}

/* The device resets itself, and us with it; but the machine may reset us first. */
static void virtio_pci_reset(struct dev *d)
{
    struct virtio_pci *p = (struct virtio_pci *)d;

    transport_reset(p);
    pci_msix_reset(&p->msix);
    pci_func_reset(&p->func);
}

static void virtio_pci_loaded(struct dev *d)
{
    struct virtio_pci *p = (struct virtio_pci *)d;

    p->s.config_vector = vector_take(p, p->s.config_vector);
    pci_func_loaded(&p->func);
}

static void virtio_pci_destroy(struct dev *d)
{
    struct virtio_pci *p = (struct virtio_pci *)d;

    virtio_connect(p->device, NULL);
    pci_func_remove(&p->func);
    free(p);
}

static const struct dev_class virtio_pci_class = {
    .name = "virtio-pci",
    .state = &virtio_pci_state_class,
    .get_state = virtio_pci_get_state,
    .reset = virtio_pci_reset,
    .loaded = virtio_pci_loaded,
    .destroy = virtio_pci_destroy,
};

struct virtio_pci *virtio_pci_create(const struct virtio_pci_config *cfg, struct error *err)
{
    struct virtio_device *d = cfg->device;
    const struct pci_ident ident = {.vendor = VIRTIO_VENDOR,
                                    .device = (u16)(DEVICE_ID_BASE + d->cls->id),
                                    .subsys_vendor = VIRTIO_VENDOR,
                                    .subsys = SUBSYS_ID,
                                    .class = d->cls->pci_class,
                                    .revision = REVISION,
                                    .pin = 1};
    struct virtio_pci *p = calloc(1, sizeof(*p));

    if (!p) {
        error_set(err, -ENOMEM, "virtio-pci: out of memory");
        return NULL;
    }
    p->dev.cls = &virtio_pci_class;
    p->device = d;
    if (pci_func_init(&p->func, cfg->bus, cfg->devfn, &ident, p->s.pci) ||
        pci_msix_init(&p->msix, &p->func, p->s.msix, d->queues + 1, MSIX_BAR)) {
        error_set(err, -EBUSY, "virtio-pci: PCI slot %u is taken", cfg->devfn >> 3);
        pci_func_remove(&p->func);
        free(p);
        return NULL;
    }
    p->window = (struct mem_window){.ops = &window_ops, .opaque = p, .name = d->dev.cls->name, .size = WINDOW_SIZE};
    pci_func_bar(&p->func, WINDOW_BAR, PCI_BAR_MEM64, &p->window);
    caps_add(p);
    p->func.reading = config_reading;
    p->func.written = config_written;
    p->func.opaque = p;
    virtio_connect(d, &(struct virtio_transport){queue_interrupt, config_interrupt, transport_reset, master, p});
    virtio_pci_reset(&p->dev);
    return p;
}
