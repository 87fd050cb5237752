/*
 * What an event loop waits with: an alarm at an absolute time, a bell that any thread may ring, and poll.
 */
#ifndef HOST_WAIT_H
#define HOST_WAIT_H

#include <poll.h>

#include "base/types.h"

#define HOST_ALARM_OFF UINT64_MAX

/* A descriptor that is readable once the alarm went off, or a negative errno value. Close it with host_close. */
int host_alarm_create(void);
/* At `ns` of host_clock_ns (at once if that has passed), or HOST_ALARM_OFF. Any thread. */
void host_alarm_set(int fd, u64 ns);

/* A descriptor that is readable from host_bell_ring to host_wait_clear, or a negative errno value. */
int host_bell_create(void);
void host_bell_ring(int fd);

/* Makes an alarm or a bell unreadable again. */
void host_wait_clear(int fd);

/* Waits without limit; number of descriptors with revents, 0 when a signal came. */
int host_poll(struct pollfd *fds, size_t count);

void host_close(int fd);

#endif
