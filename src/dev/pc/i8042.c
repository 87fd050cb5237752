/* See i8042.h. The controller; the keyboard behind it is in keyboard.c. */
#include "dev/pc/i8042.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "dev/pc/keyboard.h"

#define QUEUE_SIZE 64
#define RAM_SIZE   32

#define I8042_STATE(F, A, S)                                                                                           \
    A(u8, ram, RAM_SIZE, 1)      /* controller RAM; byte 0 is the command byte */                                      \
    F(u8, command, 1)            /* that waits for its parameter at port 0x60, or 0 */                                 \
    F(bool, last_was_command, 1) /* status bit 3 */                                                                    \
    F(u8, output_port, 1)        /* without the buffer-full bits, which follow the queue */                            \
    A(u8, queue, QUEUE_SIZE, 1)                                                                                        \
    A(u8, queue_flags, QUEUE_SIZE, 1)                                                                                  \
    F(u8, queue_count, 1)                                                                                              \
    F(u8, last_byte, 1) /* what port 0x60 shows when the buffer is empty */                                            \
    S(keyboard_state, keyboard, 1, 1)
STATE_DECLARE(i8042_state, I8042_STATE)
STATE_DEFINE(i8042_state, I8042_STATE, 1)

#define PORT_DATA    0x60
#define PORT_COMMAND 0x64
#define PORT_A       0x92

#define STATUS_OUTPUT_FULL BIT(0)
#define STATUS_SYSTEM      BIT(2)
#define STATUS_COMMAND     BIT(3)
#define STATUS_UNLOCKED    BIT(4)
#define STATUS_AUX         BIT(5)
#define STATUS_TIMEOUT     BIT(6)

#define BYTE_KBD_IRQ   BIT(0)
#define BYTE_AUX_IRQ   BIT(1)
#define BYTE_SYSTEM    BIT(2)
#define BYTE_KBD_OFF   BIT(4)
#define BYTE_AUX_OFF   BIT(5)
#define BYTE_TRANSLATE BIT(6)

#define OUTPUT_RUN      BIT(0) /* low: reset */
#define OUTPUT_A20      BIT(1)
#define OUTPUT_AUX_FULL BIT(5)
#define OUTPUT_KBD_FULL BIT(4)
#define INPUT_PORT      0x80 /* not inhibited by the key lock */

#define PORT_A_RESET BIT(0)
#define PORT_A_A20   BIT(1)

/* Marks on queued bytes. */
#define FROM_KEYBOARD   0
#define FROM_CONTROLLER BIT(0)
#define FROM_AUX        BIT(1)
#define WITH_TIMEOUT    BIT(2)

#define RESPONSE_RESEND 0xfe

struct i8042 {
    struct dev dev;
    struct i8042_state s;
    struct i8042_config cfg;
    struct mem_window data, control, port_a;
};

/* --- the queue -------------------------------------------------------------------------------------------------- */

static u8 *command_byte(struct i8042 *c)
{
    return &c->s.ram[0];
}

static void irq_update(struct i8042 *c)
{
    bool full = c->s.queue_count > 0;
    bool aux = full && (c->s.queue_flags[0] & FROM_AUX);
    u8 byte = *command_byte(c);

    irq_set(&c->cfg.keyboard_irq, full && !aux && (byte & BYTE_KBD_IRQ));
    irq_set(&c->cfg.aux_irq, aux && (byte & BYTE_AUX_IRQ));
}

static void queue_put(struct i8042 *c, u8 byte, u8 flags)
{
    if (c->s.queue_count == QUEUE_SIZE)
        return;
    c->s.queue[c->s.queue_count] = byte;
    c->s.queue_flags[c->s.queue_count] = flags;
    c->s.queue_count++;
}

/* The controller's own answers overtake what the devices have sent. */
static void queue_put_first(struct i8042 *c, u8 byte, u8 flags)
{
    unsigned keep = c->s.queue_count < QUEUE_SIZE ? c->s.queue_count : QUEUE_SIZE - 1u;

    memmove(c->s.queue + 1, c->s.queue, keep);
    memmove(c->s.queue_flags + 1, c->s.queue_flags, keep);
    c->s.queue[0] = byte;
    c->s.queue_flags[0] = flags;
    c->s.queue_count = (u8)(keep + 1);
}

static void answer(struct i8042 *c, u8 byte)
{
    queue_put_first(c, byte, FROM_CONTROLLER);
}

static void keyboard_sends(void *opaque, u8 byte)
{
    struct i8042 *c = opaque;

    queue_put(c, byte, FROM_KEYBOARD);
}

/* --- output port ------------------------------------------------------------------------------------------------ */

static u8 output_port(const struct i8042 *c)
{
    u8 value = c->s.output_port;

    if (c->s.queue_count)
        value |= c->s.queue_flags[0] & FROM_AUX ? OUTPUT_AUX_FULL : OUTPUT_KBD_FULL;
    return value;
}

static void output_port_write(struct i8042 *c, u8 value)
{
    c->s.output_port = (value | OUTPUT_RUN) & (u8) ~(OUTPUT_AUX_FULL | OUTPUT_KBD_FULL);
    mem_a20_set(c->cfg.mem, value & OUTPUT_A20);
    if (!(value & OUTPUT_RUN))
        c->cfg.reset(c->cfg.opaque);
}

/* --- commands --------------------------------------------------------------------------------------------------- */

/* Those that only set and clear bits of the command byte. */
static void command_byte_change(struct i8042 *c, u8 set, u8 clear)
{
    *command_byte(c) = (*command_byte(c) | set) & (u8)~clear;
}

static void self_test(struct i8042 *c)
{
    c->s.queue_count = 0;
    command_byte_change(c, BYTE_SYSTEM, 0);
    answer(c, 0x55);
}

/* Commands 0xf0-0xff pulse the low four output lines that are 0 in the command; only line 0 goes anywhere. */
static void pulse(struct i8042 *c, u8 command)
{
    if (!(command & OUTPUT_RUN))
        c->cfg.reset(c->cfg.opaque);
}

static void command_write(struct i8042 *c, u8 command)
{
    c->s.last_was_command = true;
    c->s.command = 0;

    if (command >= 0xf0) {
        pulse(c, command);
        return;
    }
    switch (command) {
    case 0xa7:
        command_byte_change(c, BYTE_AUX_OFF, 0);
        return;
    case 0xa8:
        command_byte_change(c, 0, BYTE_AUX_OFF);
        return;
    case 0xad:
        command_byte_change(c, BYTE_KBD_OFF, 0);
        return;
    case 0xae:
        command_byte_change(c, 0, BYTE_KBD_OFF);
        return;
    case 0xa9: /* test of the auxiliary port's lines: no fault */
    case 0xab: /* and of the keyboard's */
        answer(c, 0x00);
        return;
    case 0xaa:
        self_test(c);
        return;
    case 0xc0:
        answer(c, INPUT_PORT);
        return;
    case 0xd0:
        answer(c, output_port(c));
        return;
    case 0xdd: /* A20 off and on, as HP's controllers take it */
    case 0xdf:
        output_port_write(c, (u8)((c->s.output_port & ~OUTPUT_A20) | (command & OUTPUT_A20)));
        return;
    case 0xe0: /* test inputs: both clocks idle, high */
        answer(c, 0x03);
        return;
    case 0xd1: /* output port */
    case 0xd2: /* as if the keyboard had sent it */
    case 0xd3: /* as if the auxiliary device had sent it */
    case 0xd4: /* to the auxiliary device */
        c->s.command = command;
        return;
    }
    if (command >= 0x20 && command < 0x40)
        answer(c, c->s.ram[command & 0x1f]);
    else if (command >= 0x60 && command < 0x80)
        c->s.command = command;
    /* others: the controller does not know them and says nothing */
}

/* A byte at port 0x60 that completes a command. */
static void parameter_write(struct i8042 *c, u8 command, u8 value)
{
    switch (command) {
    case 0xd1:
        output_port_write(c, value);
        break;
    case 0xd2:
        queue_put(c, value, FROM_KEYBOARD);
        break;
    case 0xd3:
        queue_put(c, value, FROM_AUX);
        break;
    case 0xd4: /* nobody acknowledges: the controller reports a time-out */
        queue_put(c, RESPONSE_RESEND, FROM_AUX | WITH_TIMEOUT);
        break;
    default: /* 0x60-0x7f */
        c->s.ram[command & 0x1f] = value;
        break;
    }
}

static void data_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct i8042 *c = opaque;
    u8 command = c->s.command;

    c->s.last_was_command = false;
    c->s.command = 0;
    if (command) {
        parameter_write(c, command, (u8)value);
    } else {
        command_byte_change(c, 0, BYTE_KBD_OFF); /* sending to the keyboard turns its clock on */
        keyboard_receive(c->s.keyboard, (u8)value, keyboard_sends, c);
    }
    irq_update(c);
}

static u64 data_read(void *opaque, u64 off, unsigned size)
{
    struct i8042 *c = opaque;

    if (!c->s.queue_count)
        return c->s.last_byte;
    u8 byte = c->s.queue[0], flags = c->s.queue_flags[0];
    c->s.queue_count--;
    memmove(c->s.queue, c->s.queue + 1, c->s.queue_count);
    memmove(c->s.queue_flags, c->s.queue_flags + 1, c->s.queue_count);
    /* Each byte is an edge of its own. */
    irq_set(&c->cfg.keyboard_irq, false);
    irq_set(&c->cfg.aux_irq, false);
    if (flags == FROM_KEYBOARD && (*command_byte(c) & BYTE_TRANSLATE))
        byte = keyboard_translate(byte);
    c->s.last_byte = byte;
    irq_update(c);
    return byte;
}

static u64 status_read(void *opaque, u64 off, unsigned size)
{
    struct i8042 *c = opaque;
    u8 status = STATUS_UNLOCKED;

    if (c->s.queue_count) {
        u8 flags = c->s.queue_flags[0];
        status |= STATUS_OUTPUT_FULL;
        status |= flags & FROM_AUX ? STATUS_AUX : 0;
        status |= flags & WITH_TIMEOUT ? STATUS_TIMEOUT : 0;
    }
    status |= *command_byte(c) & BYTE_SYSTEM ? STATUS_SYSTEM : 0;
    status |= c->s.last_was_command ? STATUS_COMMAND : 0;
    return status;
}

static void control_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct i8042 *c = opaque;

    command_write(c, (u8)value);
    irq_update(c);
}

/* --- system control port A -------------------------------------------------------------------------------------- */

static u64 port_a_read(void *opaque, u64 off, unsigned size)
{
    const struct i8042 *c = opaque;

    return c->s.output_port & OUTPUT_A20 ? PORT_A_A20 : 0;
}

static void port_a_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct i8042 *c = opaque;
    u8 a20 = value & PORT_A_A20 ? OUTPUT_A20 : 0;

    output_port_write(c, (u8)((c->s.output_port & ~OUTPUT_A20) | a20));
    if (value & PORT_A_RESET)
        c->cfg.reset(c->cfg.opaque);
}

static const struct mem_window_ops data_ops = {data_read, data_write, 1, 1};
static const struct mem_window_ops control_ops = {status_read, control_write, 1, 1};
static const struct mem_window_ops port_a_ops = {port_a_read, port_a_write, 1, 1};

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *i8042_get_state(struct dev *d)
{
    return &((struct i8042 *)d)->s;
}

static void i8042_reset(struct dev *d)
{
    struct i8042 *c = (struct i8042 *)d;

    memset(&c->s, 0, sizeof(c->s));
    *command_byte(c) = BYTE_TRANSLATE | BYTE_AUX_OFF | BYTE_KBD_OFF;
    c->s.output_port = OUTPUT_RUN | OUTPUT_A20;
    keyboard_reset(c->s.keyboard);
    mem_a20_set(c->cfg.mem, true);
    irq_update(c);
}

static void i8042_loaded(struct dev *d)
{
    struct i8042 *c = (struct i8042 *)d;

    if (c->s.queue_count > QUEUE_SIZE)
        c->s.queue_count = QUEUE_SIZE;
    mem_a20_set(c->cfg.mem, c->s.output_port & OUTPUT_A20);
    irq_update(c);
}

static void i8042_destroy(struct dev *d)
{
    struct i8042 *c = (struct i8042 *)d;
    struct mem_window *windows[] = {&c->data, &c->control, &c->port_a};

    for (unsigned i = 0; i < ARRAY_SIZE(windows); i++) {
        if (windows[i]->mapped)
            mem_port_unmap(c->cfg.mem, windows[i]);
    }
    free(c);
}

static const struct dev_class i8042_class = {
    .name = "i8042",
    .state = &i8042_state_class,
    .get_state = i8042_get_state,
    .reset = i8042_reset,
    .loaded = i8042_loaded,
    .destroy = i8042_destroy,
};

struct i8042 *i8042_create(const struct i8042_config *cfg, struct error *err)
{
    struct i8042 *c = calloc(1, sizeof(*c));

    if (!c) {
        error_set(err, -ENOMEM, "i8042: out of memory");
        return NULL;
    }
    c->dev.cls = &i8042_class;
    c->cfg = *cfg;
    c->data = (struct mem_window){.ops = &data_ops, .opaque = c, .name = "i8042-data", .size = 1};
    c->control = (struct mem_window){.ops = &control_ops, .opaque = c, .name = "i8042-control", .size = 1};
    c->port_a = (struct mem_window){.ops = &port_a_ops, .opaque = c, .name = "port-a", .size = 1};
    if (mem_port_map(cfg->mem, &c->data, PORT_DATA) || mem_port_map(cfg->mem, &c->control, PORT_COMMAND) ||
        mem_port_map(cfg->mem, &c->port_a, PORT_A)) {
        error_set(err, -ENOMEM, "i8042: cannot map its ports");
        i8042_destroy(&c->dev);
        return NULL;
    }
    i8042_reset(&c->dev);
    return c;
}
