/* See p9.h. */
#include "dev/virtio/p9.h"

#include <stdlib.h>
#include <string.h>

#include "backend/share/share.h"
#include "base/bits.h"

#define DEVICE_ID     9
#define PCI_CLASS     0x018000 /* mass storage, other */
#define QUEUE_SIZE    128      /* Linux uses as many segments of a chain as there are entries */
#define MESSAGE_LEAST 7        /* size, type, tag */

enum { P9_MOUNT_TAG = 0 };                   /* feature */
enum { CONFIG_TAG_LEN = 0, CONFIG_TAG = 2 }; /* configuration */
_Static_assert(CONFIG_TAG + SHARE_TAG_MAX <= VIRTIO_CONFIG_MAX, "a tag");

#define VIRTIO_P9_STATE(F, A, S) S(virtio_state, virtio, 1, 1)
STATE_DECLARE(virtio_p9_state, VIRTIO_P9_STATE)
STATE_DEFINE(virtio_p9_state, VIRTIO_P9_STATE, 1)

struct p9 {
    struct virtio_device v;
    struct virtio_p9_state s;
    struct share *share;
    struct request *spare; /* requests that are not under way */
};

struct request {
    struct p9 *p9;
    struct virtq *queue;
    struct request *next; /* spare */
    struct virtq_element e;
    struct iovec iov[VIRTQ_MAX];
    struct share_request message;
};

static void request_put(struct request *r)
{
    r->next = r->p9->spare;
    r->p9->spare = r;
}

/* There are never more of them than descriptors in the ring. */
static struct request *request_get(struct p9 *p)
{
    struct request *r = p->spare;

    if (r)
        p->spare = r->next;
    else
        r = calloc(1, sizeof(*r));
    if (r)
        r->p9 = p;
    return r;
}

/* Later, on a thread of the share. */
static void message_done(struct share_request *message, u32 written)
{
    struct request *r = message->opaque;

    virtq_push(r->queue, &r->e, written);
    virtq_notify(r->queue);
    request_put(r);
}

static void request_start(struct request *r)
{
    struct virtq_element *e = &r->e;

    for (unsigned i = 0; i < (unsigned)e->outs + e->ins; i++)
        r->iov[i] = (struct iovec){e->seg[i].host, e->seg[i].len};
    r->message = (struct share_request){.out = r->iov,
                                        .outs = e->outs,
                                        .out_len = e->out_len,
                                        .in = r->iov + e->outs,
                                        .ins = e->ins,
                                        .in_len = e->in_len,
                                        .done = message_done,
                                        .opaque = r};
    u32 written = share_submit(r->p9->share, &r->message);
    if (written) {
        virtq_push(r->queue, e, written);
        request_put(r);
    }
}

static void p9_notify(struct virtio_device *d, unsigned queue)
{
    struct p9 *p = (struct p9 *)d;
    struct virtq *q = &d->queue[queue];
    struct request *r;

    for (unsigned n = 0; (r = request_get(p)); n++) {
        if (n == q->max || !virtq_pop(q, &r->e)) {
            request_put(r);
            if (n == q->max)
                virtio_again(d, queue);
            virtq_notify(q);
            return;
        }
        r->queue = q;
        if (r->e.out_len < MESSAGE_LEAST || r->e.in_len < SHARE_REPLY_MIN) {
            virtio_broken(d, queue, "a message has no header, or no room for a reply");
            virtq_push(q, &r->e, 0);
            request_put(r);
            return;
        }
        request_start(r);
    }
    virtq_notify(q);
    virtio_again(d, queue); /* the host is out of memory: later, perhaps */
}

static void p9_virtio_reset(struct virtio_device *d)
{
    share_reset(((struct p9 *)d)->share);
}

static void *p9_get_state(struct dev *d)
{
    return &((struct p9 *)d)->s;
}

static void p9_reset(struct dev *d)
{
    virtio_device_reset((struct virtio_device *)d);
}

static void p9_loaded(struct dev *d)
{
    virtio_device_loaded((struct virtio_device *)d);
}

static void p9_destroy(struct dev *d)
{
    struct p9 *p = (struct p9 *)d;

    virtio_fini(&p->v);
    while (p->spare) {
        struct request *r = p->spare;
        p->spare = r->next;
        free(r);
    }
    free(p);
}

static const struct dev_class p9_class = {
    .name = "virtio-9p",
    .state = &virtio_p9_state_class,
    .get_state = p9_get_state,
    .reset = p9_reset,
    .loaded = p9_loaded,
    .destroy = p9_destroy,
};

static const struct virtio_class p9_virtio = {
    .id = DEVICE_ID, .pci_class = PCI_CLASS, .notify = p9_notify, .reset = p9_virtio_reset};

struct virtio_device *virtio_p9_create(const struct virtio_host *host, struct share *share, struct error *err)
{
    struct p9 *p = calloc(1, sizeof(*p));

    if (!p) {
        error_set(err, -ENOMEM, "virtio-9p: out of memory");
        return NULL;
    }
    p->v.dev.cls = &p9_class;
    p->share = share;
    virtio_init(&p->v, &p9_virtio, p->s.virtio, host, BIT64(P9_MOUNT_TAG));
    virtio_queue(&p->v, QUEUE_SIZE);
    size_t len = strlen(share_tag(share));
    put_u16(p->v.config + CONFIG_TAG_LEN, (u16)len);
    memcpy(p->v.config + CONFIG_TAG, share_tag(share), len);
    p->v.config_size = CONFIG_TAG + (unsigned)len;
    return &p->v;
}
