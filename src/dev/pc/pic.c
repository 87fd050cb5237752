/*
 * Two cascaded 8259A (Intel 231468) with the edge/level control registers of the PIIX3 (Intel 290550, section 2.5).
 *
 * Invariants: `line` holds the inputs as they are; IRR bits of level inputs follow them, those of edge inputs are
 * latched by a rising edge and cleared by the acknowledge. (The real chip drops an edge request when its input falls
 * again; latching it lets devices pulse.) INT goes low at every acknowledge, so that the next request is an edge again
 * for whoever listens; the slave's INT is the master's input 2.
 */
#include "dev/pc/pic.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "mem/space.h"

#define CASCADE  2
#define SPURIOUS 7

/* ICW1 and ICW4 */
#define ICW1_IC4  BIT(0)
#define ICW1_SNGL BIT(1)
#define ICW1_INIT BIT(4)
#define ICW4_8086 BIT(0)
#define ICW4_AEOI BIT(1)
#define ICW4_SFNM BIT(4)
/* OCW2 commands, bits 7 to 5 */
#define OCW2_EOI  BIT(5)
#define OCW2_SL   BIT(6)
#define OCW2_R    BIT(7)
/* OCW3 */
#define OCW3      BIT(3)
#define OCW3_RIS  BIT(0)
#define OCW3_RR   BIT(1)
#define OCW3_POLL BIT(2)
#define OCW3_SMM  BIT(5)
#define OCW3_ESMM BIT(6)

/* Index 0 is the master, 1 the slave. `expect` is the ICW that the next write to the odd port is, 0 for OCW1. */
#define PIC_STATE(F, A, S)                                                                                             \
    A(u8, line, 2, 1)                                                                                                  \
    A(u8, irr, 2, 1)                                                                                                   \
    A(u8, isr, 2, 1)                                                                                                   \
    A(u8, imr, 2, 1)                                                                                                   \
    A(u8, elcr, 2, 1)                                                                                                  \
    A(u8, vector, 2, 1)                                                                                                \
    A(u8, icw1, 2, 1)                                                                                                  \
    A(u8, icw4, 2, 1)                                                                                                  \
    A(u8, expect, 2, 1)                                                                                                \
    A(u8, highest, 2, 1) /* the input of highest priority: rotation */                                                 \
    A(bool, rotate_aeoi, 2, 1)                                                                                         \
    A(bool, special_mask, 2, 1)                                                                                        \
    A(bool, read_isr, 2, 1)                                                                                            \
    A(bool, poll, 2, 1)
STATE_DECLARE(pic_state, PIC_STATE)
STATE_DEFINE(pic_state, PIC_STATE, 1)

struct pic_port {
    struct mem_window window;
    struct pic *pic;
    unsigned chip;
};

struct pic {
    struct dev dev;
    struct pic_state s;
    struct mem_space *mem;
    struct irq_line intr;
    struct pic_port port[2];
    struct mem_window elcr_window;
};

/* Inputs that are edge-triggered whatever the guest writes: timer, keyboard, cascade; RTC, coprocessor error. */
static const u8 elcr_writable[2] = {0xf8, 0xde};

/* Number of the first set bit in order of priority, 8 if there is none. */
static unsigned first_by_priority(u8 set, u8 highest)
{
    for (unsigned i = 0; i < 8; i++)
        if (set & BIT((highest + i) & 7))
            return i;
    return 8;
}

/* The input that the chip would put through now, or -1. */
static int chip_request(const struct pic_state *s, unsigned chip)
{
    u8 in_service = s->isr[chip];
    if (s->special_mask[chip])
        in_service &= (u8)~s->imr[chip];
    unsigned want = first_by_priority(s->irr[chip] & (u8)~s->imr[chip], s->highest[chip]);
    unsigned serving = first_by_priority(in_service, s->highest[chip]);
    unsigned n = (want + s->highest[chip]) & 7;
    if (want < serving)
        return (int)n;
    /* Special fully nested: the slave in service may ask again, for it has sorted out its own priorities. */
    bool nested = chip == 0 && n == CASCADE && s->icw4[0] & ICW4_SFNM;
    return want < 8 && want == serving && nested ? (int)n : -1;
}

static void input_set(struct pic_state *s, unsigned chip, unsigned n, bool level)
{
    u8 bit = (u8)BIT(n);
    bool rising = level && !(s->line[chip] & bit);
    if (level)
        s->line[chip] |= bit;
    else
        s->line[chip] &= (u8)~bit;

    if (rising)
        s->irr[chip] |= bit;
    else if (!level && s->elcr[chip] & bit)
        s->irr[chip] &= (u8)~bit;
}

static void pic_update(struct pic *p)
{
    input_set(&p->s, 0, CASCADE, chip_request(&p->s, 1) >= 0);
    irq_set(&p->intr, chip_request(&p->s, 0) >= 0);
}

static void pic_input(void *opaque, unsigned n, bool level)
{
    struct pic *p = opaque;
    if (n == CASCADE)
        return;
    input_set(&p->s, n / 8, n % 8, level);
    pic_update(p);
}

struct irq_line pic_line(struct pic *p, unsigned n)
{
    return (struct irq_line){.set = pic_input, .opaque = p, .n = n & 15};
}

/* Acknowledge */

static void chip_ack(struct pic_state *s, unsigned chip, unsigned n)
{
    u8 bit = (u8)BIT(n);
    if (!(s->elcr[chip] & bit))
        s->irr[chip] &= (u8)~bit;
    if (!(s->icw4[chip] & ICW4_AEOI))
        s->isr[chip] |= bit;
    else if (s->rotate_aeoi[chip])
        s->highest[chip] = (n + 1) & 7;
}

/* The chip's INT is low after an acknowledge, if only for a moment. */
static void chip_drop_int(struct pic *p, unsigned chip)
{
    if (chip)
        input_set(&p->s, 0, CASCADE, false);
    else
        irq_set(&p->intr, false);
}

int pic_ack(struct pic *p)
{
    struct pic_state *s = &p->s;
    unsigned chip = 0;
    int n = chip_request(s, 0);
    if (n >= 0)
        chip_ack(s, 0, (unsigned)n);
    chip_drop_int(p, 0);
    if (n == CASCADE) {
        chip = 1;
        n = chip_request(s, 1);
        if (n >= 0)
            chip_ack(s, 1, (unsigned)n);
        chip_drop_int(p, 1);
    }
    pic_update(p);
    return s->vector[chip] + (n >= 0 ? n : SPURIOUS);
}

/* Registers */

static void write_icw1(struct pic_state *s, unsigned chip, u8 v)
{
    s->icw1[chip] = v;
    s->expect[chip] = 2;
    s->irr[chip] = s->line[chip] & s->elcr[chip]; /* an edge input has to rise again */
    s->isr[chip] = 0;
    s->imr[chip] = 0;
    s->highest[chip] = 0;
    s->rotate_aeoi[chip] = false;
    s->special_mask[chip] = false;
    s->read_isr[chip] = false;
    s->poll[chip] = false;
    if (!(v & ICW1_IC4))
        s->icw4[chip] = 0;
}

/* End of interrupt and rotation. Without SL the command is for the level in service of highest priority. */
static void write_ocw2(struct pic_state *s, unsigned chip, u8 v)
{
    unsigned n = v & 7;
    if (v & OCW2_EOI) {
        u8 candidates = s->isr[chip];
        if (s->special_mask[chip])
            candidates &= (u8)~s->imr[chip];
        if (!(v & OCW2_SL)) {
            unsigned order = first_by_priority(candidates, s->highest[chip]);
            if (order == 8)
                return;
            n = (order + s->highest[chip]) & 7;
        }
        s->isr[chip] &= (u8)~BIT(n);
    } else if (!(v & OCW2_SL)) {
        s->rotate_aeoi[chip] = v & OCW2_R;
        return;
    }
    if (v & OCW2_R)
        s->highest[chip] = (n + 1) & 7;
}

static void write_ocw3(struct pic_state *s, unsigned chip, u8 v)
{
    if (v & OCW3_POLL)
        s->poll[chip] = true;
    if (v & OCW3_RR)
        s->read_isr[chip] = v & OCW3_RIS;
    if (v & OCW3_ESMM)
        s->special_mask[chip] = v & OCW3_SMM;
}

/* ICW2 to ICW4. ICW3 tells how the chips are cascaded, which is wired. */
static void write_icw(struct pic_state *s, unsigned chip, u8 v)
{
    unsigned icw = s->expect[chip];
    if (icw == 2)
        s->vector[chip] = v & 0xf8;
    else if (icw == 4)
        s->icw4[chip] = v;

    if (icw == 2 && !(s->icw1[chip] & ICW1_SNGL))
        s->expect[chip] = 3;
    else
        s->expect[chip] = icw != 4 && s->icw1[chip] & ICW1_IC4 ? 4 : 0;
}

static void pic_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct pic_port *port = opaque;
    struct pic *p = port->pic;
    unsigned chip = port->chip;
    u8 v = (u8)value;

    if (off & 1) {
        if (p->s.expect[chip])
            write_icw(&p->s, chip, v);
        else
            p->s.imr[chip] = v;
    } else if (v & ICW1_INIT) {
        write_icw1(&p->s, chip, v);
        chip_drop_int(p, chip);
    } else if (v & OCW3) {
        write_ocw3(&p->s, chip, v);
    } else {
        write_ocw2(&p->s, chip, v);
    }
    pic_update(p);
}

/* The read after a poll command is the acknowledge: bit 7 and the level if there was a request. */
static u8 pic_poll(struct pic *p, unsigned chip)
{
    int n = chip_request(&p->s, chip);
    p->s.poll[chip] = false;
    if (n < 0)
        return 0;
    chip_ack(&p->s, chip, (unsigned)n);
    chip_drop_int(p, chip);
    pic_update(p);
    return (u8)(0x80 | n);
}

static u64 pic_read(void *opaque, u64 off, unsigned size)
{
    struct pic_port *port = opaque;
    const struct pic_state *s = &port->pic->s;
    unsigned chip = port->chip;
    if (s->poll[chip])
        return pic_poll(port->pic, chip);
    if (off & 1)
        return s->imr[chip];
    return s->read_isr[chip] ? s->isr[chip] : s->irr[chip];
}

static u64 elcr_read(void *opaque, u64 off, unsigned size)
{
    const struct pic *p = opaque;
    return p->s.elcr[off & 1];
}

static void elcr_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct pic *p = opaque;
    struct pic_state *s = &p->s;
    unsigned chip = off & 1;
    s->elcr[chip] = (u8)value & elcr_writable[chip];
    s->irr[chip] = (u8)((s->irr[chip] & ~s->elcr[chip]) | (s->line[chip] & s->elcr[chip]));
    pic_update(p);
}

static const struct mem_window_ops pic_ops = {.read = pic_read, .write = pic_write, .min_size = 1, .max_size = 1};

static const struct mem_window_ops elcr_ops = {.read = elcr_read, .write = elcr_write, .min_size = 1, .max_size = 1};

void pic_firmware(struct pic *p, u16 level)
{
    static const u8 vectors[2] = {0x08, 0x70};
    for (unsigned chip = 0; chip < 2; chip++) {
        write_icw1(&p->s, chip, ICW1_INIT | ICW1_IC4);
        write_icw(&p->s, chip, vectors[chip]);
        write_icw(&p->s, chip, 0);
        write_icw(&p->s, chip, 1); /* 8086 mode */
        p->s.imr[chip] = 0xff;
        elcr_write(p, chip, level >> (8 * chip) & 0xff, 1);
    }
}

/* Device */

static void *pic_get_state(struct dev *d)
{
    return &container_of(d, struct pic, dev)->s;
}

/* The inputs belong to whoever drives them. */
static void pic_reset(struct dev *d)
{
    struct pic *p = container_of(d, struct pic, dev);
    u8 line[2] = {p->s.line[0], p->s.line[1]};
    memset(&p->s, 0, sizeof(p->s));
    memcpy(p->s.line, line, sizeof(line));
    irq_set(&p->intr, false);
}

static void pic_loaded(struct dev *d)
{
    struct pic *p = container_of(d, struct pic, dev);
    for (unsigned chip = 0; chip < 2; chip++) {
        p->s.highest[chip] &= 7;
        p->s.vector[chip] &= 0xf8;
        p->s.elcr[chip] &= elcr_writable[chip];
    }
    pic_update(p);
}

static void pic_destroy(struct dev *d)
{
    struct pic *p = container_of(d, struct pic, dev);
    for (unsigned chip = 0; p->mem && chip < 2; chip++)
        mem_port_unmap(p->mem, &p->port[chip].window);
    if (p->mem)
        mem_port_unmap(p->mem, &p->elcr_window);
    free(p);
}

static const struct dev_class pic_class = {
    .name = "pic",
    .state = &pic_state_class,
    .get_state = pic_get_state,
    .reset = pic_reset,
    .loaded = pic_loaded,
    .destroy = pic_destroy,
};

static int pic_map(struct pic *p)
{
    static const u16 base[2] = {0x20, 0xa0};
    int status = 0;
    for (unsigned chip = 0; chip < 2; chip++) {
        struct pic_port *port = &p->port[chip];
        port->pic = p;
        port->chip = chip;
        port->window = (struct mem_window){.ops = &pic_ops, .opaque = port, .name = "pic", .size = 2};
        if (p->mem && !status)
            status = mem_port_map(p->mem, &port->window, base[chip]);
    }
    p->elcr_window = (struct mem_window){.ops = &elcr_ops, .opaque = p, .name = "elcr", .size = 2};
    if (p->mem && !status)
        status = mem_port_map(p->mem, &p->elcr_window, 0x4d0);
    return status;
}

struct pic *pic_create(const struct pic_config *cfg)
{
    struct pic *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->dev.cls = &pic_class;
    p->mem = cfg->mem;
    p->intr = cfg->intr;
    if (pic_map(p)) {
        pic_destroy(&p->dev);
        return NULL;
    }
    return p;
}
