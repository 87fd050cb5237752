/* See device.h. */
#include "dev/virtio/device.h"

#include "base/bits.h"
#include "event/door.h"

STATE_DEFINE(virtio_state, VIRTIO_STATE, 1)

/* What a driver may set, in steps; the rest is ours. */
#define STATUS_WRITABLE (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK | VIRTIO_FAILED)

static void again_fire(void *opaque)
{
    struct virtio_device *d = opaque;
    u32 again = d->again;

    d->again = 0;
    for (; again; again &= again - 1)
        virtio_notify(d, (unsigned)__builtin_ctz(again));
}

void virtio_again(struct virtio_device *d, unsigned queue)
{
    d->again |= BIT(queue);
    timer_set(&d->timer, door_time(d->timer.loop));
}

void virtio_fini(struct virtio_device *d)
{
    timer_cancel(&d->timer);
}

void virtio_init(struct virtio_device *d, const struct virtio_class *cls, struct virtio_state *s,
                 const struct virtio_host *host, u64 features)
{
    d->cls = cls;
    d->s = s;
    d->mem = host->mem;
    d->log = host->log;
    timer_init(&d->timer, host->loop, again_fire, d);
    d->offered = features | BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_INDIRECT_DESC) | BIT64(VIRTIO_F_EVENT_IDX) |
                 BIT64(VIRTIO_F_RING_RESET) | (host->packed ? BIT64(VIRTIO_F_RING_PACKED) : 0);
}

void virtio_queue(struct virtio_device *d, u16 size)
{
    unsigned n = d->queues++;

    d->queue[n] = (struct virtq){.dev = d, .s = &d->s->queue[n], .index = (u16)n, .max = size};
    virtq_reset(&d->queue[n]);
}

void virtio_connect(struct virtio_device *d, const struct virtio_transport *t)
{
    d->transport = t ? *t : (struct virtio_transport){0};
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static bool is_busy(const struct virtio_device *d)
{
    bool busy = false;

    for (unsigned n = 0; n < d->queues; n++)
        busy |= d->queue[n].busy != 0;
    return busy;
}

void virtio_device_reset(struct virtio_device *d)
{
    d->resetting = false;
    d->again = 0;
    timer_cancel(&d->timer);
    for (unsigned n = 0; n < d->queues; n++)
        virtq_reset(&d->queue[n]);
    d->s->status = 0;
    d->s->features = 0;
    if (d->transport.reset)
        d->transport.reset(d->transport.opaque);
    if (d->cls->reset)
        d->cls->reset(d);
}

/* A stream cannot make a driver have what the device does not offer, nor run without having agreed on it. */
void virtio_device_loaded(struct virtio_device *d)
{
    d->resetting = false;
    d->s->features &= d->offered;
    if (!(d->s->status & VIRTIO_FEATURES_OK))
        d->s->status &= (u8)~VIRTIO_DRIVER_OK;
    for (unsigned n = 0; n < d->queues; n++)
        virtq_loaded(&d->queue[n]);
    for (unsigned n = 0; n < d->queues; n++)
        virtio_again(d, n);
}

void virtio_idle(struct virtio_device *d, struct virtq *q)
{
    if (q->stopping)
        virtq_reset(q);
    if (d->resetting && !is_busy(d))
        virtio_device_reset(d);
}

bool virtio_running(const struct virtio_device *d)
{
    return (d->s->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) == VIRTIO_DRIVER_OK && !d->resetting &&
           d->transport.master && d->transport.master(d->transport.opaque);
}

static void config_interrupt(struct virtio_device *d)
{
    if ((d->s->status & VIRTIO_DRIVER_OK) && d->transport.config_interrupt)
        d->transport.config_interrupt(d->transport.opaque);
}

void virtio_config_changed(struct virtio_device *d)
{
    d->s->generation++;
    config_interrupt(d);
}

void virtio_broken(struct virtio_device *d, unsigned queue, const char *why)
{
    if (d->s->status & VIRTIO_NEEDS_RESET)
        return;
    d->s->status |= VIRTIO_NEEDS_RESET;
    if (d->log)
        log_limited(d->log, &d->limit, LOG_WARN, "%s.%u: queue %u: %s; the device stops until the guest resets it",
                    d->dev.cls->name, d->dev.instance, queue, why);
    config_interrupt(d);
}

void virtio_interrupt(struct virtio_device *d, struct virtq *q)
{
    d->transport.queue_interrupt(d->transport.opaque, q);
}

/* --- status and features ---------------------------------------------------------------------------------------- */

u8 virtio_status(const struct virtio_device *d)
{
    return d->s->status;
}

static bool features_good(const struct virtio_device *d)
{
    return virtio_has(d, VIRTIO_F_VERSION_1) && !(d->s->features & ~d->offered);
}

/* Bits are set one after the other and never cleared but by a reset (2.1.1). */
void virtio_status_write(struct virtio_device *d, u8 value)
{
    u8 set = value & STATUS_WRITABLE & (u8)~d->s->status;

    if (!value) {
        d->resetting = is_busy(d);
        if (!d->resetting)
            virtio_device_reset(d);
        return;
    }
    if (d->resetting)
        return;
    if ((set & VIRTIO_FEATURES_OK) && !features_good(d))
        set &= (u8) ~(VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
    if (!((d->s->status | set) & VIRTIO_FEATURES_OK))
        set &= (u8)~VIRTIO_DRIVER_OK;
    d->s->status |= set;
    if (!(set & VIRTIO_DRIVER_OK))
        return;
    if (d->cls->ready)
        d->cls->ready(d);
    virtio_notify_all(d);
}

u32 virtio_features(const struct virtio_device *d, u32 select)
{
    return select < 2 ? (u32)(d->offered >> (32 * select)) : 0;
}

u32 virtio_driver_features(const struct virtio_device *d, u32 select)
{
    return select < 2 ? (u32)(d->s->features >> (32 * select)) : 0;
}

void virtio_driver_features_write(struct virtio_device *d, u32 select, u32 value)
{
    if (select > 1 || d->resetting || (d->s->status & VIRTIO_FEATURES_OK))
        return;
    d->s->features &= ~(0xffffffffull << (32 * select));
    d->s->features |= (u64)value << (32 * select);
}

/* --- configuration ---------------------------------------------------------------------------------------------- */

u32 virtio_config_read(const struct virtio_device *d, unsigned off, unsigned size)
{
    u32 value = 0;

    for (unsigned i = 0; i < size && off + i < d->config_size; i++)
        value |= (u32)d->config[off + i] << (8 * i);
    return value;
}

void virtio_config_write(struct virtio_device *d, unsigned off, u32 value, unsigned size)
{
    if (d->cls->config_write && !d->resetting && off + size <= d->config_size)
        d->cls->config_write(d, off, value, size);
}

/* --- queues ----------------------------------------------------------------------------------------------------- */

struct virtq *virtio_queue_at(struct virtio_device *d, unsigned n)
{
    return n < d->queues ? &d->queue[n] : NULL;
}

/* Before features are agreed on nobody knows what kind of ring it is. */
void virtio_queue_enable(struct virtio_device *d, unsigned n)
{
    struct virtq *q = virtio_queue_at(d, n);

    if (!q || q->s->enabled || q->stopping || d->resetting || !(d->s->status & VIRTIO_FEATURES_OK))
        return;
    virtq_start(q);
    virtio_notify(d, n);
}

void virtio_queue_stop(struct virtio_device *d, unsigned n)
{
    struct virtq *q = virtio_queue_at(d, n);

    if (!q || !q->s->enabled)
        return;
    q->stopping = q->busy != 0;
    if (!q->stopping)
        virtq_reset(q);
}

void virtio_queue_reset(struct virtio_device *d, unsigned n)
{
    if (virtio_has(d, VIRTIO_F_RING_RESET))
        virtio_queue_stop(d, n);
}

void virtio_notify(struct virtio_device *d, unsigned n)
{
    if (n < d->queues && d->queue[n].desc && virtio_running(d))
        d->cls->notify(d, n);
}

void virtio_notify_all(struct virtio_device *d)
{
    for (unsigned n = 0; n < d->queues; n++)
        virtio_notify(d, n);
}
