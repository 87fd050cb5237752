/*
 * ring3 image import: a copy of a disk image under a name. The file is unpacked, looked at, and converted; what is
 * refused leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "message.h"
#include "ring3.h"
#include "size.h"
#include "status.h"
#include "store.h"
#include "unpack.h"
#include "verb.h"

#define WHO "image import"

static int complain(const struct ring3_error *err, int status)
{
    if (status_signal())
        return EXIT_HOST; /* the process is about to end by it */
    status_clear();
    message(WHO ": %s", err->text);
    return status == RING3_BAD_INPUT ? EXIT_USAGE : EXIT_HOST;
}

/* "debian-12.qcow2.xz" is named debian-12. */
static void name_of(const char *path, char name[STORE_NAME_MAX + 1])
{
    static const char *const ends[] = {".xz", ".zst", ".gz", ".qcow2", ".raw", ".img", ".disk"};
    const char *slash = strrchr(path, '/');
    (void)snprintf(name, STORE_NAME_MAX + 1, "%s", slash ? slash + 1 : path);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t length = strlen(name), end = strlen(ends[i]);
        if (length > end && strcmp(name + length - end, ends[i]) == 0)
            name[length - end] = '\0';
    }
}

/* A file of just any bytes passes for a raw image, so one has to show that it is a disk: by a partition table, or an
 * ext4 file system. */
static int check_raw(const char *file, const char *path)
{
    unsigned char head[2048] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, head, sizeof(head), 0) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (n == sizeof(head) && ((head[510] == 0x55 && head[511] == 0xaa) || memcmp(head + 512, "EFI PART", 8) == 0 ||
                              (head[1080] == 0x53 && head[1081] == 0xef)))
        return 0;
    status_clear();
    message(WHO ": %s: has neither a partition table nor an ext4 file system: not the image of a disk", file);
    return EXIT_USAGE;
}

static void print_line(void *opaque, const char *text)
{
    (void)opaque;
    status_clear();
    message(WHO ": %s", text);
}

static int check_qcow2(const char *file, const char *path, const struct ring3_disk_info *info)
{
    struct ring3_disk_image image = {.path = path, .format = "qcow2"};
    struct ring3_disk_check found;
    struct ring3_error err;
    if (info->backing[0]) {
        message(WHO ": %s: lies over %s; make one of both by `ring3 disk convert --backing` first", file,
                info->backing);
        return EXIT_USAGE;
    }
    status_step(WHO ": checking %s", file);
    int status = ring3_disk_check(&image, RING3_REPAIR_NONE, print_line, NULL, &found, &err);
    if (status)
        return complain(&err, status);
    if (!found.errors)
        return 0;
    message(WHO ": %s: is damaged in %" PRIu64 " places", file, found.errors);
    return EXIT_USAGE;
}

static int resize(const struct image_args *a, const char *disk, const char *format)
{
    struct ring3_error err;
    struct ring3_disk_size size = {.image = {.path = disk, .format = format}, .size = a->size};
    int status = a->size ? ring3_disk_resize(&size, &err) : 0;
    return status ? complain(&err, status) : 0;
}

/* `path` is the file, or what it was unpacked to. */
static int take(const struct image_args *a, const char *path, struct store_new *n)
{
    struct ring3_disk_info info;
    struct ring3_error err;
    const char *file = a->word[0], *format = a->format ? a->format : "qcow2";
    struct ring3_disk_image from = {.path = path};
    int status = ring3_disk_info(&from, &info, &err);
    if (status)
        return complain(&err, status);
    status = info.version ? check_qcow2(file, path, &info) : check_raw(file, path);
    if (status)
        return status;
    from.format = info.format;
    struct ring3_disk_copy copy = {.from = from, .to = n->image.disk, .format = format, .progress = status_progress};
    status_step(WHO ": copying %s", file);
    status = ring3_disk_convert(&copy, &err);
    if (status)
        return complain(&err, status);
    (void)snprintf(n->image.format, sizeof(n->image.format), "%s", format);
    (void)snprintf(n->image.origin, sizeof(n->image.origin), "%.199s", file);
    return resize(a, n->image.disk, format);
}

static int import(const struct image_args *a, struct store_new *n)
{
    char unpacked[PATH_MAX + 16];
    if (!unpack_is_packed(a->word[0]))
        return take(a, a->word[0], n);
    (void)snprintf(unpacked, sizeof(unpacked), "%s/unpacked", n->folder);
    status_step(WHO ": unpacking %s", a->word[0]);
    int status = unpack_file(WHO, a->word[0], unpacked);
    if (!status)
        status = take(a, unpacked, n);
    (void)unlink(unpacked);
    return status;
}

int image_import(const struct image_args *a)
{
    struct store_new n = {.lock = -1};
    char name[STORE_NAME_MAX + 1];
    if (access(a->word[0], R_OK)) {
        message(WHO ": %s: %s", a->word[0], strerror(errno));
        return EXIT_USAGE;
    }
    name_of(a->word[0], name);
    int status = store_begin(WHO, a->words > 1 ? a->word[1] : name, &n);
    if (!status) {
        status_begin();
        status = import(a, &n);
        if (!status)
            status = store_finish(WHO, &n);
        store_cancel(&n);
        status_end();
    }
    store_cancel(&n);
    if (!status)
        message("%s is there; `ring3 run %s` starts it", n.image.name, n.image.name);
    return status;
}
