/*
 * The real-time clock (Motorola MC146818A) with the extended RAM of the PIIX3.
 *
 * The divider chain counts virtual time plus `phase`; the time is `epoch` plus its seconds. While it is set (SET) or
 * the divider is held in reset, `fields` holds the time. Flags are found out when somebody looks: `seen` is the time up
 * to which they are right. So a host timer is needed only for the next event that is enabled and not yet flagged: the
 * line stays up until register C is read, and missed events become one.
 */
#include "dev/pc/rtc.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "event/clock.h"
#include "event/door.h"
#include "event/loop.h"
#include "mem/space.h"

#define SECOND 1000000000ull
#define DAY    86400u
#define UIP_NS 244000u /* UIP is up that long before an update */

enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WDAY, MDAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D };
#define CENTURY 0x32

#define A_UIP     BIT(7)
#define A_DIVIDER 0x70
#define A_RUN     0x20 /* 32.768 kHz, running */
#define A_HELD    0x60 /* 11x: divider in reset */
#define B_SET     BIT(7)
#define B_PIE     BIT(6)
#define B_AIE     BIT(5)
#define B_UIE     BIT(4)
#define B_SQWE    BIT(3)
#define B_BINARY  BIT(2)
#define B_24H     BIT(1)
#define C_IRQF    BIT(7)
#define C_PF      BIT(6)
#define C_AF      BIT(5)
#define C_UF      BIT(4)
#define D_VRT     BIT(7)
#define HOUR_PM   BIT(7)
#define ALARM_ANY 0xc0

/* The calendar as the guest sees it, in binary. */
enum { F_SEC, F_MIN, F_HOUR, F_WDAY, F_MDAY, F_MONTH, F_YEAR, F_CENTURY, FIELDS };

#define RTC_STATE(F, A, S)                                                                                             \
    F(u8, index, 1)                                                                                                    \
    F(u8, index2, 1)                                                                                                   \
    F(u8, a, 1)                                                                                                        \
    F(u8, b, 1)                                                                                                        \
    F(u8, c, 1)                                                                                                        \
    F(u64, epoch, 1)     /* seconds since 1970 when the divider chain stood at 0 */                                    \
    F(u32, phase, 1)     /* ns of the divider chain at virtual time 0 */                                               \
    F(u8, wday_shift, 1) /* days by which the guest's week is off */                                                   \
    A(u8, fields, FIELDS, 1)                                                                                           \
    F(u64, seen, 1)                                                                                                    \
    A(u8, ram, RTC_RAM_SIZE, 1)                                                                                        \
    F(bool, alarm, 2) /* told of, and not yet seen in register C */
STATE_DECLARE(rtc_state, RTC_STATE)
STATE_DEFINE(rtc_state, RTC_STATE, 2)

struct rtc {
    struct dev dev;
    struct rtc_state s;
    struct rtc_config cfg;
    struct timer timer;
    bool connected;
    struct mem_window window;
};

/* Calendar */

/* Days since 1970-01-01 of the proleptic Gregorian calendar; month may be anything. */
static i64 days_of(i64 year, i64 month, i64 day)
{
    year += (month - 1) / 12;
    month = (month - 1) % 12 + 1;
    /* Years from March: the day that a leap year adds is the last one. */
    i64 y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;
    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static void date_of(i64 days, i64 *year, u8 *month, u8 *day)
{
    i64 n = days + 719468;
    i64 y = (n * 400 + 399) / 146097;
    while (days_of(y, 3, 1) > days)
        y--;
    while (days_of(y + 1, 3, 1) <= days)
        y++;
    i64 in_year = days - days_of(y, 3, 1);
    i64 m = (in_year * 5 + 2) / 153;
    *day = (u8)(in_year - (m * 153 + 2) / 5 + 1);
    *month = (u8)(m < 10 ? m + 3 : m - 9);
    *year = m < 10 ? y : y + 1;
}

static u8 week_day(i64 days, u8 shift)
{
    return (u8)((days + 4 + shift) % 7 + 1); /* 1970-01-01 was a Thursday; 1 is Sunday */
}

static void fields_from(u8 *f, i64 seconds, u8 wday_shift)
{
    i64 days = seconds / DAY, year;
    u32 s = (u32)(seconds % DAY);
    date_of(days, &year, &f[F_MONTH], &f[F_MDAY]);
    f[F_SEC] = (u8)(s % 60);
    f[F_MIN] = (u8)(s / 60 % 60);
    f[F_HOUR] = (u8)(s / 3600);
    f[F_WDAY] = week_day(days, wday_shift);
    f[F_YEAR] = (u8)(year % 100);
    f[F_CENTURY] = (u8)(year / 100 % 100);
}

static i64 fields_days(const u8 *f)
{
    i64 days = days_of(f[F_CENTURY] * 100 + f[F_YEAR], f[F_MONTH] ? f[F_MONTH] : 1, f[F_MDAY]);
    return days < 0 ? 0 : days; /* before 1970: nobody does, and unsigned time is simpler */
}

static i64 fields_seconds(const u8 *f)
{
    return fields_days(f) * DAY + f[F_HOUR] * 3600 + f[F_MIN] * 60 + f[F_SEC];
}

/* Time */

static bool divider_held(const struct rtc *r)
{
    return (r->s.a & A_HELD) == A_HELD;
}

static bool running(const struct rtc *r)
{
    return !(r->s.b & B_SET) && !divider_held(r);
}

/* The divider chain at virtual time `now`, in ns, and the time in seconds since 1970. */
static u64 chain_at(const struct rtc *r, u64 now)
{
    return now + r->s.phase;
}

static u64 second_at(const struct rtc *r, u64 now)
{
    return r->s.epoch + chain_at(r, now) / SECOND;
}

static void fields_update(struct rtc *r, u64 now)
{
    if (running(r))
        fields_from(r->s.fields, (i64)second_at(r, now), r->s.wday_shift);
}

/* The fields become the time, at `fraction` ns of their second. */
static void fields_commit(struct rtc *r, u64 now, u64 fraction)
{
    u8 *f = r->s.fields;
    r->s.wday_shift = (u8)((f[F_WDAY] + 7u - week_day(fields_days(f), 0)) % 7);
    r->s.phase = (u32)((fraction + SECOND - now % SECOND) % SECOND);
    r->s.epoch = (u64)fields_seconds(f) - chain_at(r, now) / SECOND; /* may wrap below 1970; sums wrap back */
}

/* Flags */

/* Period of the periodic interrupt in 1/32768 s, 0 for none. Rates 1 and 2 are those of 8 and 9. */
static u32 periodic_ticks(const struct rtc *r)
{
    unsigned rate = r->s.a & 15;
    if (!rate || divider_held(r))
        return 0;
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static u64 periodic_number(const struct rtc *r, u64 now)
{
    return ns_to_ticks(chain_at(r, now), 32768) / periodic_ticks(r);
}

static bool alarm_match(u8 alarm, u8 value)
{
    return alarm >= ALARM_ANY || alarm == value;
}

static u8 decode(const struct rtc *r, unsigned reg, u8 v);

/* Second since the epoch, later than `t`, of the next alarm; 0 if the alarm registers name no time. */
static u64 next_alarm(const struct rtc *r, u64 t)
{
    u8 alarm[3];
    for (unsigned i = 0; i < 3; i++) {
        u8 raw = r->s.ram[SEC_ALARM + 2 * i];
        alarm[i] = raw >= ALARM_ANY ? raw : decode(r, SEC_ALARM + 2 * i, raw);
        if (raw < ALARM_ANY && alarm[i] >= (i == 2 ? 24 : 60))
            return 0;
    }
    u64 end = t + DAY;
    for (t++; t <= end;) { /* at most 24 + 59 + 59 steps and as many again where hour or minute begin late */
        u32 s = (u32)(t % DAY);
        if (!alarm_match(alarm[2], (u8)(s / 3600)))
            t += 3600 - s % 3600;
        else if (!alarm_match(alarm[1], (u8)(s / 60 % 60)))
            t += 60 - s % 60;
        else if (!alarm_match(alarm[0], (u8)(s % 60)))
            t++;
        else
            return t;
    }
    return 0;
}

static u8 flags_between(const struct rtc *r, u64 from, u64 to)
{
    u8 flags = 0;
    if (periodic_ticks(r) && periodic_number(r, to) > periodic_number(r, from))
        flags |= C_PF;
    if (running(r)) {
        u64 was = second_at(r, from), is = second_at(r, to);
        u64 alarm = is > was ? next_alarm(r, was) : 0;
        if (is > was)
            flags |= C_UF;
        if (alarm && alarm <= is)
            flags |= C_AF;
    }
    return flags;
}

/* Virtual time at which the clock changes to `second`. */
static u64 second_to_virtual(const struct rtc *r, u64 second)
{
    return (second - r->s.epoch) * SECOND - r->s.phase;
}

/* Time of the next event among `wanted` flags, UINT64_MAX if none comes. */
static u64 next_event(const struct rtc *r, u64 now, u8 wanted)
{
    u64 next = UINT64_MAX, t;
    u64 second = second_at(r, now);
    if (wanted & C_PF && periodic_ticks(r)) {
        t = ticks_to_ns((periodic_number(r, now) + 1) * periodic_ticks(r), 32768) - r->s.phase;
        next = t < next ? t : next;
    }
    if (wanted & C_UF && running(r)) {
        t = second_to_virtual(r, second + 1);
        next = t < next ? t : next;
    }
    if (wanted & C_AF && running(r)) {
        u64 alarm = next_alarm(r, second);
        t = second_to_virtual(r, alarm);
        next = alarm && t < next ? t : next;
    }
    return next;
}

static void tell_alarm(struct rtc *r)
{
    bool was = r->s.alarm;
    r->s.alarm = r->s.b & B_AIE && r->s.c & C_AF;
    if (r->s.alarm && !was && r->cfg.alarm)
        r->cfg.alarm(r->cfg.opaque);
}

/* Finds out the flags up to now, drives the line, and arranges for the next event. */
static void rtc_sync(struct rtc *r)
{
    u64 now = door_time(r->cfg.loop);
    u8 enabled = r->s.b & (B_PIE | B_AIE | B_UIE); /* same places as the flags */
    if (now > r->s.seen)
        r->s.c |= flags_between(r, r->s.seen, now);
    r->s.seen = now;
    r->s.c &= (u8)~C_IRQF;
    if (r->s.c & enabled)
        r->s.c |= C_IRQF;
    tell_alarm(r);
    timer_cancel(&r->timer);
    if (r->connected)
        irq_set(&r->cfg.irq, r->s.c & C_IRQF);
    u8 wanted = r->connected ? enabled : enabled & B_AIE;
    u64 next = r->s.c & wanted ? UINT64_MAX : next_event(r, now, wanted);
    if (next != UINT64_MAX)
        timer_set(&r->timer, next);
}

static void rtc_fire(void *opaque)
{
    rtc_sync(opaque);
}

void rtc_connect_irq(struct rtc *r, bool connected)
{
    if (r->connected && !connected)
        irq_set(&r->cfg.irq, false); /* from now on the line is somebody else's */
    r->connected = connected;
    rtc_sync(r);
}

/* Registers */

static u8 encode(const struct rtc *r, unsigned reg, u8 v)
{
    u8 pm = 0;
    if ((reg == HOUR || reg == HOUR_ALARM) && !(r->s.b & B_24H)) {
        pm = v >= 12 ? HOUR_PM : 0;
        v = v % 12 ? v % 12 : 12;
    }
    if (!(r->s.b & B_BINARY))
        v = (u8)((v / 10 % 10) << 4 | v % 10);
    return v | pm;
}

static u8 decode(const struct rtc *r, unsigned reg, u8 v)
{
    bool hour12 = (reg == HOUR || reg == HOUR_ALARM) && !(r->s.b & B_24H);
    bool pm = hour12 && v & HOUR_PM;
    if (hour12)
        v &= (u8)~HOUR_PM;
    if (!(r->s.b & B_BINARY))
        v = (u8)((v >> 4) * 10 + (v & 15));
    if (hour12)
        v = (u8)(v % 12 + (pm ? 12 : 0));
    return v;
}

/* Which field a register shows, -1 for none. */
static int field_of(unsigned reg)
{
    static const i8 fields[] = {
        [SEC] = F_SEC,     [SEC_ALARM] = -1, [MIN] = F_MIN,   [MIN_ALARM] = -1,  [HOUR] = F_HOUR,
        [HOUR_ALARM] = -1, [WDAY] = F_WDAY,  [MDAY] = F_MDAY, [MONTH] = F_MONTH, [YEAR] = F_YEAR,
    };
    if (reg == CENTURY)
        return F_CENTURY;
    return reg < ARRAY_SIZE(fields) ? fields[reg] : -1;
}

/* The century is BCD in BCD mode like all the rest. */
static u8 reg_read(struct rtc *r, unsigned reg)
{
    u64 now = door_time(r->cfg.loop);
    int field = field_of(reg);
    if (field >= 0) {
        fields_update(r, now);
        return encode(r, reg, r->s.fields[field]);
    }
    switch (reg) {
    case REG_A: {
        bool uip = running(r) && chain_at(r, now) % SECOND >= SECOND - UIP_NS;
        return r->s.a | (uip ? A_UIP : 0);
    }
    case REG_B:
        return r->s.b;
    case REG_C: {
        rtc_sync(r);
        u8 c = r->s.c;
        r->s.c = 0;
        rtc_sync(r);
        return c;
    }
    case REG_D:
        return D_VRT;
    default:
        return r->s.ram[reg];
    }
}

/* Registers A and B start and stop the clock. A released divider makes the first update half a second later. */
static void control_write(struct rtc *r, u8 a, u8 b)
{
    u64 now = door_time(r->cfg.loop);
    bool was_running = running(r), was_held = divider_held(r);
    u64 fraction = chain_at(r, now) % SECOND;

    fields_update(r, now);
    r->s.a = a & (u8)~A_UIP;
    r->s.b = b & B_SET ? b & (u8)~B_UIE : b; /* SET clears UIE */
    if (was_held && !divider_held(r))
        fraction = SECOND / 2;
    if (was_held != divider_held(r) || (!was_running && running(r)))
        fields_commit(r, now, fraction);
}

static void field_write(struct rtc *r, unsigned field, u8 value)
{
    u64 now = door_time(r->cfg.loop);
    fields_update(r, now);
    r->s.fields[field] = value;
    if (running(r))
        fields_commit(r, now, chain_at(r, now) % SECOND);
}

static void reg_write(struct rtc *r, unsigned reg, u8 v)
{
    int field = field_of(reg);
    rtc_sync(r); /* what happened so far happened under the old settings */
    if (field >= 0)
        field_write(r, (unsigned)field, decode(r, reg, v));
    else if (reg == REG_A)
        control_write(r, v, r->s.b);
    else if (reg == REG_B)
        control_write(r, r->s.a, v);
    else if (reg != REG_C && reg != REG_D)
        r->s.ram[reg] = v;
    rtc_sync(r);
}

u8 rtc_read(struct rtc *r, unsigned off)
{
    switch (off & 3) {
    case 1:
        return reg_read(r, r->s.index);
    case 2:
        return r->s.index2;
    case 3:
        return r->s.ram[0x80 | r->s.index2];
    default:
        return 0xff; /* the index is write-only */
    }
}

void rtc_write(struct rtc *r, unsigned off, u8 v)
{
    switch (off & 3) {
    case 0:
        r->s.index = v & 0x7f;
        if (r->cfg.nmi_mask)
            r->cfg.nmi_mask(r->cfg.opaque, v & 0x80);
        break;
    case 1:
        reg_write(r, r->s.index, v);
        break;
    case 2:
        r->s.index2 = v & 0x7f;
        break;
    case 3:
        r->s.ram[0x80 | r->s.index2] = v;
        break;
    }
}

void rtc_set_ram(struct rtc *r, unsigned index, u8 value)
{
    if (index > REG_D && index < RTC_RAM_SIZE)
        r->s.ram[index] = value;
}

u8 rtc_get_ram(const struct rtc *r, unsigned index)
{
    return index < RTC_RAM_SIZE ? r->s.ram[index] : 0xff;
}

static u64 port_read(void *opaque, u64 off, unsigned size)
{
    return rtc_read(opaque, (unsigned)off);
}

static void port_write(void *opaque, u64 off, u64 value, unsigned size)
{
    rtc_write(opaque, (unsigned)off, (u8)value);
}

static const struct mem_window_ops rtc_ops = {.read = port_read, .write = port_write, .min_size = 1, .max_size = 1};

/* Device */

static void *rtc_get_state(struct dev *d)
{
    return &container_of(d, struct rtc, dev)->s;
}

/* RESET: interrupts off; time, alarm and RAM live on the battery. */
static void rtc_reset(struct dev *d)
{
    struct rtc *r = container_of(d, struct rtc, dev);
    rtc_sync(r);
    r->s.b &= (u8) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    r->s.c = 0;
    r->s.index = r->s.index2 = 0;
    r->connected = true;
    if (r->cfg.nmi_mask)
        r->cfg.nmi_mask(r->cfg.opaque, false);
    rtc_sync(r);
}

static void rtc_loaded(struct dev *d)
{
    struct rtc *r = container_of(d, struct rtc, dev);
    r->s.index &= 0x7f;
    r->s.index2 &= 0x7f;
    r->s.wday_shift %= 7;
    r->s.phase %= SECOND;
    if (second_at(r, r->s.seen) >> 40)
        r->s.epoch = 0; /* no guest can set a year beyond 25755 */
    rtc_sync(r);
}

static void rtc_destroy(struct dev *d)
{
    struct rtc *r = container_of(d, struct rtc, dev);
    timer_cancel(&r->timer);
    if (r->cfg.mem)
        mem_port_unmap(r->cfg.mem, &r->window);
    free(r);
}

static const struct dev_class rtc_class = {
    .name = "rtc",
    .state = &rtc_state_class,
    .get_state = rtc_get_state,
    .reset = rtc_reset,
    .loaded = rtc_loaded,
    .destroy = rtc_destroy,
};

struct rtc *rtc_create(const struct rtc_config *cfg)
{
    struct rtc *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    u64 now = door_time(cfg->loop);
    r->dev.cls = &rtc_class;
    r->cfg = *cfg;
    r->s.a = A_RUN | 6; /* as firmware leaves it: 1024 Hz, should it be enabled */
    r->s.b = B_24H;
    u64 wall = door_wall_time(cfg->loop) - now;
    r->s.epoch = wall / SECOND;
    r->s.phase = (u32)(wall % SECOND);
    r->s.seen = now;
    r->connected = true;
    timer_init(&r->timer, cfg->loop, rtc_fire, r);
    r->window = (struct mem_window){.ops = &rtc_ops, .opaque = r, .name = "rtc", .size = 4};
    if (cfg->mem && mem_port_map(cfg->mem, &r->window, 0x70)) {
        free(r);
        return NULL;
    }
    return r;
}
