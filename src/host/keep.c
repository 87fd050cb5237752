/*
 * Implements host/keep.h. A file is a header, what the result was made from, and the result as a zstd frame with its
 * checksum: that tells of files that the host lost a part of. Its name is a hash, which need not be a good one, since
 * the bytes are compared.
 */
#include "host/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define MAGIC     "ring3 1\n"
#define LEVEL     1 /* a tenth of a second for a kernel */
#define NAME_ROOM 40
#define PATH_ROOM 4096

struct header {
    char magic[8];
    u64 from_size, packed_size, size;
};

/* ------ the folder ------ */

static bool is_ours(int fd, mode_t type)
{
    struct stat s;
    return !fstat(fd, &s) && s.st_uid == geteuid() && (s.st_mode & S_IFMT) == type &&
           !(s.st_mode & (S_IWGRP | S_IWOTH));
}

/* Makes the folders of the path that are not there. */
static bool make_folders(char *path)
{
    for (char *p = path + 1;; p++) {
        char end = *p;
        if (end && end != '/')
            continue;
        *p = '\0';
        int status = mkdir(path, 0700);
        *p = end;
        if (status && errno != EEXIST)
            return false;
        if (!end)
            return true;
    }
}

static int open_folder(const char *kind, bool make)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char path[PATH_ROOM];
    bool xdg = cache && cache[0] == '/';
    if (!xdg && !(home && home[0] == '/'))
        return -1;
    int len = snprintf(path, sizeof(path), "%s%s/ring3/%s", xdg ? cache : home, xdg ? "" : "/.cache", kind);
    if (len < 0 || (size_t)len >= sizeof(path) || (make && !make_folders(path)))
        return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && is_ours(fd, S_IFDIR))
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static void name_of(char name[NAME_ROOM], const u8 *from, u64 size)
{
    (void)snprintf(name, NAME_ROOM, "%08lx-%llx", crc32_z(0, from, size), (unsigned long long)size);
}

/* ------ finding ------ */

static bool read_all(int fd, void *to, u64 size, u64 offset)
{
    for (u64 done = 0; done < size;) {
        ssize_t n = pread(fd, (u8 *)to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (u64)n;
    }
    return true;
}

static u8 *read_new(int fd, u64 size, u64 offset)
{
    u8 *data = malloc(size);
    if (data && read_all(fd, data, size, offset))
        return data;
    free(data);
    return NULL;
}

static u8 *unpack(const u8 *packed, const struct header *h)
{
    u8 *out = malloc(h->size);
    if (out && ZSTD_decompress(out, h->size, packed, h->packed_size) == h->size)
        return out;
    free(out);
    return NULL;
}

static u8 *find_in(int fd, const u8 *from, u64 from_size, u64 max, u64 *size)
{
    struct header h;
    struct stat s;
    if (!is_ours(fd, S_IFREG) || fstat(fd, &s) || !read_all(fd, &h, sizeof(h), 0))
        return NULL;
    bool known = memcmp(h.magic, MAGIC, sizeof(h.magic)) == 0 && h.from_size == from_size && h.size && h.size <= max;
    if (!known || h.packed_size > max || (u64)s.st_size != sizeof(h) + from_size + h.packed_size)
        return NULL;
    u8 *data = read_new(fd, from_size + h.packed_size, sizeof(h));
    u8 *out = data && memcmp(data, from, from_size) == 0 ? unpack(data + from_size, &h) : NULL;
    free(data);
    *size = h.size;
    return out;
}

u8 *keep_find(const char *kind, const u8 *from, u64 from_size, u64 max, u64 *size)
{
    char name[NAME_ROOM];
    int folder = open_folder(kind, false);
    if (folder < 0)
        return NULL;
    name_of(name, from, from_size);
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    u8 *out = fd >= 0 ? find_in(fd, from, from_size, max, size) : NULL;
    if (out)
        (void)futimens(fd, NULL); /* used last */
    if (fd >= 0)
        (void)close(fd);
    (void)close(folder);
    return out;
}

/* ------ adding ------ */

static bool write_all(int fd, const void *from, u64 size)
{
    for (u64 done = 0; done < size;) {
        ssize_t n = write(fd, (const u8 *)from + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (u64)n;
    }
    return true;
}

static bool write_file(int fd, const u8 *from, u64 from_size, const u8 *packed, const struct header *h)
{
    return write_all(fd, h, sizeof(*h)) && write_all(fd, from, from_size) && write_all(fd, packed, h->packed_size);
}

static u8 *pack(const u8 *result, u64 size, u64 *packed_size)
{
    size_t room = ZSTD_compressBound(size);
    u8 *packed = malloc(room);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    size_t done = 0;
    bool good = packed && z && !ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL)) &&
                !ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1));
    if (good)
        done = ZSTD_compress2(z, packed, room, result, size);
    (void)ZSTD_freeCCtx(z);
    *packed_size = done;
    if (good && !ZSTD_isError(done))
        return packed;
    free(packed);
    return NULL;
}

/* Removes the file that was not used for longest, if there are too many, and what a process that was killed left. */
static void tidy(int folder)
{
    char oldest[NAME_ROOM] = "";
    struct timespec when = {0};
    unsigned count = 0;
    int fd = dup(folder);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    struct stat s;
    if (!d && fd >= 0)
        (void)close(fd);
    while (d && (e = readdir(d))) {
        if (strlen(e->d_name) >= NAME_ROOM || fstatat(folder, e->d_name, &s, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(s.st_mode))
            continue;
        bool older =
            s.st_mtim.tv_sec < when.tv_sec || (s.st_mtim.tv_sec == when.tv_sec && s.st_mtim.tv_nsec < when.tv_nsec);
        if (!count++ || older) {
            strcpy(oldest, e->d_name);
            when = s.st_mtim;
        }
    }
    if (d)
        (void)closedir(d);
    if (count > KEEP_FILES)
        (void)unlinkat(folder, oldest, 0);
}

void keep_add(const char *kind, const u8 *from, u64 from_size, const u8 *result, u64 size)
{
    char name[NAME_ROOM], new[NAME_ROOM];
    struct header h = {.magic = MAGIC, .from_size = from_size, .size = size};
    int folder = open_folder(kind, true);
    if (folder < 0)
        return;
    name_of(name, from, from_size);
    (void)snprintf(new, sizeof(new), ".new-%d", (int)gettid());
    u8 *packed = pack(result, size, &h.packed_size);
    (void)unlinkat(folder, new, 0);
    int fd = packed ? openat(folder, new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        bool good = write_file(fd, from, from_size, packed, &h);
        good &= !close(fd);
        if (!good || renameat(folder, new, folder, name))
            (void)unlinkat(folder, new, 0);
    }
    free(packed);
    tidy(folder);
    (void)close(folder);
}
