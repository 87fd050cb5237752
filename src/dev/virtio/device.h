/*
 * A virtio device without its transport: status, features, queues, configuration. Virtual I/O Device (VIRTIO) 1.2,
 * chapter 2. Non-transitional: a driver that does not take VIRTIO_F_VERSION_1 is refused.
 *
 * A device embeds a struct virtio_device as its first member (which begins with a struct dev) and its declared state
 * has S(virtio_state, virtio, 1, 1). It says what it offers (virtio_init, virtio_queue), and answers to the hooks of
 * its class. A transport (pci.h) is a device of the machine of its own, made after it, which drives it through the
 * functions at the end.
 *
 * Reset: a driver may ask for it at any time, also while elements are out at a back end that writes to their memory.
 * Then the device stops at once, but is reset only when the last one was pushed, and until then shows its old status,
 * which is what drivers wait for (2.4.2, 4.1.4.3.2). A reset of the machine cannot wait: whoever resets it drains the
 * back ends first, or elements that are out are forgotten while their memory may still be written.
 *
 * All functions and hooks need the machine lock.
 */
#ifndef DEV_VIRTIO_DEVICE_H
#define DEV_VIRTIO_DEVICE_H

#include "base/log.h"
#include "dev/dev.h"
#include "dev/virtio/queue.h"
#include "event/loop.h"
#include "mem/space.h"

/* Device status (2.1). */
enum {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

/* Features that every device has or may have (6), by number. */
enum {
    VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_RING_PACKED = 34,
    VIRTIO_F_RING_RESET = 40,
};

#define VIRTIO_VENDOR 0x1af4 /* as a PCI vendor */

#define VIRTIO_QUEUES     16
#define VIRTIO_CONFIG_MAX 64

#define VIRTIO_STATE(F, A, S)                                                                                          \
    F(u8, status, 1)                                                                                                   \
    F(u64, features, 1) /* what the driver took */                                                                     \
    F(u32, generation, 1)                                                                                              \
    S(virtq_state, queue, VIRTIO_QUEUES, 1)
STATE_DECLARE(virtio_state, VIRTIO_STATE)

struct virtio_class {
    u16 id;        /* device type (5) */
    u32 pci_class; /* class << 16 | subclass << 8 | programming interface */
    /* There may be buffers in a queue. Only while the driver is ready. */
    void (*notify)(struct virtio_device *d, unsigned queue);
    /* Back to what a driver finds; nothing is out. May be NULL. */
    void (*reset)(struct virtio_device *d);
    /* The driver is ready (DRIVER_OK); before the first notify. May be NULL. */
    void (*ready)(struct virtio_device *d);
    /* The driver wrote to the configuration. NULL: it cannot. */
    void (*config_write)(struct virtio_device *d, unsigned off, u32 value, unsigned size);
};

/* The device's side of a transport. */
struct virtio_transport {
    void (*queue_interrupt)(void *opaque, struct virtq *q);
    void (*config_interrupt)(void *opaque);
    void (*reset)(void *opaque);  /* the device was reset */
    bool (*master)(void *opaque); /* may it access memory? */
    void *opaque;
};

struct virtio_device {
    struct dev dev;
    const struct virtio_class *cls;
    struct virtio_state *s;
    struct mem_space *mem;
    const struct log *log;
    struct virtio_transport transport;
    u64 offered;
    u8 config[VIRTIO_CONFIG_MAX]; /* derived: the device keeps it up to date */
    unsigned config_size;
    struct virtq queue[VIRTIO_QUEUES];
    unsigned queues;
    bool resetting; /* waits for elements that are out */
    u32 again;      /* queues to look at again, by the timer */
    struct timer timer;
    struct log_limit limit;
};

/* What the makers of all devices are given. */
struct virtio_host {
    struct mem_space *mem;
    struct loop *loop;
    const struct log *log;
    bool packed; /* offer packed rings */
};

/* --- for devices ------------------------------------------------------------------------------------------------ */

/* `d` is zero but for dev.cls. `features`: those of its own. */
void virtio_init(struct virtio_device *d, const struct virtio_class *cls, struct virtio_state *s,
                 const struct virtio_host *host, u64 features);
/* Before it is freed. */
void virtio_fini(struct virtio_device *d);
/* One more queue, of at most `size` entries (a power of two, up to VIRTQ_MAX). */
void virtio_queue(struct virtio_device *d, u16 size);

/* Power-on, for dev_class.reset; calls cls->reset. */
void virtio_device_reset(struct virtio_device *d);
/* For dev_class.loaded: all queues are looked at soon. */
void virtio_device_loaded(struct virtio_device *d);

/* Did the driver take the feature? */
static inline bool virtio_has(const struct virtio_device *d, unsigned feature)
{
    return d->s->features >> feature & 1;
}

/* The driver is ready, the device is not broken or about to be reset, and may access memory. */
bool virtio_running(const struct virtio_device *d);
/* A notify hook that took as much as a ring holds, and found no end, calls this and returns: it is called again from
 * the event loop. Else a processor that fills the ring could keep another one, and the lock, there for ever. */
void virtio_again(struct virtio_device *d, unsigned queue);
/* The configuration changed by itself: the driver is told. */
void virtio_config_changed(struct virtio_device *d);
/* The driver did what no driver may: the device needs a reset. */
void virtio_broken(struct virtio_device *d, unsigned queue, const char *why);

/* --- for queues ------------------------------------------------------------------------------------------------- */

void virtio_interrupt(struct virtio_device *d, struct virtq *q);
/* No element of the queue is out any more. */
void virtio_idle(struct virtio_device *d, struct virtq *q);

/* --- for transports --------------------------------------------------------------------------------------------- */

void virtio_connect(struct virtio_device *d, const struct virtio_transport *t);
u8 virtio_status(const struct virtio_device *d);
void virtio_status_write(struct virtio_device *d, u8 value);
/* 32 of the features at a time. */
u32 virtio_features(const struct virtio_device *d, u32 select);
u32 virtio_driver_features(const struct virtio_device *d, u32 select);
void virtio_driver_features_write(struct virtio_device *d, u32 select, u32 value);
u32 virtio_config_read(const struct virtio_device *d, unsigned off, unsigned size);
void virtio_config_write(struct virtio_device *d, unsigned off, u32 value, unsigned size);
/* NULL if there is none of that number. */
struct virtq *virtio_queue_at(struct virtio_device *d, unsigned n);
void virtio_queue_enable(struct virtio_device *d, unsigned n);
/* If VIRTIO_F_RING_RESET was agreed on. */
void virtio_queue_reset(struct virtio_device *d, unsigned n);
/* In any case. */
void virtio_queue_stop(struct virtio_device *d, unsigned n);
void virtio_notify(struct virtio_device *d, unsigned n);
/* All queues: what kept the device from looking is gone. */
void virtio_notify_all(struct virtio_device *d);

#endif
