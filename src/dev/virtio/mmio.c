/* See mmio.h. */
#include "dev/virtio/mmio.h"

#include <stdlib.h>

#include "base/bits.h"

#define MAGIC   0x74726976u /* "virt" */
#define VERSION 2

enum {
    MAGIC_VALUE = 0x000,
    DEVICE_VERSION = 0x004,
    DEVICE_ID = 0x008,
    VENDOR_ID = 0x00c,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034,
    QUEUE_NUM = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC = 0x080,
    QUEUE_DRIVER = 0x090,
    QUEUE_DEVICE = 0x0a0,
    SHM_FIRST = 0x0b0, /* length and base of shared memory: there is none */
    SHM_LAST = 0x0bc,
    QUEUE_RESET = 0x0c0,
    CONFIG_GENERATION = 0x0fc,
    CONFIG = 0x100,
};

#define INTERRUPT_QUEUE  BIT(0)
#define INTERRUPT_CONFIG BIT(1)

#define VIRTIO_MMIO_STATE(F, A, S)                                                                                     \
    F(u32, device_features_sel, 1)                                                                                     \
    F(u32, driver_features_sel, 1)                                                                                     \
    F(u32, queue_sel, 1)                                                                                               \
    F(u32, interrupt, 1)
STATE_DECLARE(virtio_mmio_state, VIRTIO_MMIO_STATE)
STATE_DEFINE(virtio_mmio_state, VIRTIO_MMIO_STATE, 1)

struct virtio_mmio {
    struct dev dev;
    struct virtio_mmio_state s;
    struct mem_window window;
    struct irq_line irq;
    struct virtio_device *device;
};

/* --- interrupts ------------------------------------------------------------------------------------------------- */

static void interrupt_set(struct virtio_mmio *m, u32 interrupt)
{
    m->s.interrupt = interrupt;
    irq_set(&m->irq, interrupt != 0);
}

static void queue_interrupt(void *opaque, struct virtq *q)
{
    struct virtio_mmio *m = opaque;

    interrupt_set(m, m->s.interrupt | INTERRUPT_QUEUE);
}

static void config_interrupt(void *opaque)
{
    struct virtio_mmio *m = opaque;

    interrupt_set(m, m->s.interrupt | INTERRUPT_CONFIG);
}

static void transport_reset(void *opaque)
{
    struct virtio_mmio *m = opaque;

    m->s = (struct virtio_mmio_state){0};
    interrupt_set(m, 0);
}

static bool master(void *opaque)
{
    return true;
}

/* --- registers -------------------------------------------------------------------------------------------------- */

static struct virtq *selected(struct virtio_mmio *m)
{
    return virtio_queue_at(m->device, m->s.queue_sel);
}

static u32 register_read(struct virtio_mmio *m, u64 off)
{
    const struct virtio_device *d = m->device;
    const struct virtq *q = selected(m);

    if (off >= SHM_FIRST && off <= SHM_LAST)
        return ~0u;
    switch (off) {
    case MAGIC_VALUE:
        return MAGIC;
    case DEVICE_VERSION:
        return VERSION;
    case DEVICE_ID:
        return d->cls->id;
    case VENDOR_ID:
        return VIRTIO_VENDOR;
    case DEVICE_FEATURES:
        return virtio_features(d, m->s.device_features_sel);
    case QUEUE_NUM_MAX:
        return q ? q->max : 0;
    case QUEUE_READY:
        return q && q->s->enabled && !q->stopping;
    case INTERRUPT_STATUS:
        return m->s.interrupt;
    case STATUS:
        return virtio_status(d);
    case QUEUE_RESET:
        return q && q->stopping;
    case CONFIG_GENERATION:
        return d->s->generation;
    default:
        return 0;
    }
}

/* Addresses are in halves, each in a register of its own. */
static void address_write(struct virtq *q, u64 off, u32 v)
{
    static const u16 first[] = {QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE};
    u64 *const value[] = {&q->s->desc, &q->s->driver, &q->s->device};

    for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
        if (off == first[i])
            *value[i] = (*value[i] & ~0xffffffffull) | v;
        else if (off == first[i] + 4u)
            *value[i] = (*value[i] & 0xffffffff) | (u64)v << 32;
    }
}

static void queue_write(struct virtio_mmio *m, u64 off, u32 v)
{
    struct virtq *q = selected(m);

    if (!q)
        return;
    if (off == QUEUE_READY && v == 1)
        virtio_queue_enable(m->device, q->index);
    else if (off == QUEUE_READY && v == 0)
        virtio_queue_stop(m->device, q->index);
    else if (off == QUEUE_RESET && v == 1)
        virtio_queue_reset(m->device, q->index);
    if (q->s->enabled)
        return;
    if (off == QUEUE_NUM)
        q->s->size = v > UINT16_MAX ? 0 : (u16)v;
    else
        address_write(q, off, v);
}

static void register_write(struct virtio_mmio *m, u64 off, u32 v)
{
    switch (off) {
    case DEVICE_FEATURES_SEL:
        m->s.device_features_sel = v;
        break;
    case DRIVER_FEATURES:
        virtio_driver_features_write(m->device, m->s.driver_features_sel, v);
        break;
    case DRIVER_FEATURES_SEL:
        m->s.driver_features_sel = v;
        break;
    case QUEUE_SEL:
        m->s.queue_sel = v;
        break;
    case QUEUE_NOTIFY:
        virtio_notify(m->device, v);
        break;
    case INTERRUPT_ACK:
        interrupt_set(m, m->s.interrupt & ~v);
        break;
    case STATUS:
        virtio_status_write(m->device, (u8)v);
        break;
    default:
        queue_write(m, off, v);
        break;
    }
}

/* Registers are words; what is narrower, and not the device's configuration, is no access that a driver may make. */
static u64 window_read(void *opaque, u64 off, unsigned size)
{
    struct virtio_mmio *m = opaque;

    if (off >= CONFIG)
        return virtio_config_read(m->device, (unsigned)(off - CONFIG), size);
    return size == 4 && !(off % 4) ? register_read(m, off) : 0;
}

static void window_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct virtio_mmio *m = opaque;

    if (off >= CONFIG)
        virtio_config_write(m->device, (unsigned)(off - CONFIG), (u32)value, size);
    else if (size == 4 && !(off % 4))
        register_write(m, off, (u32)value);
}

static const struct mem_window_ops window_ops = {window_read, window_write, 1, 4};

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *virtio_mmio_get_state(struct dev *d)
{
    return &((struct virtio_mmio *)d)->s;
}

static void virtio_mmio_reset(struct dev *d)
{
    transport_reset(d);
}

static void virtio_mmio_loaded(struct dev *d)
{
    struct virtio_mmio *m = (struct virtio_mmio *)d;

    interrupt_set(m, m->s.interrupt);
}

static void virtio_mmio_destroy(struct dev *d)
{
    struct virtio_mmio *m = (struct virtio_mmio *)d;

    virtio_connect(m->device, NULL);
    mem_window_unmap(m->device->mem, &m->window);
    free(m);
}

static const struct dev_class virtio_mmio_class = {
    .name = "virtio-mmio",
    .state = &virtio_mmio_state_class,
    .get_state = virtio_mmio_get_state,
    .reset = virtio_mmio_reset,
    .loaded = virtio_mmio_loaded,
    .destroy = virtio_mmio_destroy,
};

struct virtio_mmio *virtio_mmio_create(const struct virtio_mmio_config *cfg, struct error *err)
{
    struct virtio_device *d = cfg->device;
    struct virtio_mmio *m = calloc(1, sizeof(*m));

    if (!m) {
        error_set(err, -ENOMEM, "virtio-mmio: out of memory");
        return NULL;
    }
    m->dev.cls = &virtio_mmio_class;
    m->device = d;
    m->irq = cfg->irq;
    m->window =
        (struct mem_window){.ops = &window_ops, .opaque = m, .name = d->dev.cls->name, .size = VIRTIO_MMIO_SIZE};
    if (mem_window_map(d->mem, &m->window, cfg->base)) {
        error_set(err, -EINVAL, "virtio-mmio: the window cannot be mapped");
        free(m);
        return NULL;
    }
    virtio_connect(d, &(struct virtio_transport){queue_interrupt, config_interrupt, transport_reset, master, m});
    return m;
}
