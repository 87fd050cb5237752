/* See blk.h. */
#include "dev/virtio/blk.h"

#include <stdlib.h>
#include <string.h>

#include "backend/block/block.h"
#include "base/bits.h"

#define DEVICE_ID  2
#define PCI_CLASS  0x018000 /* mass storage, other */
#define QUEUE_SIZE VIRTQ_MAX

/* Features (5.2.3). */
enum {
    BLK_SEG_MAX = 2,
    BLK_RO = 5,
    BLK_BLK_SIZE = 6,
    BLK_FLUSH = 9,
    BLK_TOPOLOGY = 10,
    BLK_CONFIG_WCE = 11,
    BLK_MQ = 12,
    BLK_DISCARD = 13,
    BLK_WRITE_ZEROES = 14,
};

/* struct virtio_blk_config (5.2.4). */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_MIN_IO_SIZE = 26,
    CONFIG_OPT_IO_SIZE = 28,
    CONFIG_WRITEBACK = 32,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_MAX_DISCARD_SECTORS = 36,
    CONFIG_MAX_DISCARD_SEG = 40,
    CONFIG_DISCARD_ALIGNMENT = 44,
    CONFIG_MAX_ZEROES_SECTORS = 48,
    CONFIG_MAX_ZEROES_SEG = 52,
    CONFIG_ZEROES_MAY_UNMAP = 56,
    CONFIG_SIZE = 60,
};

/* struct virtio_blk_req (5.2.6): type, reserved, sector; data; one byte of status. */
enum { REQUEST_HEADER = 16, REQUEST_SECTOR = 8 };
enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8, TYPE_DISCARD = 11, TYPE_WRITE_ZEROES = 13 };
enum { STATUS_OK, STATUS_IOERR, STATUS_UNSUPP };

/* struct virtio_blk_discard_write_zeroes: sector, count, flags. */
enum { RANGE_COUNT = 8, RANGE_FLAGS = 12, RANGE_SIZE = 16 };
#define RANGE_UNMAP   BIT(0)
#define RANGES_MAX    16u
#define RANGE_SECTORS ((u32)(GiB(1) / BLOCK_SECTOR))

#define VIRTIO_BLK_STATE(F, A, S)                                                                                      \
    S(virtio_state, virtio, 1, 1)                                                                                      \
    F(bool, writeback, 1) /* the guest wants the write cache, if it can choose */
STATE_DECLARE(virtio_blk_state, VIRTIO_BLK_STATE)
STATE_DEFINE(virtio_blk_state, VIRTIO_BLK_STATE, 1)

struct blk {
    struct virtio_device v;
    struct virtio_blk_state s;
    struct block *block;
    struct block_info info;
    char serial[VIRTIO_BLK_SERIAL];
    struct request *spare; /* requests that are not under way */
};

/* One request of the guest. What it asks of the back end is one part; of several ranges, one part each. */
struct request {
    struct blk *blk;
    struct virtq *queue;
    struct request *next; /* spare */
    struct virtq_element e;
    struct iovec iov[VIRTQ_MAX];
    unsigned waiting; /* parts that are not done */
    u8 status;
    struct block_request part[RANGES_MAX];
};

static void request_put(struct request *r)
{
    r->next = r->blk->spare;
    r->blk->spare = r;
}

/* There are never more of them than descriptors in all rings. */
static struct request *request_get(struct blk *b)
{
    struct request *r = b->spare;

    if (r)
        b->spare = r->next;
    else
        r = calloc(1, sizeof(*r));
    if (r)
        r->blk = b;
    return r;
}

/* The status is the last byte; the back end may have written to all before it, whatever it says. After a reset that
 * did not wait, the memory is not ours any more. */
static void request_end(struct request *r)
{
    struct virtq *q = r->queue;

    if (virtq_is_current(q, &r->e))
        (void)virtq_write(&r->e, r->e.in_len - 1, &r->status, 1);
    virtq_push(q, &r->e, r->e.in_len);
    request_put(r);
    virtq_notify(q);
}

static void request_fail(struct request *r, u8 status)
{
    r->status = status;
    request_end(r);
}

static void part_done(struct block_request *part, int status)
{
    struct request *r = part->opaque;

    if (status)
        r->status = STATUS_IOERR;
    if (--r->waiting == 0)
        request_end(r);
}

static void part_set(struct request *r, unsigned n, u8 op, u64 sector, u64 bytes)
{
    r->part[n] = (struct block_request){
        .op = op, .offset = sector * BLOCK_SECTOR, .length = bytes, .done = part_done, .opaque = r};
}

/* None of them is done before we return: that takes the lock that we hold. */
static void parts_submit(struct request *r, unsigned count)
{
    struct block *block = r->blk->block;

    r->status = STATUS_OK;
    r->waiting = count;
    for (unsigned n = 0; n < count; n++)
        block_submit(block, &r->part[n]);
}

static bool writes_back(const struct blk *b)
{
    return virtio_has(&b->v, BLK_CONFIG_WCE) ? b->s.writeback : virtio_has(&b->v, BLK_FLUSH);
}

static bool sectors_inside(const struct blk *b, u64 sector, u64 bytes)
{
    u64 sectors = b->info.size / BLOCK_SECTOR;

    return sector <= sectors && bytes / BLOCK_SECTOR <= sectors - sector;
}

/* Bytes [from, from + len) of the segments as a vector. */
static unsigned vector_fill(struct iovec *iov, const struct virtq_seg *seg, unsigned count, u32 from, u32 len)
{
    unsigned used = 0;

    for (unsigned i = 0; i < count && len; i++) {
        if (from >= seg[i].len) {
            from -= seg[i].len;
            continue;
        }
        u32 n = seg[i].len - from;
        n = n < len ? n : len;
        iov[used++] = (struct iovec){seg[i].host + from, n};
        len -= n;
        from = 0;
    }
    return used;
}

/* --- the kinds of request --------------------------------------------------------------------------------------- */

static void move_data(struct request *r, u64 sector, bool write)
{
    struct virtq_element *e = &r->e;
    u32 bytes = write ? e->out_len - REQUEST_HEADER : e->in_len - 1;
    const struct virtq_seg *seg = write ? e->seg : e->seg + e->outs;

    if (!bytes || bytes % BLOCK_SECTOR || !sectors_inside(r->blk, sector, bytes)) {
        request_fail(r, STATUS_IOERR);
        return;
    }
    part_set(r, 0, write ? BLOCK_WRITE : BLOCK_READ, sector, bytes);
    r->part[0].iov = r->iov;
    r->part[0].iovs = vector_fill(r->iov, seg, write ? e->outs : e->ins, write ? REQUEST_HEADER : 0, bytes);
    if (write && !writes_back(r->blk))
        r->part[0].flags = BLOCK_FUA;
    parts_submit(r, 1);
}

static void do_in(struct request *r, u64 sector)
{
    move_data(r, sector, false);
}

static void do_out(struct request *r, u64 sector)
{
    if (r->blk->info.read_only)
        request_fail(r, STATUS_IOERR);
    else
        move_data(r, sector, true);
}

static void do_flush(struct request *r, u64 sector)
{
    part_set(r, 0, BLOCK_FLUSH, 0, 0);
    parts_submit(r, 1);
}

static void do_get_id(struct request *r, u64 sector)
{
    u32 room = r->e.in_len - 1;

    (void)virtq_write(&r->e, 0, r->blk->serial, room < VIRTIO_BLK_SERIAL ? room : VIRTIO_BLK_SERIAL);
    request_fail(r, STATUS_OK);
}

/* One range, read once; the status that it would fail with. */
static u8 range_take(struct request *r, unsigned n, bool zeroes)
{
    u8 raw[RANGE_SIZE];

    (void)virtq_read(&r->e, REQUEST_HEADER + n * RANGE_SIZE, raw, RANGE_SIZE);
    u64 sector = get_u64(raw), bytes = (u64)get_u32(raw + RANGE_COUNT) * BLOCK_SECTOR;
    u32 flags = get_u32(raw + RANGE_FLAGS);
    if (flags & (zeroes ? ~RANGE_UNMAP : ~0u))
        return STATUS_UNSUPP;
    if (bytes / BLOCK_SECTOR > RANGE_SECTORS || !sectors_inside(r->blk, sector, bytes))
        return STATUS_IOERR;
    part_set(r, n, zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, sector, bytes);
    if (flags & RANGE_UNMAP)
        r->part[n].flags = BLOCK_UNMAP;
    if (zeroes && !writes_back(r->blk))
        r->part[n].flags |= BLOCK_FUA;
    return STATUS_OK;
}

static void do_ranges(struct request *r, bool zeroes)
{
    u32 bytes = r->e.out_len - REQUEST_HEADER;
    unsigned count = bytes / RANGE_SIZE;
    u8 status = STATUS_OK;

    if (!bytes || bytes % RANGE_SIZE || count > RANGES_MAX || r->blk->info.read_only)
        status = STATUS_IOERR;
    for (unsigned n = 0; n < count && status == STATUS_OK; n++)
        status = range_take(r, n, zeroes);
    if (status == STATUS_OK)
        parts_submit(r, count);
    else
        request_fail(r, status);
}

static void do_discard(struct request *r, u64 sector)
{
    do_ranges(r, false);
}

static void do_write_zeroes(struct request *r, u64 sector)
{
    do_ranges(r, true);
}

static const struct {
    u32 type;
    void (*act)(struct request *r, u64 sector);
} kinds[] = {
    {TYPE_IN, do_in},         {TYPE_OUT, do_out},         {TYPE_FLUSH, do_flush},
    {TYPE_GET_ID, do_get_id}, {TYPE_DISCARD, do_discard}, {TYPE_WRITE_ZEROES, do_write_zeroes},
};

static void request_start(struct request *r)
{
    u8 header[REQUEST_HEADER];

    (void)virtq_read(&r->e, 0, header, REQUEST_HEADER);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (kinds[i].type == get_u32(header)) {
            kinds[i].act(r, get_u64(header + REQUEST_SECTOR));
            return;
        }
    }
    request_fail(r, STATUS_UNSUPP);
}

/* --- the device ------------------------------------------------------------------------------------------------- */

static void blk_notify(struct virtio_device *d, unsigned queue)
{
    struct blk *b = (struct blk *)d;
    struct virtq *q = &d->queue[queue];
    struct request *r;

    for (unsigned n = 0; (r = request_get(b)); n++) {
        if (n == q->max || !virtq_pop(q, &r->e)) {
            request_put(r);
            if (n == q->max)
                virtio_again(d, queue);
            return;
        }
        r->queue = q;
        if (r->e.out_len < REQUEST_HEADER || r->e.in_len < 1) {
            virtio_broken(d, queue, "a request has no header, or no room for its status");
            virtq_push(q, &r->e, 0);
            request_put(r);
            return;
        }
        request_start(r);
    }
    virtio_again(d, queue); /* the host is out of memory: later, perhaps */
}

static void blk_config_write(struct virtio_device *d, unsigned off, u32 value, unsigned size)
{
    struct blk *b = (struct blk *)d;

    if (off != CONFIG_WRITEBACK || size != 1 || !virtio_has(d, BLK_CONFIG_WCE))
        return;
    b->s.writeback = value & 1;
    d->config[CONFIG_WRITEBACK] = b->s.writeback;
}

static void blk_virtio_reset(struct virtio_device *d)
{
    ((struct blk *)d)->s.writeback = true;
    d->config[CONFIG_WRITEBACK] = true;
}

static void *blk_get_state(struct dev *d)
{
    return &((struct blk *)d)->s;
}

static void blk_reset(struct dev *d)
{
    virtio_device_reset((struct virtio_device *)d);
}

static void blk_loaded(struct dev *d)
{
    struct blk *b = (struct blk *)d;

    b->v.config[CONFIG_WRITEBACK] = b->s.writeback;
    virtio_device_loaded(&b->v);
}

static void blk_destroy(struct dev *d)
{
    struct blk *b = (struct blk *)d;

    virtio_fini(&b->v);
    while (b->spare) {
        struct request *r = b->spare;
        b->spare = r->next;
        free(r);
    }
    free(b);
}

static const struct dev_class blk_class = {
    .name = "virtio-blk",
    .state = &virtio_blk_state_class,
    .get_state = blk_get_state,
    .reset = blk_reset,
    .loaded = blk_loaded,
    .destroy = blk_destroy,
};

static const struct virtio_class blk_virtio = {
    .id = DEVICE_ID,
    .pci_class = PCI_CLASS,
    .notify = blk_notify,
    .reset = blk_virtio_reset,
    .config_write = blk_config_write,
};

static u64 features_of(const struct block_info *info)
{
    u64 all = BIT64(BLK_SEG_MAX) | BIT64(BLK_BLK_SIZE) | BIT64(BLK_FLUSH) | BIT64(BLK_TOPOLOGY) |
              BIT64(BLK_CONFIG_WCE) | BIT64(BLK_MQ);

    if (info->read_only)
        return all | BIT64(BLK_RO);
    return all | BIT64(BLK_WRITE_ZEROES) | (info->cluster ? BIT64(BLK_DISCARD) : 0);
}

/* A chain is a header, a status, and segments; discards are best in whole clusters. */
static void config_fill(struct blk *b, unsigned queues)
{
    u8 *c = b->v.config;
    u32 cluster = b->info.cluster > BLOCK_SECTOR ? b->info.cluster : BLOCK_SECTOR;

    put_u64(c + CONFIG_CAPACITY, b->info.size / BLOCK_SECTOR);
    put_u32(c + CONFIG_SEG_MAX, VIRTQ_MAX - 2);
    put_u32(c + CONFIG_BLK_SIZE, BLOCK_SECTOR);
    put_u16(c + CONFIG_MIN_IO_SIZE, 1);
    put_u32(c + CONFIG_OPT_IO_SIZE, 0);
    put_u16(c + CONFIG_NUM_QUEUES, (u16)queues);
    put_u32(c + CONFIG_MAX_DISCARD_SECTORS, RANGE_SECTORS);
    put_u32(c + CONFIG_MAX_DISCARD_SEG, RANGES_MAX);
    put_u32(c + CONFIG_DISCARD_ALIGNMENT, cluster / BLOCK_SECTOR);
    put_u32(c + CONFIG_MAX_ZEROES_SECTORS, RANGE_SECTORS);
    put_u32(c + CONFIG_MAX_ZEROES_SEG, RANGES_MAX);
    c[CONFIG_ZEROES_MAY_UNMAP] = 1;
    b->v.config_size = CONFIG_SIZE;
}

struct virtio_device *virtio_blk_create(const struct virtio_host *host, const struct virtio_blk_config *cfg,
                                        struct error *err)
{
    struct blk *b = calloc(1, sizeof(*b));

    if (!b) {
        error_set(err, -ENOMEM, "virtio-blk: out of memory");
        return NULL;
    }
    b->v.dev.cls = &blk_class;
    b->block = cfg->block;
    block_info(cfg->block, &b->info);
    if (cfg->serial)
        memcpy(b->serial, cfg->serial, strnlen(cfg->serial, VIRTIO_BLK_SERIAL));
    virtio_init(&b->v, &blk_virtio, b->s.virtio, host, features_of(&b->info));
    for (unsigned n = 0; n < cfg->queues; n++)
        virtio_queue(&b->v, QUEUE_SIZE);
    config_fill(b, cfg->queues);
    virtio_device_reset(&b->v);
    return &b->v;
}
