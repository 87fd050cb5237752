/*
 * Alarm, bell and poll (host/wait.h) by timerfd, eventfd and ppoll. ppoll and not epoll, because the latter refuses
 * regular files and /dev/null, which a person may well give as the console.
 */
#include "host/wait.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int host_alarm_create(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void host_alarm_set(int fd, u64 ns)
{
    struct itimerspec when = {0};
    if (ns != HOST_ALARM_OFF) {
        /* All zero would mean off. */
        when.it_value.tv_sec = (time_t)(ns / 1000000000u);
        when.it_value.tv_nsec = ns ? (long)(ns % 1000000000u) : 1;
    }
    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL); /* fails on invalid values only */
}

int host_bell_create(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void host_bell_ring(int fd)
{
    u64 one = 1;
    ssize_t n;
    do
        n = write(fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR); /* EAGAIN: 2^64 - 2 rings, so it is readable anyway */
}

void host_wait_clear(int fd)
{
    u64 count;
    ssize_t n;
    do
        n = read(fd, &count, sizeof(count));
    while (n < 0 && errno == EINTR); /* EAGAIN: it was clear */
}

int host_poll(struct pollfd *fds, size_t count)
{
    int n = ppoll(fds, count, NULL, NULL);
    return n < 0 ? 0 : n;
}

void host_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}
