/*
 * Files, pseudo-terminals and standard input and output as streams (open.h).
 */
#include "backend/char/open.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "backend/char/stream.h"

static struct chardev *stream_or_error(const struct stream_config *cfg, struct error *err)
{
    struct chardev *cd = stream_create(cfg);
    if (!cd)
        (void)error_set(err, -ENOMEM, "%s: out of memory", cfg->who);
    return cd;
}

/* What would keep us from writing there, without making anything: 0 or -errno. */
static int path_check(const char *path)
{
    int fd = stream_open_file(path, 0);
    if (fd >= 0)
        (void)close(fd);
    if (fd != -ENOENT)
        return fd < 0 ? fd : 0;
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int status = access(dirname(copy), W_OK | X_OK) ? -errno : 0;
    free(copy);
    return status;
}

struct chardev *char_open_file(const struct char_host *host, const char *who, const char *path, struct error *err)
{
    int status = path_check(path);
    if (status) {
        const char *why = status == -ENXIO ? "nobody has the FIFO open for reading" : strerror(-status);
        (void)error_set(err, status, "%s: cannot write to the file: %s; give a path that can be written", who, why);
        return NULL;
    }
    struct stream_config cfg = {.host = *host, .who = who, .in = -1, .out = -1, .path = path, .owned = {-1, -1}};
    return stream_or_error(&cfg, err);
}

/* The slave end, raw, so that nothing is echoed back as input while nobody has it open. */
static int pty_open_slave(int master, char *path, size_t size)
{
    struct termios mode;
    if (grantpt(master) || unlockpt(master) || ptsname_r(master, path, size))
        return -1;
    int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave >= 0 && tcgetattr(slave, &mode) == 0) {
        cfmakeraw(&mode);
        (void)tcsetattr(slave, TCSANOW, &mode);
    }
    return slave;
}

/* Our own descriptor of the slave stays open: without it the master would report a hang-up until somebody comes. */
struct chardev *char_open_pty(const struct char_host *host, const char *who, struct error *err)
{
    char path[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    int slave = master < 0 ? -1 : pty_open_slave(master, path, sizeof(path));
    if (slave < 0) {
        (void)error_set(err, -errno, "%s: cannot make a pseudo-terminal: %s", who, strerror(errno));
        if (master >= 0)
            (void)close(master);
        return NULL;
    }
    struct stream_config cfg = {.host = *host, .who = who, .in = master, .out = master, .owned = {master, slave}};
    struct chardev *cd = stream_or_error(&cfg, err);
    if (cd)
        log_msg(host->log, LOG_INFO, "%s: %s", who, path);
    return cd;
}

/*
 * Standard output is shared with the shell and maybe others, so O_NONBLOCK must not be set on it. A terminal or a pipe
 * can be opened once more, which gives flags of our own; what remains is told apart by its type.
 */
static void output_prepare(struct stream_config *cfg, int out)
{
    char path[32];
    struct stat st;
    cfg->how = STREAM_POLLED;
    cfg->out = out;
    if (out < 0 || fstat(out, &st))
        return;
    if (S_ISREG(st.st_mode)) {
        cfg->how = STREAM_NONBLOCK;
    } else if (S_ISSOCK(st.st_mode)) {
        cfg->how = STREAM_SOCKET;
    } else if (S_ISFIFO(st.st_mode) || isatty(out)) {
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
            return;
        cfg->how = STREAM_NONBLOCK;
        cfg->out = cfg->owned[0] = fd;
    }
}

struct chardev *char_open_descriptors(const struct char_host *host, const char *who, int in, int out, struct error *err)
{
    struct stream_config cfg = {.host = *host, .who = who, .in = in, .owned = {-1, -1}};
    if (in >= 0 && fcntl(in, F_GETFD) < 0)
        cfg.in = -1;
    output_prepare(&cfg, out);
    return stream_or_error(&cfg, err);
}

struct chardev *char_open_stdio(const struct char_host *host, const char *who, struct error *err)
{
    return char_open_descriptors(host, who, STDIN_FILENO, STDOUT_FILENO, err);
}
