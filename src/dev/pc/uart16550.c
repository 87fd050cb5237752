/* See uart16550.h. Register names as in the data sheet. */
#include "dev/pc/uart16550.h"

#include <stdlib.h>
#include <string.h>

#include "backend/char/char.h"
#include "base/bits.h"
#include "event/door.h"
#include "event/loop.h"

#define FIFO_SIZE 16

#define UART_STATE(F, A, S)                                                                                            \
    F(u8, ier, 1)                                                                                                      \
    F(u8, fcr, 1)                                                                                                      \
    F(u8, lcr, 1)                                                                                                      \
    F(u8, mcr, 1)                                                                                                      \
    F(u8, lsr, 1) /* OE, BI, THRE and TEMT; DR and FIFO error follow the FIFO */                                       \
    F(u8, msr_delta, 1)                                                                                                \
    F(u8, scr, 1)                                                                                                      \
    F(u16, divisor, 1)                                                                                                 \
    A(u8, fifo, FIFO_SIZE, 1)                                                                                          \
    A(bool, fifo_break, FIFO_SIZE, 1)                                                                                  \
    F(u8, fifo_count, 1)                                                                                               \
    F(bool, thre_pending, 1)                                                                                           \
    F(bool, timeout_pending, 1)                                                                                        \
    F(u8, polls, 1)            /* of LSR since something was sent */                                                   \
    F(u64, tx_deadline, 1)     /* virtual time; 0: the transmitter is empty */                                         \
    F(u64, rx_deadline, 1)     /* of the character timeout; 0: not running */                                          \
    F(u64, listen_deadline, 1) /* when ETBRI alone counts as listening */                                              \
    F(u16, refills, 2)         /* that a handler asked for since the transmitter last took its time */
STATE_DECLARE(uart_state, UART_STATE)
STATE_DEFINE(uart_state, UART_STATE, 2)

enum { RBR = 0, THR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7, UART_PORTS = 8 };

#define IER_ERBFI BIT(0) /* received data, character timeout */
#define IER_ETBEI BIT(1) /* transmitter empty */
#define IER_ELSI  BIT(2) /* line status */
#define IER_EDSSI BIT(3) /* modem status */

#define IIR_NONE    0x01
#define IIR_MODEM   0x00
#define IIR_THRE    0x02
#define IIR_DATA    0x04
#define IIR_LINE    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS   0xc0

#define FCR_ENABLE        BIT(0)
#define FCR_RESET_RX      BIT(1)
#define FCR_TRIGGER_SHIFT 6

#define LCR_WORD_LENGTH 0x03
#define LCR_STOP        BIT(2)
#define LCR_PARITY      BIT(3)
#define LCR_BREAK       BIT(6)
#define LCR_DLAB        BIT(7)

#define MCR_DTR  BIT(0)
#define MCR_RTS  BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3) /* on a PC: lets the interrupt out to the bus */
#define MCR_LOOP BIT(4)

#define LSR_DR         BIT(0)
#define LSR_OE         BIT(1)
#define LSR_BI         BIT(4)
#define LSR_THRE       BIT(5)
#define LSR_TEMT       BIT(6)
#define LSR_FIFO_ERROR BIT(7)

#define MSR_CTS  BIT(4)
#define MSR_DSR  BIT(5)
#define MSR_RI   BIT(6)
#define MSR_DCD  BIT(7)
#define MSR_TERI BIT(2) /* trailing edge of RI */

#define TX_DELAY     20000    /* ns; see uart16550.h */
#define REFILLS      256      /* one page of output; Linux complains of 512 in one handler */
#define LISTEN_DELAY 10000000 /* ns */
#define LISTEN_POLLS 16
#define CLOCK_HZ     1843200

struct uart {
    struct dev dev;
    struct uart_state s;
    struct uart_config cfg;
    struct mem_window window;
    struct timer tx_timer, rx_timer, listen_timer;
};

/* --- interrupts ------------------------------------------------------------------------------------------------- */

static bool fifo_enabled(const struct uart *u)
{
    return u->s.fcr & FCR_ENABLE;
}

static unsigned fifo_capacity(const struct uart *u)
{
    return fifo_enabled(u) ? FIFO_SIZE : 1;
}

static unsigned fifo_trigger(const struct uart *u)
{
    static const u8 level[] = {1, 4, 8, 14};

    return fifo_enabled(u) ? level[u->s.fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* LSR without side effects. */
static u8 line_status(const struct uart *u)
{
    u8 lsr = u->s.lsr;

    if (u->s.fifo_count) {
        lsr |= LSR_DR;
        if (u->s.fifo_break[0])
            lsr |= LSR_BI;
    }
    for (unsigned i = 0; fifo_enabled(u) && i < u->s.fifo_count; i++)
        lsr |= u->s.fifo_break[i] ? LSR_FIFO_ERROR : 0;
    return lsr;
}

/* The source of highest priority, as IIR shows it. */
static u8 interrupt_id(const struct uart *u)
{
    u8 ier = u->s.ier;

    if ((ier & IER_ELSI) && (line_status(u) & (LSR_OE | LSR_BI)))
        return IIR_LINE;
    if ((ier & IER_ERBFI) && u->s.fifo_count >= fifo_trigger(u))
        return IIR_DATA;
    if ((ier & IER_ERBFI) && u->s.timeout_pending)
        return IIR_TIMEOUT;
    if ((ier & IER_ETBEI) && u->s.thre_pending)
        return IIR_THRE;
    if ((ier & IER_EDSSI) && u->s.msr_delta)
        return IIR_MODEM;
    return IIR_NONE;
}

static void irq_update(struct uart *u)
{
    bool out = (u->s.mcr & MCR_OUT2) && !(u->s.mcr & MCR_LOOP);

    irq_set(&u->cfg.irq, out && interrupt_id(u) != IIR_NONE);
}

/* --- receiving -------------------------------------------------------------------------------------------------- */

/* Time of one character on the line at the programmed speed. */
static u64 character_time(const struct uart *u)
{
    unsigned bit_count = 1 + 5 + (u->s.lcr & LCR_WORD_LENGTH) + !!(u->s.lcr & LCR_PARITY) + 1 + !!(u->s.lcr & LCR_STOP);
    u64 divisor = u->s.divisor ? u->s.divisor : 1;

    return divisor * 16 * bit_count * 1000000000u / CLOCK_HZ;
}

static void rx_timer_stop(struct uart *u)
{
    u->s.rx_deadline = 0;
    timer_cancel(&u->rx_timer);
}

/* Four character times without a byte in or out, with something in the FIFO, raise the timeout interrupt. */
static void rx_timer_restart(struct uart *u)
{
    u->s.timeout_pending = false;
    rx_timer_stop(u);
    if (!fifo_enabled(u) || !u->s.fifo_count)
        return;
    u->s.rx_deadline = door_time(u->cfg.loop) + 4 * character_time(u);
    timer_set(&u->rx_timer, u->s.rx_deadline);
}

static void rx_timeout(void *opaque)
{
    struct uart *u = opaque;

    u->s.rx_deadline = 0;
    u->s.timeout_pending = u->s.fifo_count > 0;
    irq_update(u);
}

static void fifo_clear(struct uart *u)
{
    u->s.fifo_count = 0;
    rx_timer_restart(u);
}

static void fifo_put(struct uart *u, u8 byte, bool is_break)
{
    struct uart_state *s = &u->s;

    if (s->fifo_count >= fifo_capacity(u)) {
        s->lsr |= LSR_OE;
        if (fifo_enabled(u)) /* the FIFO stays, the byte is lost */
            return;
        s->fifo_count = 0; /* without FIFO the byte that waited is lost */
    }
    s->fifo[s->fifo_count] = byte;
    s->fifo_break[s->fifo_count] = is_break;
    s->fifo_count++;
    rx_timer_restart(u);
}

static u8 fifo_get(struct uart *u)
{
    struct uart_state *s = &u->s;
    u8 byte = s->fifo[0];

    if (!s->fifo_count)
        return 0;
    s->fifo_count--;
    memmove(s->fifo, s->fifo + 1, s->fifo_count);
    memmove(s->fifo_break, s->fifo_break + 1, s->fifo_count * sizeof(s->fifo_break[0]));
    rx_timer_restart(u);
    return byte;
}

static bool listening(const struct uart *u)
{
    const struct uart_state *s = &u->s;

    if (s->mcr & MCR_LOOP) /* the outside is disconnected */
        return false;
    if ((s->mcr & MCR_RTS) || s->polls >= LISTEN_POLLS)
        return true;
    return (s->ier & IER_ERBFI) && !s->listen_deadline;
}

static size_t receiver_room(void *opaque)
{
    const struct uart *u = opaque;

    return listening(u) ? fifo_capacity(u) - (size_t)u->s.fifo_count : 0;
}

static void receiver_receive(void *opaque, const u8 *buf, size_t len)
{
    struct uart *u = opaque;

    for (size_t i = 0; i < len; i++)
        fifo_put(u, buf[i], false);
    irq_update(u);
}

/* A break arrives as a character of zeros with the break flag. */
static void receiver_break(void *opaque)
{
    struct uart *u = opaque;

    if (!listening(u))
        return;
    fifo_put(u, 0, true);
    irq_update(u);
}

/* Called when room may have appeared. */
static void backend_kick(struct uart *u)
{
    if (u->cfg.chr && receiver_room(u) > 0)
        char_kick(u->cfg.chr);
}

static void listen_fire(void *opaque)
{
    struct uart *u = opaque;

    u->s.listen_deadline = 0;
    backend_kick(u);
}

/* --- sending ---------------------------------------------------------------------------------------------------- */

static void tx_empty(struct uart *u)
{
    u->s.tx_deadline = 0;
    timer_cancel(&u->tx_timer);
    u->s.lsr |= LSR_THRE | LSR_TEMT;
    u->s.thre_pending = true;
}

static void tx_fire(void *opaque)
{
    struct uart *u = opaque;

    u->s.refills = 0;
    tx_empty(u);
    irq_update(u);
}

static void write_thr(struct uart *u, u8 byte)
{
    u->s.polls = 0;
    u->s.thre_pending = false;
    if (u->s.mcr & MCR_LOOP)
        fifo_put(u, byte, false);
    else if (u->cfg.chr)
        char_write(u->cfg.chr, &byte, 1);

    if (!(u->s.ier & IER_ETBEI) || u->s.refills < REFILLS) {
        tx_empty(u);
    } else if (!u->s.tx_deadline) {
        u->s.lsr &= (u8) ~(LSR_THRE | LSR_TEMT);
        u->s.tx_deadline = door_time(u->cfg.loop) + TX_DELAY;
        timer_set(&u->tx_timer, u->s.tx_deadline);
    }
}

/* --- registers -------------------------------------------------------------------------------------------------- */

/* The modem lines: in loopback they are the modem control outputs; else a device that is there and ready. */
static u8 modem_lines(const struct uart *u)
{
    u8 mcr = u->s.mcr;

    if (!(mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (u8)((mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
                (mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct uart *u, u8 value)
{
    u8 before = modem_lines(u);

    u->s.mcr = value & 0x1f;
    u8 now = modem_lines(u), changed = before ^ now;
    u->s.msr_delta |= changed >> 4 & (u8)~MSR_TERI;
    if ((before & MSR_RI) && !(now & MSR_RI))
        u->s.msr_delta |= MSR_TERI;
    backend_kick(u);
}

static void write_ier(struct uart *u, u8 value)
{
    u8 old = u->s.ier, risen = value & (u8)~old;

    u->s.ier = value & 0x0f;
    if ((risen & IER_ETBEI) && (u->s.lsr & LSR_THRE))
        u->s.thre_pending = true;
    if (!(value & IER_ETBEI)) {
        u->s.refills = 0;
        if (u->s.tx_deadline)
            tx_empty(u);
    }
    if (risen & IER_ERBFI) {
        u->s.listen_deadline = door_time(u->cfg.loop) + LISTEN_DELAY;
        timer_set(&u->listen_timer, u->s.listen_deadline);
    }
}

static void write_fcr(struct uart *u, u8 value)
{
    u8 old = u->s.fcr;

    /* Changing the enable bit clears the FIFOs; the other bits count only with it on. */
    u->s.fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    if (((old ^ value) & FCR_ENABLE) || (value & FCR_RESET_RX && value & FCR_ENABLE))
        fifo_clear(u);
    backend_kick(u);
}

static void write_lcr(struct uart *u, u8 value)
{
    u8 risen = value & (u8)~u->s.lcr;

    u->s.lcr = value;
    if ((risen & LCR_BREAK) && (u->s.mcr & MCR_LOOP))
        fifo_put(u, 0, true);
}

static u8 read_rbr(struct uart *u)
{
    u8 byte = fifo_get(u);

    backend_kick(u);
    return byte;
}

static u8 read_iir(struct uart *u)
{
    u8 id = interrupt_id(u);

    if (id == IIR_THRE) {
        u->s.thre_pending = false;
        u->s.refills += u->s.refills < REFILLS;
    }
    return id | (fifo_enabled(u) ? IIR_FIFOS : 0);
}

static u8 read_lsr(struct uart *u)
{
    u8 lsr = line_status(u);

    u->s.lsr &= (u8) ~(LSR_OE | LSR_BI);
    if (u->s.fifo_count)
        u->s.fifo_break[0] = false;
    if (u->s.polls < LISTEN_POLLS && ++u->s.polls == LISTEN_POLLS)
        backend_kick(u);
    return lsr;
}

static u8 read_msr(struct uart *u)
{
    u8 msr = modem_lines(u) | u->s.msr_delta;

    u->s.msr_delta = 0;
    return msr;
}

static u64 uart_read(void *opaque, u64 off, unsigned size)
{
    struct uart *u = opaque;
    bool dlab = u->s.lcr & LCR_DLAB;
    u8 value = 0;

    switch (off) {
    case RBR:
        value = dlab ? (u8)u->s.divisor : read_rbr(u);
        break;
    case IER:
        value = dlab ? (u8)(u->s.divisor >> 8) : u->s.ier;
        break;
    case IIR:
        value = read_iir(u);
        break;
    case LCR:
        value = u->s.lcr;
        break;
    case MCR:
        value = u->s.mcr;
        break;
    case LSR:
        value = read_lsr(u);
        break;
    case MSR:
        value = read_msr(u);
        break;
    case SCR:
        value = u->s.scr;
        break;
    }
    irq_update(u);
    return value;
}

static void uart_write(void *opaque, u64 off, u64 wide, unsigned size)
{
    struct uart *u = opaque;
    bool dlab = u->s.lcr & LCR_DLAB;
    u8 value = (u8)wide;

    switch (off) {
    case THR:
        if (dlab)
            u->s.divisor = (u16)((u->s.divisor & 0xff00) | value);
        else
            write_thr(u, value);
        break;
    case IER:
        if (dlab)
            u->s.divisor = (u16)((u->s.divisor & 0x00ff) | value << 8);
        else
            write_ier(u, value);
        break;
    case FCR:
        write_fcr(u, value);
        break;
    case LCR:
        write_lcr(u, value);
        break;
    case MCR:
        write_mcr(u, value);
        break;
    case SCR:
        u->s.scr = value;
        break;
    default: /* LSR and MSR are read-only here: writing them is factory testing */
        break;
    }
    irq_update(u);
}

static const struct mem_window_ops uart_ops = {uart_read, uart_write, 1, 1};

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *uart_get_state(struct dev *d)
{
    return &((struct uart *)d)->s;
}

static void uart_reset(struct dev *d)
{
    struct uart *u = (struct uart *)d;

    timer_cancel(&u->tx_timer);
    timer_cancel(&u->rx_timer);
    timer_cancel(&u->listen_timer);
    u->s = (struct uart_state){.lsr = LSR_THRE | LSR_TEMT, .divisor = 12};
    irq_update(u);
}

static void timer_restore(struct timer *t, u64 deadline)
{
    if (deadline)
        timer_set(t, deadline);
    else
        timer_cancel(t);
}

static void uart_loaded(struct dev *d)
{
    struct uart *u = (struct uart *)d;

    if (u->s.fifo_count > FIFO_SIZE)
        u->s.fifo_count = FIFO_SIZE;
    timer_restore(&u->tx_timer, u->s.tx_deadline);
    timer_restore(&u->rx_timer, u->s.rx_deadline);
    timer_restore(&u->listen_timer, u->s.listen_deadline);
    irq_update(u);
    backend_kick(u);
}

static void uart_destroy(struct dev *d)
{
    struct uart *u = (struct uart *)d;

    if (u->window.mapped)
        mem_port_unmap(u->cfg.mem, &u->window);
    timer_cancel(&u->tx_timer);
    timer_cancel(&u->rx_timer);
    timer_cancel(&u->listen_timer);
    if (u->cfg.chr)
        char_attach(u->cfg.chr, NULL);
    free(u);
}

static const struct dev_class uart_class = {
    .name = "uart",
    .state = &uart_state_class,
    .get_state = uart_get_state,
    .reset = uart_reset,
    .loaded = uart_loaded,
    .destroy = uart_destroy,
};

struct uart *uart_create(const struct uart_config *cfg, struct error *err)
{
    struct uart *u = calloc(1, sizeof(*u));

    if (!u) {
        error_set(err, -ENOMEM, "uart: out of memory");
        return NULL;
    }
    u->dev.cls = &uart_class;
    u->cfg = *cfg;
    timer_init(&u->tx_timer, cfg->loop, tx_fire, u);
    timer_init(&u->rx_timer, cfg->loop, rx_timeout, u);
    timer_init(&u->listen_timer, cfg->loop, listen_fire, u);
    u->window = (struct mem_window){.ops = &uart_ops, .opaque = u, .name = "uart", .size = UART_PORTS};
    if (mem_port_map(cfg->mem, &u->window, cfg->port)) {
        error_set(err, -EINVAL, "uart: bad port 0x%x", cfg->port);
        uart_destroy(&u->dev);
        return NULL;
    }
    uart_reset(&u->dev);
    if (cfg->chr)
        char_attach(cfg->chr, &(struct char_receiver){receiver_room, receiver_receive, receiver_break, u});
    return u;
}
