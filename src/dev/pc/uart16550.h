/*
 * A serial port: 16550A (National Semiconductor PC16550D). Its other end is a character back end.
 *
 * Sending takes no time: what is written to THR goes to the back end at once, and the transmitter is empty again, so
 * that a guest which turns itself off has sent what it wrote. Only a driver that goes on and on refilling the FIFO from
 * its handler (IER.ETBEI stays set) finds the transmitter busy for TX_DELAY now and then, so that it leaves the handler
 * some time, as with a real port.
 *
 * Receiving: bytes are taken from the back end only when somebody listens, so that what was typed (or piped in) while
 * the guest boots is not lost when its driver flushes the FIFO: RTS is raised, or receive interrupts have been on for a
 * while, or the line status register is being polled without anything being sent.
 */
#ifndef DEV_PC_UART16550_H
#define DEV_PC_UART16550_H

#include "dev/dev.h"
#include "irq/line.h"
#include "mem/space.h"

struct chardev;
struct uart;

struct uart_config {
    struct mem_space *mem;
    struct loop *loop;
    struct chardev *chr; /* NULL: bytes go nowhere and none come */
    struct irq_line irq;
    u16 port;
};

/* First member is a struct dev. NULL with a message. */
struct uart *uart_create(const struct uart_config *cfg, struct error *err);

#endif
