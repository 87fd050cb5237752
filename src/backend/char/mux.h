/*
 * One terminal shared by the serial port, the debug console and the monitor, with escape keys that work whatever the
 * guest does:
 *
 *     Ctrl-a x       end the machine            Ctrl-a h       show these keys
 *     Ctrl-a c       switch to the monitor      Ctrl-a Ctrl-a  send Ctrl-a
 *     Ctrl-a b       send a break
 *
 * Keys go to the port in focus, the serial port at first; output of all ports is shown.
 *
 * Machine lock held throughout.
 */
#ifndef BACKEND_CHAR_MUX_H
#define BACKEND_CHAR_MUX_H

#include "backend/char/open.h"

enum mux_port { MUX_SERIAL, MUX_MONITOR, MUX_CONSOLE, MUX_PORTS };

struct mux;

/* Takes over `under`, which is destroyed with the mux. `person`: its input is typed, and must be looked at at once.
 * NULL when out of memory (`under` is then left to the caller). */
struct mux *mux_create(const struct char_host *host, struct chardev *under, bool person);
void mux_destroy(struct mux *m);

/* Lives as long as the mux; char_destroy of it does nothing. */
struct chardev *mux_port(struct mux *m, enum mux_port port);

/* Ctrl-a x. Must only note it and wake its owner. */
void mux_on_quit(struct mux *m, void (*quit)(void *opaque), void *opaque);

/* Called when the monitor gets and loses the keys; without it there is no monitor to switch to. */
void mux_on_focus(struct mux *m, void (*focus)(void *opaque, bool monitor), void *opaque);

#endif
