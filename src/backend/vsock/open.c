/* The text of a vsock, its listener, and the making of its process (vsock.h). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/net/child.h"
#include "backend/net/link.h"
#include "backend/vsock/vsock.h"
#include "host/sandbox.h"

#define SUFFIX (sizeof("_4294967295") - 1) /* of the paths that a guest gets to */

enum { MONITOR = 3, LISTENER = 4 };

static bool cid_read(const char *value, u32 *out)
{
    char *end;

    if (*value < '0' || *value > '9')
        return false;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    *out = (u32)n;
    return !errno && !*end && n >= VSOCK_CID_FIRST && n <= VSOCK_CID_LAST;
}

/* Cuts the text at its last single comma, if there is one, and undoubles those before it. */
static char *cut(char *text)
{
    char *to = text, *word = NULL;

    for (char *from = text; *from && !word; from++) {
        if (*from == ',' && from[1] != ',')
            word = from + 1;
        else if (*from == ',')
            *to++ = *from++;
        else
            *to++ = *from;
    }
    *to = '\0';
    return word;
}

int vsock_spec_parse(const char *who, const char *text, struct vsock_spec *out, struct error *err)
{
    *out = (struct vsock_spec){.path = strdup(text), .cid = VSOCK_CID_FIRST};
    if (!out->path)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    const char *word = cut(out->path);
    if (!*out->path || strlen(out->path) + SUFFIX >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return error_set(err, -EINVAL, "%s: give the path of a socket, at most 96 bytes", who);
    if (word && (strncmp(word, "cid=", 4) != 0 || !cid_read(word + 4, &out->cid)))
        return error_set(err, -EINVAL, "%s: %s: give cid=3 to cid=4294967294", who, word);
    return 0;
}

void vsock_spec_free(struct vsock_spec *s)
{
    free(s->path);
    s->path = NULL;
}

/* Does somebody listen there? */
static bool is_alive(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool alive = fd >= 0 && (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno == EAGAIN);

    if (fd >= 0)
        (void)close(fd);
    return alive;
}

/* For this user alone, in the place of a socket that a machine has left behind. */
static int listener_open(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;

    memcpy(a.sun_path, path, strnlen(path, sizeof(a.sun_path) - 1));
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && !is_alive(&a))
        (void)unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&a, sizeof(a)) || listen(fd, 128)) {
        int status = -errno;
        (void)close(fd);
        return status;
    }
    return fd;
}

static _Noreturn void vsock_main(const struct vsock_spec *spec, int monitor, int listener, enum child_confine confine)
{
    struct child_ready ready = {0};
    struct error why = {0};
    const int keep[] = {monitor, listener};

    if (!child_begin("ring3-vsock", keep, 2))
        _exit(1);
    if (confine && sandbox_enter_helper(SANDBOX_VSOCK, -1, &why) && confine == CHILD_MUST) {
        ready.status = -ENOTSUP;
        (void)snprintf(ready.text, sizeof(ready.text), "%.300s; --sandbox auto or off goes on without", why.text);
    }
    if (write(MONITOR, &ready, sizeof(ready)) == sizeof(ready) && !ready.status)
        vsock_serve(spec, MONITOR, LISTENER);
    _exit(0);
}

/* Our end of the process's socket. */
static int process_start(const struct vsock_spec *spec, int listener, enum child_confine confine, pid_t *child)
{
    int pair[2];
    int status = child_sockets(pair);

    if (status)
        return status;
    pid_t pid = fork();
    if (pid == 0)
        vsock_main(spec, pair[1], listener, confine);
    status = -errno;
    (void)close(pair[1]);
    if (pid > 0 && fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK) == 0) {
        *child = pid;
        return pair[0];
    }
    (void)close(pair[0]);
    child_reap(pid > 0 ? pid : 0);
    return status;
}

int vsock_open(const struct net_host *host, const char *who, const struct vsock_spec *spec, struct net **out,
               struct error *err)
{
    struct link_config cfg = {.loop = host->loop, .log = host->log, .who = who, .what = "the vsock process"};
    int listener = listener_open(spec->path);

    if (listener < 0)
        return error_set(err, listener, "%s: cannot listen there: %s; give a path that is free", who,
                         strerror(-listener));
    cfg.fd = process_start(spec, listener, host->confine, &cfg.child);
    (void)close(listener);
    if (cfg.fd < 0)
        return error_set(err, cfg.fd, "%s: cannot make the vsock process: %s", who, strerror(-cfg.fd));
    *out = link_create(&cfg);
    return *out ? 0 : error_set(err, -ENOMEM, "%s: out of memory", who);
}
