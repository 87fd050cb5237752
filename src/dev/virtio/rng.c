/* See rng.h. */
#include "dev/virtio/rng.h"

#include <stdlib.h>

#include "event/door.h"

#define DEVICE_ID   4
#define PCI_CLASS   0x00ff00 /* of no class */
#define QUEUE_SIZE  64
#define REQUEST_MAX 4096u /* bytes for one request: its length is the guest's choice, and the lock is held */

#define VIRTIO_RNG_STATE(F, A, S) S(virtio_state, virtio, 1, 1)
STATE_DECLARE(virtio_rng_state, VIRTIO_RNG_STATE)
STATE_DEFINE(virtio_rng_state, VIRTIO_RNG_STATE, 1)

struct rng {
    struct virtio_device v;
    struct virtio_rng_state s;
    struct loop *loop;
    struct virtq_element e;
};

static void rng_notify(struct virtio_device *d, unsigned queue)
{
    struct rng *r = (struct rng *)d;
    struct virtq *q = &d->queue[queue];
    u8 bytes[REQUEST_MAX];

    for (unsigned n = 0; virtq_pop(q, &r->e); n++) {
        if (n == QUEUE_SIZE) {
            virtq_unpop(q, &r->e);
            virtio_again(d, queue);
            break;
        }
        u32 len = r->e.in_len < REQUEST_MAX ? r->e.in_len : REQUEST_MAX;
        door_random(r->loop, bytes, len);
        virtq_push(q, &r->e, virtq_write(&r->e, 0, bytes, len));
    }
    virtq_notify(q);
}

static void *rng_get_state(struct dev *d)
{
    return &((struct rng *)d)->s;
}

static void rng_reset(struct dev *d)
{
    virtio_device_reset((struct virtio_device *)d);
}

static void rng_loaded(struct dev *d)
{
    virtio_device_loaded((struct virtio_device *)d);
}

static void rng_destroy(struct dev *d)
{
    virtio_fini((struct virtio_device *)d);
    free(d);
}

static const struct dev_class rng_class = {
    .name = "virtio-rng",
    .state = &virtio_rng_state_class,
    .get_state = rng_get_state,
    .reset = rng_reset,
    .loaded = rng_loaded,
    .destroy = rng_destroy,
};

static const struct virtio_class rng_virtio = {.id = DEVICE_ID, .pci_class = PCI_CLASS, .notify = rng_notify};

struct virtio_device *virtio_rng_create(const struct virtio_host *host, struct error *err)
{
    struct rng *r = calloc(1, sizeof(*r));

    if (!r) {
        error_set(err, -ENOMEM, "virtio-rng: out of memory");
        return NULL;
    }
    r->v.dev.cls = &rng_class;
    r->loop = host->loop;
    virtio_init(&r->v, &rng_virtio, r->s.virtio, host, 0);
    virtio_queue(&r->v, QUEUE_SIZE);
    return &r->v;
}
