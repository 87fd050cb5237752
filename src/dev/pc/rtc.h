/*
 * The real-time clock and its CMOS RAM: MC146818A with a century byte at 0x32, ports 0x70-0x71, and 128 bytes of
 * extended RAM behind 0x72-0x73.
 */
#ifndef DEV_PC_RTC_H
#define DEV_PC_RTC_H

#include "dev/dev.h"
#include "irq/line.h"

#define RTC_RAM_SIZE 256u

struct loop;
struct mem_space;
struct rtc;

struct rtc_config {
    struct mem_space *mem; /* NULL: no ports (tests) */
    struct loop *loop;
    struct irq_line irq; /* IRQ8 */
    /* An alarm that is enabled (AIE), wherever IRQ8 goes: once until register C is read. May be NULL. */
    void (*alarm)(void *opaque);
    /* Bit 7 of port 0x70: NMIs are masked. May be NULL. */
    void (*nmi_mask)(void *opaque, bool masked);
    void *opaque;
};

/* Shows the host's wall-clock time, UTC. NULL when out of memory. The first member is the struct dev. */
struct rtc *rtc_create(const struct rtc_config *cfg);

/* RAM bytes 0x0e to 0x7f and 0x80 to 0xff (extended), but not the century: what firmware would have put there. */
void rtc_set_ram(struct rtc *r, unsigned index, u8 value);
u8 rtc_get_ram(const struct rtc *r, unsigned index);

/* The HPET's legacy replacement takes IRQ8 away while it is on. Lock held. */
void rtc_connect_irq(struct rtc *r, bool connected);

/* Ports by offset from 0x70, for tests; lock held. */
u8 rtc_read(struct rtc *r, unsigned off);
void rtc_write(struct rtc *r, unsigned off, u8 value);

#endif
