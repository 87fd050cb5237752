/*
 * The switch between machines of one host (kinds.h): a process that listens at a path. The first machine that comes
 * makes it, it takes a connection for each, and ends when the last one is gone. The socket's file stays, and is used
 * again. Who comes and who goes agree by a lock on the folder: a connection that is made under the lock is served.
 *
 * Messages are frames with their headers, offloads untouched: who receives them cuts what it cannot take. The switch
 * looks at the addresses alone. A port that takes nothing holds the others up for PATIENCE once, and then loses frames
 * until it takes some again.
 */
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/net/child.h"
#include "backend/net/frame.h"
#include "backend/net/kinds.h"
#include "host/sandbox.h"

#define PORTS     64
#define ADDRESSES 1024 /* that are remembered, by a hash; a newer one takes the place of an older one */
#define BATCH     32   /* frames of one port before the others have their turn */
#define PATIENCE  20   /* milliseconds */
#define GRACE     2000 /* milliseconds for the first machine to come */

enum { LISTENER = 3, FOLDER = 4 };

struct address {
    u8 mac[FRAME_MAC];
    u8 port; /* its number + 1; 0: the place is free */
};

struct hub {
    struct pollfd fd[PORTS + 1]; /* those that are not there have -1; the last is the listener */
    bool slow[PORTS];
    unsigned ports;
    struct address known[ADDRESSES];
    u8 buffer[sizeof(struct frame_header) + FRAME_MAX];
};

static struct address *address_of(struct hub *h, const u8 *mac)
{
    unsigned hash = 0;

    for (unsigned i = 0; i < FRAME_MAC; i++)
        hash = hash * 31 + mac[i];
    return &h->known[hash % ADDRESSES];
}

static void port_close(struct hub *h, unsigned n)
{
    (void)close(h->fd[n].fd);
    h->fd[n].fd = -1;
    h->ports--;
    for (unsigned i = 0; i < ADDRESSES; i++)
        if (h->known[i].port == n + 1)
            h->known[i].port = 0;
}

static bool port_write(struct hub *h, unsigned n, size_t len)
{
    return send(h->fd[n].fd, h->buffer, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void port_send(struct hub *h, unsigned n, size_t len)
{
    struct pollfd out = {.fd = h->fd[n].fd, .events = POLLOUT};

    if (port_write(h, n, len)) {
        h->slow[n] = false;
        return;
    }
    if (h->slow[n] || (errno != EAGAIN && errno != ENOBUFS))
        return;
    h->slow[n] = poll(&out, 1, PATIENCE) <= 0 || !port_write(h, n, len);
}

static void frame_forward(struct hub *h, unsigned from, size_t len)
{
    const u8 *to = h->buffer + sizeof(struct frame_header), *source = to + FRAME_MAC;
    struct address *a = address_of(h, source);

    if (!(source[0] & 1)) {
        memcpy(a->mac, source, FRAME_MAC);
        a->port = (u8)(from + 1);
    }
    a = address_of(h, to);
    bool found = !(to[0] & 1) && a->port && memcmp(a->mac, to, FRAME_MAC) == 0;
    for (unsigned n = 0; n < PORTS; n++)
        if (h->fd[n].fd >= 0 && n != from && (!found || n + 1 == a->port))
            port_send(h, n, len);
}

static void port_read(struct hub *h, unsigned n)
{
    for (unsigned i = 0; i < BATCH; i++) {
        ssize_t got = recv(h->fd[n].fd, h->buffer, sizeof(h->buffer), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            port_close(h, n);
            return;
        }
        if ((size_t)got >= sizeof(struct frame_header) + FRAME_ETHERNET)
            frame_forward(h, n, (size_t)got);
    }
}

static bool port_add(struct hub *h, int fd)
{
    for (unsigned n = 0; n < PORTS; n++) {
        if (h->fd[n].fd >= 0)
            continue;
        h->fd[n].fd = fd;
        h->fd[n].revents = 0;
        h->slow[n] = false;
        h->ports++;
        return true;
    }
    return false;
}

/* All that wait, so that they hear what was sent after they came. One too many is shown the door. */
static void ports_accept(struct hub *h)
{
    int fd;

    while ((fd = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        if (!port_add(h, fd))
            (void)close(fd);
}

/* Nobody is there. Under the lock: nor is anybody at the door. */
static bool may_end(struct hub *h)
{
    if (flock(FOLDER, LOCK_EX))
        return true;
    ports_accept(h);
    if (!h->ports)
        return true;
    (void)flock(FOLDER, LOCK_UN);
    return false;
}

static void hub_run(struct hub *h)
{
    for (unsigned n = 0; n < PORTS; n++)
        h->fd[n] = (struct pollfd){.fd = -1, .events = POLLIN};
    h->fd[PORTS] = (struct pollfd){.fd = LISTENER, .events = POLLIN};
    do {
        int some = poll(h->fd, PORTS + 1, h->ports ? -1 : GRACE);
        if (some > 0 && h->fd[PORTS].revents)
            ports_accept(h);
        for (unsigned n = 0; n < PORTS && some > 0; n++)
            if (h->fd[n].fd >= 0 && h->fd[n].revents)
                port_read(h, n);
    } while (h->ports || !may_end(h));
}

static _Noreturn void hub_main(int listener, int folder, enum child_confine confine)
{
    static const char name[] = "ring3-switch";
    struct hub *h = calloc(1, sizeof(*h));

    if (!h || !child_begin(name, (const int[]){listener, folder}, 2))
        _exit(1);
    if (!confine || !sandbox_enter_helper(SANDBOX_SWITCH, -1, NULL) || confine == CHILD_TRY)
        hub_run(h);
    _exit(0);
}

/* Twice, so that it is nobody's child. */
static int hub_start(int listener, int folder, enum child_confine confine)
{
    pid_t child = fork();

    if (child == 0) {
        if (fork() == 0)
            hub_main(listener, folder, confine);
        _exit(0);
    }
    if (child < 0)
        return -errno;
    (void)waitpid(child, NULL, 0);
    return 0;
}

/* --- in the machine ---------------------------------------------------------------------------------------------- */

static struct sockaddr_un address_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    memcpy(a.sun_path, path, strnlen(path, sizeof(a.sun_path) - 1));
    return a;
}

/* A socket that listens at the path, for this user alone; in the place of one that nobody listens at. */
static int listener_open(const char *path)
{
    struct sockaddr_un a = address_at(path);
    struct stat st;

    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return -ENOTSOCK;
        if (unlink(path))
            return -errno;
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&a, sizeof(a)) || listen(fd, PORTS)) {
        int status = -errno;
        (void)close(fd);
        return status;
    }
    return fd;
}

static int port_connect(const char *path)
{
    static const int size = 1 << 20;
    struct sockaddr_un a = address_at(path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK)) {
        int status = -errno;
        (void)close(fd);
        return status;
    }
    return fd;
}

static int switch_join(const char *path, int folder, enum child_confine confine)
{
    int fd = port_connect(path);

    if (fd != -ECONNREFUSED && fd != -ENOENT)
        return fd;
    int listener = listener_open(path);
    if (listener < 0)
        return listener;
    int status = hub_start(listener, folder, confine);
    (void)close(listener);
    return status ? status : port_connect(path);
}

int switch_open(const char *who, const char *path, enum child_confine confine, struct error *err)
{
    char *copy = strdup(path);

    if (!copy)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (folder < 0 || flock(folder, LOCK_EX)) {
        int status =
            error_set(err, -errno, "%s: the folder of the path: %s; give one that is there", who, strerror(errno));
        if (folder >= 0)
            (void)close(folder);
        return status;
    }
    int fd = switch_join(path, folder, confine);
    (void)flock(folder, LOCK_UN); /* the switch has the same lock, by inheritance */
    (void)close(folder);
    if (fd < 0)
        return error_set(err, fd, "%s: cannot join the switch: %s; give a path that is free, or that of a switch", who,
                         strerror(-fd));
    return fd;
}
