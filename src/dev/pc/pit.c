/*
 * The 8254 programmable interval timer (Intel 231164), ports 0x40 to 0x43, and NMI status and control (port 0x61, PIIX3
 * 290550).
 *
 * Nothing counts here. A channel remembers at which tick of virtual time it was loaded; count and output follow from
 * the ticks since then. A host timer is set for the next rising edge of channel 0's output only. When the host is late,
 * missed edges become one.
 *
 * Ticks are absolute: virtual time at 1.193182 MHz. `elapsed` holds the ticks that were counted when the gate stopped
 * the channel. A count that is written to a running rate generator or square wave waits in `next` until the period is
 * over.
 */
#include "dev/pc/pit.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "event/clock.h"
#include "event/door.h"
#include "event/loop.h"
#include "mem/space.h"

#define CHANNELS    3
#define CONTROL     3
#define EDGE_MIN_NS 50000u /* between two interrupts: a divisor of 1 must not eat the host */

/* Port 0x61 */
#define P61_GATE2    BIT(0)
#define P61_WRITABLE 0x0f
#define P61_REFRESH  BIT(4)
#define P61_OUT2     BIT(5)
#define REFRESH_NS   15085u

/* Control word */
#define CW_LATCH     0
#define CW_READ_BACK 3
#define RB_NO_COUNT  BIT(5)
#define RB_NO_STATUS BIT(4)
enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };
enum { MODE_COUNT, MODE_ONE_SHOT, MODE_RATE, MODE_SQUARE, MODE_SW_STROBE, MODE_HW_STROBE };

#define PIT_STATE(F, A, S)                                                                                             \
    A(u8, mode, CHANNELS, 1)                                                                                           \
    A(u8, access, CHANNELS, 1)                                                                                         \
    A(bool, bcd, CHANNELS, 1)                                                                                          \
    A(bool, gate, CHANNELS, 1)                                                                                         \
    A(bool, loaded, CHANNELS, 1) /* has a count since the control word */                                              \
    A(bool, counting, CHANNELS, 1)                                                                                     \
    A(bool, waiting, CHANNELS, 1) /* `next` takes over at `next_at` (modes 2, 3) or at the trigger (1, 5) */           \
    A(bool, write_high, CHANNELS, 1)                                                                                   \
    A(bool, read_high, CHANNELS, 1)                                                                                    \
    A(u8, write_low, CHANNELS, 1)                                                                                      \
    A(u8, latched, CHANNELS, 1) /* bytes of the latched count still to be read */                                      \
    A(u16, latch, CHANNELS, 1)                                                                                         \
    A(bool, status_latched, CHANNELS, 1)                                                                               \
    A(u8, status, CHANNELS, 1)                                                                                         \
    A(u32, count, CHANNELS, 1) /* as loaded, 1 to 0x10000 */                                                           \
    A(u32, next, CHANNELS, 1)                                                                                          \
    A(u64, next_at, CHANNELS, 1)                                                                                       \
    A(u64, start, CHANNELS, 1)                                                                                         \
    A(u64, elapsed, CHANNELS, 1)                                                                                       \
    F(u8, port61, 1)
STATE_DECLARE(pit_state, PIT_STATE)
STATE_DEFINE(pit_state, PIT_STATE, 1)

struct pit {
    struct dev dev;
    struct pit_state s;
    struct pit_config cfg;
    struct timer timer;
    bool connected;
    struct mem_window window, window61;
};

static u64 ticks_now(const struct pit *p)
{
    return ns_to_ticks(door_time(p->cfg.loop), PIT_HZ);
}

static bool mode_is_periodic(u8 mode)
{
    return mode == MODE_RATE || mode == MODE_SQUARE;
}

static bool mode_is_triggered(u8 mode)
{
    return mode == MODE_ONE_SHOT || mode == MODE_HW_STROBE;
}

/* Ticks since the count was loaded. */
static u64 ticks_in(const struct pit_state *s, unsigned c, u64 now)
{
    return s->counting[c] ? now - s->start[c] : s->elapsed[c];
}

/* A square wave takes a new count at the end of either half; after the first half, output low, it goes on with the
 * second. */
static bool waits_for_low_half(const struct pit_state *s, unsigned c)
{
    return (s->next_at[c] - s->start[c]) % s->count[c] != 0;
}

/* Lets a count that waits for the end of the period take over if that has come. */
static void channel_sync(struct pit_state *s, unsigned c, u64 now)
{
    if (!s->waiting[c] || !mode_is_periodic(s->mode[c]) || !s->counting[c] || now < s->next_at[c])
        return;
    bool low_half = waits_for_low_half(s, c);
    s->count[c] = s->next[c];
    s->start[c] = s->next_at[c] - (low_half ? (s->count[c] + 1) / 2 : 0); /* may lie before 0: differences wrap */
    s->waiting[c] = false;
}

static bool channel_out(const struct pit_state *s, unsigned c, u64 now)
{
    u64 t = ticks_in(s, c, now), n = s->count[c];
    bool live = s->loaded[c] && (s->counting[c] || s->elapsed[c]);
    switch (s->mode[c]) {
    case MODE_COUNT:
        return live && t >= n;
    case MODE_ONE_SHOT:
        return !live || t >= n;
    case MODE_RATE:
        return !live || !s->counting[c] || n == 1 || t % n != n - 1;
    case MODE_SQUARE:
        return !live || !s->counting[c] || t % n < (n + 1) / 2;
    default:
        return !live || t != n;
    }
}

/* Counts down by one and wraps at `modulus`, or reloads, or counts by two in halves of the period. */
static u32 channel_count(const struct pit_state *s, unsigned c, u64 now)
{
    u64 t = ticks_in(s, c, now), n = s->count[c];
    u64 modulus = s->bcd[c] ? 10000 : 0x10000;
    if (s->mode[c] == MODE_RATE)
        return (u32)(n - t % n);
    if (s->mode[c] == MODE_SQUARE) {
        u64 half = (n + 1) / 2, at = t % n;
        return (u32)((n & ~1ull) - 2 * (at < half ? at : at - half));
    }
    return (u32)((n + modulus - t % modulus) % modulus);
}

static u16 to_bcd(u32 v)
{
    return (u16)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static u32 from_bcd(u16 v)
{
    return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
}

static u16 channel_value(const struct pit_state *s, unsigned c, u64 now)
{
    u32 v = channel_count(s, c, now);
    return s->bcd[c] ? to_bcd(v) : (u16)v;
}

/* IRQ0 */

/* Tick of the next rising edge of the output after `now`, or 0 if there is none to come. */
static u64 next_edge(const struct pit_state *s, unsigned c, u64 now)
{
    u64 t = ticks_in(s, c, now), n = s->count[c];
    if (!s->loaded[c] || !s->counting[c])
        return 0;
    switch (s->mode[c]) {
    case MODE_COUNT:
        return t < n ? s->start[c] + n : 0;
    case MODE_RATE:
    case MODE_SQUARE:
        if (s->waiting[c])
            return s->next_at[c] + (waits_for_low_half(s, c) ? s->next[c] / 2 : 0);
        return n > 1 ? now - t % n + n : 0;
    case MODE_SW_STROBE:
        return t < n + 1 ? s->start[c] + n + 1 : 0;
    default:
        return 0;
    }
}

/* After every change of channel 0. */
static void irq_arm(struct pit *p, u64 earliest_ns)
{
    timer_cancel(&p->timer);
    if (!p->connected)
        return;
    u64 edge = next_edge(&p->s, 0, ticks_now(p));
    if (!edge)
        return;
    u64 ns = ticks_to_ns(edge, PIT_HZ);
    timer_set(&p->timer, ns > earliest_ns ? ns : earliest_ns);
}

static void irq_fire(void *opaque)
{
    struct pit *p = opaque;
    channel_sync(&p->s, 0, ticks_now(p));
    irq_set(&p->cfg.irq, false);
    irq_set(&p->cfg.irq, true);
    irq_arm(p, door_time(p->cfg.loop) + EDGE_MIN_NS);
}

/*
 * After a control word or a count: the line falls with the output. It rises by counting only; the output of most modes
 * also rises with the control word, but no software waits for that interrupt and some is surprised by it.
 */
static void irq_follow(struct pit *p)
{
    if (p->connected && !channel_out(&p->s, 0, ticks_now(p)))
        irq_set(&p->cfg.irq, false);
    irq_arm(p, 0);
}

void pit_connect_irq(struct pit *p, bool connected)
{
    if (p->connected && !connected)
        irq_set(&p->cfg.irq, false); /* from now on the line is somebody else's */
    p->connected = connected;
    irq_arm(p, 0);
}

/* Loading */

static void channel_start(struct pit_state *s, unsigned c, u64 now)
{
    s->start[c] = now;
    s->elapsed[c] = 0;
    s->counting[c] = s->gate[c] || mode_is_triggered(s->mode[c]);
}

/* Where the running period (or half of it, for a square wave) ends: a new count waits for that. */
static u64 period_end(const struct pit_state *s, unsigned c, u64 now)
{
    u64 n = s->count[c], at = ticks_in(s, c, now) % n;
    u64 half = (n + 1) / 2;
    u64 left = s->mode[c] == MODE_SQUARE && at < half ? half - at : n - at;
    return now + left;
}

static void channel_load(struct pit_state *s, unsigned c, u16 value, u64 now)
{
    u32 n = s->bcd[c] ? from_bcd(value) : value;
    if (n == 0)
        n = s->bcd[c] ? 10000 : 0x10000;

    bool first = !s->loaded[c];
    s->loaded[c] = true;
    if (mode_is_triggered(s->mode[c]) || (mode_is_periodic(s->mode[c]) && !first && s->counting[c])) {
        s->next[c] = n;
        s->next_at[c] = mode_is_periodic(s->mode[c]) ? period_end(s, c, now) : 0;
        s->waiting[c] = true;
        return;
    }
    s->count[c] = n;
    channel_start(s, c, now);
}

static void channel_write(struct pit_state *s, unsigned c, u8 v, u64 now)
{
    channel_sync(s, c, now);
    switch (s->access[c]) {
    case ACCESS_LOW:
        channel_load(s, c, v, now);
        return;
    case ACCESS_HIGH:
        channel_load(s, c, (u16)(v << 8), now);
        return;
    }
    s->write_high[c] = !s->write_high[c];
    if (!s->write_high[c]) {
        channel_load(s, c, (u16)(v << 8 | s->write_low[c]), now);
        return;
    }
    s->write_low[c] = v;
    if (s->mode[c] == MODE_COUNT) { /* the first byte stops the count, and OUT goes low */
        s->counting[c] = false;
        s->elapsed[c] = 0;
        s->loaded[c] = false;
    }
}

/* Gate */

static void gate_set(struct pit_state *s, unsigned c, bool gate, u64 now)
{
    channel_sync(s, c, now);
    bool rising = gate && !s->gate[c], falling = !gate && s->gate[c];
    s->gate[c] = gate;
    if (!s->loaded[c])
        return;
    if (mode_is_triggered(s->mode[c])) {
        if (rising && s->waiting[c])
            s->count[c] = s->next[c];
        if (rising) {
            s->waiting[c] = false;
            channel_start(s, c, now);
        }
    } else if (falling && s->counting[c]) {
        s->elapsed[c] = now - s->start[c];
        s->counting[c] = false;
    } else if (rising && mode_is_periodic(s->mode[c])) {
        if (s->waiting[c])
            s->count[c] = s->next[c];
        s->waiting[c] = false;
        channel_start(s, c, now);
    } else if (rising) {
        s->start[c] = now - s->elapsed[c];
        s->counting[c] = true;
    }
}

/* Control word */

static void latch_count(struct pit_state *s, unsigned c, u64 now)
{
    if (s->latched[c])
        return;
    s->latch[c] = channel_value(s, c, now);
    s->latched[c] = s->access[c] == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct pit_state *s, unsigned c, u64 now)
{
    if (s->status_latched[c])
        return;
    bool null_count = !s->loaded[c] || s->waiting[c];
    s->status[c] =
        (u8)(channel_out(s, c, now) << 7 | null_count << 6 | s->access[c] << 4 | s->mode[c] << 1 | s->bcd[c]);
    s->status_latched[c] = true;
}

static void read_back(struct pit_state *s, u8 v, u64 now)
{
    for (unsigned c = 0; c < CHANNELS; c++) {
        if (!(v & BIT(c + 1)))
            continue;
        channel_sync(s, c, now);
        if (!(v & RB_NO_COUNT))
            latch_count(s, c, now);
        if (!(v & RB_NO_STATUS))
            latch_status(s, c, now);
    }
}

static void set_mode(struct pit_state *s, unsigned c, u8 v, u64 now)
{
    u8 mode = v >> 1 & 7;
    s->elapsed[c] = 0;
    s->start[c] = now;
    s->counting[c] = false;
    s->loaded[c] = false;
    s->waiting[c] = false;
    s->access[c] = v >> 4 & 3;
    s->mode[c] = mode > MODE_HW_STROBE ? mode & 3 : mode;
    s->bcd[c] = v & 1;
    s->write_high[c] = s->read_high[c] = false;
    s->latched[c] = 0;
    s->status_latched[c] = false;
}

static void control_write(struct pit *p, u8 v)
{
    struct pit_state *s = &p->s;
    u64 now = ticks_now(p);
    unsigned c = v >> 6;
    if (c == CW_READ_BACK) {
        read_back(s, v, now);
        return;
    }
    channel_sync(s, c, now);
    if ((v >> 4 & 3) == CW_LATCH) {
        latch_count(s, c, now);
        return;
    }
    set_mode(s, c, v, now);
    if (c == 0)
        irq_follow(p);
}

void pit_write(struct pit *p, unsigned off, u8 value)
{
    off &= 3;
    if (off == CONTROL) {
        control_write(p, value);
        return;
    }
    channel_write(&p->s, off, value, ticks_now(p));
    if (off == 0)
        irq_follow(p);
}

u8 pit_read(struct pit *p, unsigned off)
{
    struct pit_state *s = &p->s;
    unsigned c = off & 3;
    u64 now = ticks_now(p);
    if (c == CONTROL)
        return 0xff; /* write-only */
    channel_sync(s, c, now);
    if (s->status_latched[c]) {
        s->status_latched[c] = false;
        return s->status[c];
    }
    u16 v = s->latched[c] ? s->latch[c] : channel_value(s, c, now);
    if (s->latched[c])
        s->latched[c]--;
    if (s->access[c] != ACCESS_BOTH)
        return (u8)(s->access[c] == ACCESS_HIGH ? v >> 8 : v);
    s->read_high[c] = !s->read_high[c];
    return (u8)(s->read_high[c] ? v : v >> 8);
}

u8 pit_read_port61(struct pit *p)
{
    u64 ns = door_time(p->cfg.loop), now = ns_to_ticks(ns, PIT_HZ);
    channel_sync(&p->s, 2, now);
    u8 v = p->s.port61;
    if (ns / REFRESH_NS & 1)
        v |= P61_REFRESH;
    if (channel_out(&p->s, 2, now))
        v |= P61_OUT2;
    return v;
}

void pit_write_port61(struct pit *p, u8 value)
{
    p->s.port61 = value & P61_WRITABLE;
    gate_set(&p->s, 2, value & P61_GATE2, ticks_now(p));
}

/* Ports */

static u64 port_read(void *opaque, u64 off, unsigned size)
{
    return pit_read(opaque, (unsigned)off);
}

static void port_write(void *opaque, u64 off, u64 value, unsigned size)
{
    pit_write(opaque, (unsigned)off, (u8)value);
}

static u64 port61_read(void *opaque, u64 off, unsigned size)
{
    return pit_read_port61(opaque);
}

static void port61_write(void *opaque, u64 off, u64 value, unsigned size)
{
    pit_write_port61(opaque, (u8)value);
}

static const struct mem_window_ops pit_ops = {.read = port_read, .write = port_write, .min_size = 1, .max_size = 1};
static const struct mem_window_ops port61_ops = {
    .read = port61_read, .write = port61_write, .min_size = 1, .max_size = 1};

/* Device */

static void *pit_get_state(struct dev *d)
{
    return &container_of(d, struct pit, dev)->s;
}

/* The real chip comes up with anything; here with a control word of mode 3 and no count. */
static void pit_reset(struct dev *d)
{
    struct pit *p = container_of(d, struct pit, dev);
    memset(&p->s, 0, sizeof(p->s));
    for (unsigned c = 0; c < CHANNELS; c++) {
        p->s.mode[c] = MODE_SQUARE;
        p->s.access[c] = ACCESS_BOTH;
        p->s.gate[c] = c != 2;
        p->s.count[c] = p->s.next[c] = 0x10000;
    }
    p->connected = true;
    timer_cancel(&p->timer);
    irq_set(&p->cfg.irq, false);
}

static void pit_loaded(struct dev *d)
{
    struct pit *p = container_of(d, struct pit, dev);
    struct pit_state *s = &p->s;
    for (unsigned c = 0; c < CHANNELS; c++) {
        s->mode[c] %= MODE_HW_STROBE + 1;
        s->access[c] &= 3;
        if (s->count[c] == 0 || s->count[c] > 0x10000)
            s->count[c] = 0x10000;
        if (s->next[c] == 0 || s->next[c] > 0x10000)
            s->next[c] = 0x10000;
    }
    irq_arm(p, 0);
}

static void pit_destroy(struct dev *d)
{
    struct pit *p = container_of(d, struct pit, dev);
    timer_cancel(&p->timer);
    if (p->cfg.mem) {
        mem_port_unmap(p->cfg.mem, &p->window);
        mem_port_unmap(p->cfg.mem, &p->window61);
    }
    free(p);
}

static const struct dev_class pit_class = {
    .name = "pit",
    .state = &pit_state_class,
    .get_state = pit_get_state,
    .reset = pit_reset,
    .loaded = pit_loaded,
    .destroy = pit_destroy,
};

struct pit *pit_create(const struct pit_config *cfg)
{
    struct pit *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->dev.cls = &pit_class;
    p->cfg = *cfg;
    p->window = (struct mem_window){.ops = &pit_ops, .opaque = p, .name = "pit", .size = 4};
    p->window61 = (struct mem_window){.ops = &port61_ops, .opaque = p, .name = "port 0x61", .size = 1};
    timer_init(&p->timer, cfg->loop, irq_fire, p);
    pit_reset(&p->dev);
    if (cfg->mem && (mem_port_map(cfg->mem, &p->window, 0x40) || mem_port_map(cfg->mem, &p->window61, 0x61))) {
        pit_destroy(&p->dev);
        return NULL;
    }
    return p;
}
