/*
 * Every virtio device behind its transports: a driver that means well and then damages its rings, descriptors and
 * tables; registers and configuration space at random; requests that are done at any later time; resets and saved
 * state in between.
 */
#include "dev_fuzz.h"

#include "../device/block_stub.h"
#include "../device/net_stub.h"
#include "../device/share_stub.h"
#include "../device/virtio_driver.h"
#include "backend/char/chardev.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/mmio.h"
#include "dev/virtio/net.h"
#include "dev/virtio/p9.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vsock.h"

#define QUEUES    6
#define KIND_MASK 7
#define KIND_MMIO 0x80

struct rig {
    struct driver d;
    struct driver_queue q[QUEUES];
    struct block block;
    struct share share;
    struct chardev cd[2];
    struct net net;
};

static void cd_write(struct chardev *cd, const u8 *buf, size_t len)
{
    volatile u8 sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = (u8)(sum + buf[i]);
}

static void cd_kick(struct chardev *cd)
{
    u8 text[16] = "some typed text";
    size_t n = chardev_room(cd);
    if (n)
        cd->rx.receive(cd->rx.opaque, text, n < sizeof(text) ? n : sizeof(text));
}

static struct virtio_device *device_make(struct rig *r, u8 kind)
{
    struct virtio_host host = driver_host(&r->d, true);
    struct virtio_blk_config blk = {.block = &r->block, .queues = 3, .serial = "fuzz"};
    struct virtio_console_config console = {.chr = {&r->cd[0], &r->cd[1]}, .ports = 2};
    struct virtio_net_config net = {.net = &r->net, .mac = {2, 0, 0, 0, 0, 1}};
    const struct virtio_vsock_config vsock = {.net = &r->net, .cid = 3};
    r->net.room = r->net.can = kind >> 3 & FRAME_CAN_ALL;
    switch (kind & KIND_MASK) {
    case 0:
        return virtio_rng_create(&host, NULL);
    case 1:
        return virtio_blk_create(&host, &blk, NULL);
    case 2:
        return virtio_console_create(&host, &console, NULL);
    case 7:
        return virtio_vsock_create(&host, &vsock, NULL);
    case 6:
        return virtio_p9_create(&host, &r->share, NULL);
    case 3:
    case 5:
        return virtio_net_create(&host, &net, NULL);
    default:
        return virtio_balloon_create(&host, NULL);
    }
}

/* A driver that takes some of what is offered, and queues of some size. */
static void start(struct rig *r, struct script *s)
{
    u64 features = driver_offered(&r->d) & (script_take(s, 8) | BIT64(VIRTIO_F_VERSION_1));
    (void)driver_agree(&r->d, features);
    u16 size = (u16)(1u << (script_take(s, 1) & 7));
    for (unsigned n = 0; n < QUEUES; n++) {
        driver_queue(&r->d, &r->q[n], n, size);
        r->q[n].indirect = script_take(s, 1) & 1;
    }
    driver_ok(&r->d);
}

static u64 place(struct script *s)
{
    static const u64 bases[] = {DRIVER_DATA,       DRIVER_RING, DRIVER_TABLE,     0,
                                DRIVER_RAM - 4096, DRIVER_BAR,  UINT64_MAX - 4095};
    return bases[script_take(s, 1) % 8 % ARRAY_SIZE(bases)] + (script_take(s, 2) & 0xfff);
}

/* A request as devices want it: a header of 16 bytes, data, a byte of status. */
static void chain_step(struct rig *r, struct script *s)
{
    struct driver_queue *q = &r->q[script_take(s, 1) % QUEUES];
    struct driver_seg seg[8];
    unsigned count = 1 + (unsigned)script_take(s, 1) % ARRAY_SIZE(seg),
             outs = (unsigned)script_take(s, 1) % (count + 1);
    u8 *header = r->d.ram + DRIVER_DATA;
    put_u32(header, (u32)script_take(s, 1) & 15);
    put_u64(header + 8, script_value(s));
    for (unsigned n = 0; n < count; n++) {
        u8 how = (u8)script_take(s, 1);
        seg[n] = (struct driver_seg){DRIVER_DATA + (n ? n * 0x800ull : 0), 512u * (how & 3), n >= outs};
        if (n == 0)
            seg[n].len = 16;
        if (n + 1 == count)
            seg[n].len = 1;
        if (how & 0x40)
            seg[n].addr = place(s);
        if (how & 0x80)
            seg[n].len = (u32)script_value(s);
    }
    if (count <= q->size)
        (void)driver_add(&r->d, q, seg, count);
    driver_kick(&r->d, q);
}

/* A word of a ring or table becomes something else. */
static void damage_step(struct rig *r, struct script *s)
{
    u64 at = script_take(s, 1) & 1 ? DRIVER_RING + script_take(s, 2) % (QUEUES * 0x3000ull)
                                   : DRIVER_TABLE + script_take(s, 2);
    unsigned size = 1u << (script_take(s, 1) & 3);
    u64 value = script_value(s);
    memcpy(r->d.ram + align_down(at, size), &value, size);
    driver_kick(&r->d, &r->q[script_take(s, 1) % QUEUES]);
}

static void register_step(struct rig *r, struct script *s, u8 op)
{
    u64 at = op & 8 ? script_take(s, 1) & 0x3f : script_take(s, 2) & 0x3fff;
    unsigned size = 1u << (script_take(s, 1) & 3);
    if (op & 0x80)
        driver_write(&r->d, at, script_value(s), size);
    else
        (void)driver_read(&r->d, at, size);
}

static void config_step(struct rig *r, struct script *s, u8 op)
{
    unsigned at = (unsigned)script_take(s, 1);
    unsigned size = op & 0x10 ? 4 : 1;
    at &= ~(size - 1);
    loop_lock(r->d.loop);
    if (op & 0x80)
        pci_config_write(&r->d.bus, (u32)DRIVER_SLOT << 8 | at, (u32)script_value(s), size);
    else
        (void)pci_config_read(&r->d.bus, (u32)DRIVER_SLOT << 8 | at, size);
    loop_unlock(r->d.loop);
}

/* A frame for the guest, whose headers are likely, and with a header of its own. */
static void frame_step(struct rig *r, struct script *s)
{
    static const u8 tcp4[54] = {2, 0,    0, 0, 0, 1, 2, 0, 0, 0,  0, 2,          8,
                                0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, [46] = 0x50};
    static u8 frame[FRAME_MAX];
    struct frame_header h = {
        (u8)script_take(s, 1) & 3, (u8)script_take(s, 1) & 0x85, 54, (u16)script_take(s, 2), 34, 16};
    size_t len = 54 + (size_t)script_take(s, 2) % (FRAME_MAX - 54);

    memcpy(frame, tcp4, sizeof(tcp4));
    frame[16] = (u8)((len - 14) >> 8);
    frame[17] = (u8)(len - 14);
    frame[script_take(s, 1) % 64] ^= (u8)script_take(s, 1);
    loop_lock(r->d.loop);
    (void)stub_give(&r->net, &h, frame, len);
    stub_room(&r->net, (unsigned)script_take(s, 1));
    loop_unlock(r->d.loop);
}

static void outside_step(struct rig *r, u8 op)
{
    loop_lock(r->d.loop);
    r->block.fail = op & 0x10 ? -EIO : 0;
    (void)stub_step(&r->block);
    (void)share_stub_step(&r->share);
    r->share.later = op & 8;
    char_kick(&r->cd[op >> 5 & 1]);
    loop_unlock(r->d.loop);
}

static void life_step(struct rig *r, struct script *s, u8 op)
{
    if (op & 0x80) {
        start(r, s);
        return;
    }
    share_drain(&r->share);
    block_drain(&r->block); /* as whoever saves or resets a machine does */
    loop_lock(r->d.loop);
    struct dev *transport = (struct dev *)r->d.pci, *device = &r->d.dev->dev;
    if (op & 0x10) {
        device->cls->reset(device);
        transport->cls->reset(transport);
    } else {
        script_state(s, op & 0x20 ? transport : device);
    }
    loop_unlock(r->d.loop);
    driver_place(&r->d);
}

/* The other transport: its registers alone, with whatever stands in memory. */
static void mmio_input(struct rig *r, struct script *s, u8 kind)
{
    static const u16 useful[] = {0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x90, 0xa0, 0xc0, 0x100};
    loop_lock(r->d.loop);
    struct virtio_device *device = device_make(r, kind);
    struct virtio_mmio *mmio =
        virtio_mmio_create(&(struct virtio_mmio_config){.base = DRIVER_BAR, .device = device}, NULL);
    loop_unlock(r->d.loop);
    if (!mmio)
        abort();
    static const u32 first[][2] = {{0x70, 3},       {0x24, 1},       {0x20, 1},       {0x70, 11}, {0x38, 8},
                                   {0x80, 0x10000}, {0x90, 0x11000}, {0xa0, 0x12000}, {0x44, 1},  {0x70, 15}};
    for (size_t n = 0; n < ARRAY_SIZE(first); n++)
        driver_write(&r->d, first[n][0], first[n][1], 4);
    while (script_more(s)) {
        u8 op = (u8)script_take(s, 1);
        u64 at = op & 0x40 ? script_take(s, 2) & 0x1ff : useful[(op >> 2 & 15) % ARRAY_SIZE(useful)];
        unsigned size = op & 0x40 ? 1u << (op >> 2 & 3) : 4;
        if ((op & 3) == 0)
            (void)driver_read(&r->d, at, size);
        else if ((op & 3) == 1)
            driver_write(&r->d, at, script_value(s), size);
        else if ((op & 3) == 2)
            r->d.ram[DRIVER_RING + script_take(s, 2) % 0x3000] = (u8)script_take(s, 1);
        else
            outside_step(r, op);
    }
    block_drain(&r->block);
    share_drain(&r->share);
    loop_lock(r->d.loop);
    ((struct dev *)mmio)->cls->destroy((struct dev *)mmio);
    device->dev.cls->destroy(&device->dev);
    loop_unlock(r->d.loop);
    mem_space_destroy(r->d.mem);
    loop_destroy(r->d.loop);
}

static void pci_input(struct rig *r, struct script *s, u8 kind)
{
    loop_lock(r->d.loop);
    struct virtio_device *device = device_make(r, kind);
    loop_unlock(r->d.loop);
    driver_attach(&r->d, device);
    start(r, s);

    while (script_more(s)) {
        u8 op = (u8)script_take(s, 1);
        switch (op & 7) {
        case 0:
        case 1:
            chain_step(r, s);
            break;
        case 2:
            damage_step(r, s);
            break;
        case 3:
            register_step(r, s, op);
            break;
        case 4:
            config_step(r, s, op);
            break;
        case 5:
            if (op & 8)
                frame_step(r, s);
            outside_step(r, op);
            break;
        case 6:
            script_time(s, r->d.loop);
            break;
        case 7:
            life_step(r, s, op);
            break;
        }
    }
    block_drain(&r->block);
    share_drain(&r->share);
    driver_close(&r->d);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct char_ops ops = {.write = cd_write, .kick = cd_kick};
    struct script s = {.data = data, .size = size};
    struct rig *r = calloc(1, sizeof(*r));

    if (!r)
        abort();
    driver_open(&r->d);
    stub_open(&r->block, r->d.loop);
    share_stub_open(&r->share, r->d.loop);
    r->cd[0].ops = r->cd[1].ops = &ops;
    u8 kind = (u8)script_take(&s, 1);
    if (kind & KIND_MMIO)
        mmio_input(r, &s, kind);
    else
        pci_input(r, &s, kind);
    free(r);
    return 0;
}
