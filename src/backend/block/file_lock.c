/*
 * Locks of an image (file.h), as in QEMU's docs/devel and `man qemu-block-drivers`, "image locking".
 *
 * Each side first says what it does and what it forbids, then looks for others who contradict. Of two that come at the
 * same moment both may be refused, never both let in. The locks belong to the open file: they go with its last
 * descriptor, however the process ends.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/block/file.h"
#include "base/bits.h"

#define DOES    100 /* + number of the right */
#define FORBIDS 200

enum { RIGHT_READ, RIGHT_WRITE, RIGHT_WRITE_SAME, RIGHT_RESIZE, RIGHTS };

static struct flock one_byte(short type, off_t byte)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

static int take(int fd, off_t base, unsigned rights)
{
    for (unsigned n = 0; n < RIGHTS; n++) {
        struct flock lock = one_byte(F_RDLCK, base + n);
        if (rights & BIT(n) && fcntl(fd, F_OFD_SETLK, &lock) < 0)
            return -errno;
    }
    return 0;
}

/* Has anybody else one of these? 0 or -EBUSY, with the process in *pid if the host tells (0: it does not). */
static int find_other(int fd, off_t base, unsigned rights, pid_t *pid)
{
    for (unsigned n = 0; n < RIGHTS; n++) {
        struct flock lock = one_byte(F_WRLCK, base + n);
        if (!(rights & BIT(n)))
            continue;
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
            return -errno;
        if (lock.l_type != F_UNLCK) {
            *pid = lock.l_pid > 0 ? lock.l_pid : 0;
            return -EBUSY;
        }
    }
    return 0;
}

int file_lock(int fd, const char *path, bool write, struct error *err)
{
    unsigned does = write ? BIT(RIGHT_READ) | BIT(RIGHT_WRITE) | BIT(RIGHT_RESIZE) : BIT(RIGHT_READ);
    unsigned forbids = BIT(RIGHT_WRITE) | BIT(RIGHT_RESIZE);
    char who[40] = "";
    pid_t pid = 0;
    int status = take(fd, DOES, does);
    if (!status)
        status = take(fd, FORBIDS, forbids);
    if (!status)
        status = find_other(fd, FORBIDS, does, &pid);
    if (!status)
        status = find_other(fd, DOES, forbids, &pid);
    if (!status)
        return 0;
    if (pid)
        (void)snprintf(who, sizeof(who), " (process %d)", (int)pid);
    if (status == -EBUSY || status == -EAGAIN || status == -EACCES)
        return error_set(err, -EBUSY, "%s: is in use by another machine%s; end that one first", path, who);
    return error_set(err, status, "%s: cannot be locked against other machines: %s", path, strerror(-status));
}
