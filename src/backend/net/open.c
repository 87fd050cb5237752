/* See open.h. */
#include "backend/net/open.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/net/kinds.h"
#include "backend/net/link.h"

/* A socket whose messages keep their bounds. */
static int socket_open(const char *who, int given, struct error *err)
{
    int type = 0;
    socklen_t size = sizeof(type);

    if (getsockopt(given, SOL_SOCKET, SO_TYPE, &type, &size))
        return error_set(err, -errno, "%s: %s; give a descriptor of a socket", who, strerror(errno));
    if (type != SOCK_DGRAM && type != SOCK_SEQPACKET)
        return error_set(err, -EPROTOTYPE, "%s: the socket is a stream; give one of datagrams or packets", who);
    int fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK)) {
        int status = error_set(err, -errno, "%s: cannot use the socket: %s", who, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return status;
    }
    return fd;
}

static int open_kind(const struct net_host *host, const struct net_spec *spec, struct link_config *cfg,
                     struct error *err)
{
    switch (spec->kind) {
    case NET_NAT:
        cfg->what = "the NAT process";
        cfg->header = true;
        cfg->can = FRAME_CAN_ALL;
        return nat_open(cfg->who, spec, host->confine, &cfg->child, err);
    case NET_SWITCH:
        cfg->what = "the switch";
        cfg->header = true;
        cfg->can = FRAME_CAN_ALL;
        return switch_open(cfg->who, spec->where, host->confine, err);
    case NET_TAP:
        cfg->what = "the tap device";
        return tap_open(cfg->who, spec, &cfg->header, &cfg->can, err);
    case NET_FD:
    case NET_NONE:
    default:
        cfg->what = "the other end of the socket";
        cfg->header = spec->header;
        cfg->can = spec->header ? FRAME_CAN_ALL : 0;
        return socket_open(cfg->who, spec->fd, err);
    }
}

int net_open(const struct net_host *host, const char *who, const struct net_spec *spec, struct net **out,
             struct error *err)
{
    struct link_config cfg = {.loop = host->loop, .log = host->log, .who = who};

    *out = NULL;
    if (spec->kind == NET_NONE)
        return 0;
    cfg.fd = open_kind(host, spec, &cfg, err);
    if (cfg.fd < 0)
        return cfg.fd;
    *out = link_create(&cfg);
    return *out ? 0 : error_set(err, -ENOMEM, "%s: out of memory", who);
}

static int child_wait(struct net *n, struct error *err)
{
    struct pollfd p = {.fd = link_fd(n), .events = POLLIN};
    struct child_ready ready;
    ssize_t got = -1;

    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
    got = read(p.fd, &ready, sizeof(ready));
    if (got != sizeof(ready))
        return error_set(err, -EPIPE, "%s: its process ended before it was ready", link_who(n));
    ready.text[sizeof(ready.text) - 1] = '\0';
    return ready.status ? error_set(err, ready.status, "%s: %s", link_who(n), ready.text) : 0;
}

int net_start(struct net *n, struct error *err)
{
    int status = link_has_child(n) ? child_wait(n, err) : 0;

    if (!status)
        link_start(n);
    return status;
}
