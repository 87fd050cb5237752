/* See balloon.h. */
#include "dev/virtio/balloon.h"

#include <stdlib.h>

#include "base/bits.h"

#define DEVICE_ID  5
#define PCI_CLASS  0x00ff00 /* of no class */
#define QUEUE_SIZE 128
#define QUEUES     5
#define TURN       8    /* chains for one notification: giving memory back takes the host some time */
#define PAGES_MAX  4096 /* page numbers of one chain; to give back is a favour, and the rest goes without */

enum { BALLOON_STATS_VQ = 1, BALLOON_DEFLATE_ON_OOM = 2, BALLOON_REPORTING = 5 };

/* struct virtio_balloon_config (5.5.4). */
enum { CONFIG_NUM_PAGES = 0, CONFIG_ACTUAL = 4, CONFIG_SIZE = 8 };

/* struct virtio_balloon_stat: tag, value; not aligned. */
enum { STAT_VALUE = 2, STAT_SIZE = 10 };

#define VIRTIO_BALLOON_STATE(F, A, S)                                                                                  \
    S(virtio_state, virtio, 1, 1)                                                                                      \
    F(u32, wanted, 1) /* pages */                                                                                      \
    F(u32, actual, 1)                                                                                                  \
    F(u64, reported, 1)                                                                                                \
    A(bool, known, VIRTIO_BALLOON_STATS, 1)                                                                            \
    A(u64, stat, VIRTIO_BALLOON_STATS, 1)
STATE_DECLARE(virtio_balloon_state, VIRTIO_BALLOON_STATE)
STATE_DEFINE(virtio_balloon_state, VIRTIO_BALLOON_STATE, 1)

struct balloon {
    struct virtio_device v;
    struct virtio_balloon_state s;
    struct virtq_element e;
};

/*
 * The standard numbers the queues from 0 to 4 (5.5.2), with free page hints, which we do not offer, at 3. Linux leaves
 * out the queues of features that were not negotiated, and numbers the rest without gaps. Both are understood.
 */
enum role { INFLATE, DEFLATE, STATS, REPORTING };

static enum role role_of(const struct virtio_device *d, unsigned queue)
{
    if (queue < STATS)
        return (enum role)queue;
    return queue == STATS && virtio_has(d, BALLOON_STATS_VQ) ? STATS : REPORTING;
}

static void pages_give(struct balloon *b, u64 first, u64 count)
{
    const void *host = mem_dma_map(b->v.mem, first * MEM_PAGE_SIZE, count * MEM_PAGE_SIZE, true);

    if (host)
        (void)mem_dma_discard(b->v.mem, host, count * MEM_PAGE_SIZE);
}

/* Page numbers that follow each other are given back together. */
static void inflate(struct balloon *b)
{
    u64 start = 0, pages = 0;
    u8 number[4];

    for (u32 n = 0; n < PAGES_MAX && virtq_read(&b->e, n * 4, number, 4) == 4; n++) {
        u64 page = get_u32(number);
        if (pages && page == start + pages) {
            pages++;
            continue;
        }
        pages_give(b, start, pages);
        start = page;
        pages = 1;
    }
    pages_give(b, start, pages);
}

static void report(struct balloon *b)
{
    for (unsigned i = b->e.outs; i < (unsigned)b->e.outs + b->e.ins; i++)
        b->s.reported += mem_dma_discard(b->v.mem, b->e.seg[i].host, b->e.seg[i].len);
}

static void stats_read(struct balloon *b)
{
    u8 raw[STAT_SIZE];

    for (u32 n = 0; n < 4 * VIRTIO_BALLOON_STATS; n++) {
        if (virtq_read(&b->e, n * STAT_SIZE, raw, STAT_SIZE) < STAT_SIZE)
            break;
        u16 tag = get_u16(raw);
        if (tag < VIRTIO_BALLOON_STATS) {
            b->s.stat[tag] = get_u64(raw + STAT_VALUE);
            b->s.known[tag] = true;
        }
    }
}

/* The driver's buffer stays in the ring until new numbers are wanted. */
static void stats_notify(struct balloon *b, struct virtq *q)
{
    if (!virtq_pop(q, &b->e))
        return;
    stats_read(b);
    virtq_unpop(q, &b->e);
}

static void stats_ask(struct balloon *b)
{
    struct virtq *q = &b->v.queue[STATS];

    if (!virtio_has(&b->v, BALLOON_STATS_VQ) || !virtq_pop(q, &b->e))
        return;
    virtq_push(q, &b->e, 0);
    virtq_notify(q);
    stats_notify(b, q); /* nothing there: so the driver tells when there is */
}

static void balloon_notify(struct virtio_device *d, unsigned queue)
{
    struct balloon *b = (struct balloon *)d;
    struct virtq *q = &d->queue[queue];
    enum role role = role_of(d, queue);

    if (role == STATS) {
        stats_notify(b, q);
        return;
    }
    for (unsigned n = 0; virtq_pop(q, &b->e); n++) {
        if (n == TURN) {
            virtq_unpop(q, &b->e);
            virtio_again(d, queue);
            break;
        }
        if (role == INFLATE)
            inflate(b);
        else if (role == REPORTING && virtio_has(d, BALLOON_REPORTING))
            report(b);
        virtq_push(q, &b->e, 0);
    }
    virtq_notify(q);
}

static void config_fill(struct balloon *b)
{
    put_u32(b->v.config + CONFIG_NUM_PAGES, b->s.wanted);
    put_u32(b->v.config + CONFIG_ACTUAL, b->s.actual);
}

static void balloon_config_write(struct virtio_device *d, unsigned off, u32 value, unsigned size)
{
    struct balloon *b = (struct balloon *)d;

    if (off != CONFIG_ACTUAL || size != 4)
        return;
    b->s.actual = value;
    config_fill(b);
}

void virtio_balloon_set(struct virtio_device *d, u64 bytes)
{
    struct balloon *b = (struct balloon *)d;
    u64 pages = bytes / MEM_PAGE_SIZE;

    b->s.wanted = pages > UINT32_MAX ? UINT32_MAX : (u32)pages;
    config_fill(b);
    virtio_config_changed(d);
}

void virtio_balloon_info(struct virtio_device *d, struct virtio_balloon_info *out)
{
    struct balloon *b = (struct balloon *)d;

    *out = (struct virtio_balloon_info){.driver = virtio_running(d),
                                        .wanted = (u64)b->s.wanted * MEM_PAGE_SIZE,
                                        .actual = (u64)b->s.actual * MEM_PAGE_SIZE,
                                        .reported = b->s.reported};
    for (unsigned n = 0; n < VIRTIO_BALLOON_STATS; n++) {
        out->known[n] = b->s.known[n];
        out->stat[n] = b->s.stat[n];
    }
    stats_ask(b);
}

/* A new driver has a new balloon, empty; what is wanted of it stays. */
static void balloon_virtio_reset(struct virtio_device *d)
{
    struct balloon *b = (struct balloon *)d;

    b->s.actual = 0;
    for (unsigned n = 0; n < VIRTIO_BALLOON_STATS; n++) {
        b->s.known[n] = false;
        b->s.stat[n] = 0;
    }
    config_fill(b);
}

static void *balloon_get_state(struct dev *d)
{
    return &((struct balloon *)d)->s;
}

static void balloon_reset(struct dev *d)
{
    struct balloon *b = (struct balloon *)d;

    b->s.reported = 0;
    virtio_device_reset(&b->v);
}

static void balloon_loaded(struct dev *d)
{
    config_fill((struct balloon *)d);
    virtio_device_loaded((struct virtio_device *)d);
}

static void balloon_destroy(struct dev *d)
{
    virtio_fini((struct virtio_device *)d);
    free(d);
}

static const struct dev_class balloon_class = {
    .name = "virtio-balloon",
    .state = &virtio_balloon_state_class,
    .get_state = balloon_get_state,
    .reset = balloon_reset,
    .loaded = balloon_loaded,
    .destroy = balloon_destroy,
};

static const struct virtio_class balloon_virtio = {
    .id = DEVICE_ID,
    .pci_class = PCI_CLASS,
    .notify = balloon_notify,
    .reset = balloon_virtio_reset,
    .config_write = balloon_config_write,
};

struct virtio_device *virtio_balloon_create(const struct virtio_host *host, struct error *err)
{
    struct balloon *b = calloc(1, sizeof(*b));

    if (!b) {
        error_set(err, -ENOMEM, "virtio-balloon: out of memory");
        return NULL;
    }
    b->v.dev.cls = &balloon_class;
    virtio_init(&b->v, &balloon_virtio, b->s.virtio, host,
                BIT64(BALLOON_STATS_VQ) | BIT64(BALLOON_DEFLATE_ON_OOM) | BIT64(BALLOON_REPORTING));
    for (unsigned n = 0; n < QUEUES; n++)
        virtio_queue(&b->v, QUEUE_SIZE);
    b->v.config_size = CONFIG_SIZE;
    return &b->v;
}
