/*
 * Looks into a disk image through volume/, for tests/system/test_volume.py:
 *
 *     volume_worker IMAGE tree        every file below the root: type, size, sum of its bytes, path
 *     volume_worker IMAGE kernel      what would be started
 *     volume_worker FILE seed         a volume for cloud-init with this file as each of two, to standard output
 *
 * Status 1 with a line if that fails.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block/open.h"
#include "host/file.h"
#include "volume/ext4.h"
#include "volume/kernel.h"
#include "volume/seed.h"

#define NAMES_MAX 20000

struct names {
    char *name[NAMES_MAX];
    unsigned count;
};

static _Noreturn void fail(const char *what, int status)
{
    printf("%s: %s\n", what, strerror(-status));
    exit(1);
}

static bool keep(void *opaque, const char *name, u32 inode)
{
    struct names *n = opaque;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && n->count < NAMES_MAX)
        n->name[n->count++] = strdup(name);
    return true;
}

/* FNV-1a, read in pieces of odd sizes. */
static u64 sum(const struct ext4 *fs, const struct ext4_inode *inode)
{
    static u8 piece[70001];
    u64 hash = 0xcbf29ce484222325u;
    for (u64 at = 0; at < inode->size;) {
        size_t n = inode->size - at < sizeof(piece) ? (size_t)(inode->size - at) : sizeof(piece);
        int status = ext4_read(fs, inode, at, piece, n);
        if (status)
            fail("read", status);
        for (size_t i = 0; i < n; i++)
            hash = (hash ^ piece[i]) * 0x100000001b3u;
        at += n;
    }
    return hash;
}

static void tree(const struct ext4 *fs, const char *path)
{
    struct ext4_inode inode;
    struct names n = {.count = 0};
    char below[4096];
    int status = ext4_find(fs, path, &inode);
    if (status)
        fail(path, status);
    if ((inode.mode & EXT4_TYPE) == EXT4_REGULAR) {
        printf("file %" PRIu64 " %016" PRIx64 " %s\n", inode.size, sum(fs, &inode), path);
        return;
    }
    printf("folder %s\n", path);
    status = ext4_list(fs, &inode, keep, &n);
    if (status)
        fail(path, status);
    for (unsigned i = 0; i < n.count; i++) {
        (void)snprintf(below, sizeof(below), "%s/%s", strcmp(path, "/") == 0 ? "" : path, n.name[i]);
        tree(fs, below);
        free(n.name[i]);
    }
}

static void kernel(const struct volume *disk)
{
    struct volume_kernel k;
    struct error err;
    if (volume_find_kernel(disk, &k, &err)) {
        printf("%s\n", err.text);
        exit(1);
    }
    printf("kernel %s ", k.path);
    (void)fwrite(k.kernel, 1, k.kernel_size, stdout);
    printf("\ninitramfs %s ", k.initramfs_path ? k.initramfs_path : "-");
    if (k.initramfs)
        (void)fwrite(k.initramfs, 1, k.initramfs_size, stdout);
    printf("\ncmdline %s\n", k.cmdline);
    volume_kernel_free(&k);
}

static int seed(const char *path)
{
    struct seed_file files[] = {{"meta-data", NULL, 0}, {"user-data", NULL, 0}};
    struct error err;
    u8 *data;
    u64 size;
    if (host_file_read(path, MiB(16), &data, &size, &err))
        fail(err.text, -EIO);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        files[i].data = data;
        files[i].size = size;
    }
    u8 *image = seed_build(files, ARRAY_SIZE(files), &size);
    bool good = image && fwrite(image, 1, size, stdout) == size;
    free(image);
    free(data);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct block_reader *r;
    struct error err;
    struct ext4 fs;
    if (argc != 3)
        return 2;
    if (strcmp(argv[2], "seed") == 0)
        return seed(argv[1]);
    if (block_reader_open(argv[1], NULL, &r, &err)) {
        printf("%s\n", err.text);
        return 1;
    }
    struct volume disk = {.read = block_reader_read, .opaque = r, .size = block_reader_size(r)};
    if (strcmp(argv[2], "kernel") == 0) {
        kernel(&disk);
    } else {
        int status = ext4_open(&disk, &fs);
        if (status)
            fail("open", status);
        tree(&fs, "/");
    }
    block_reader_close(r);
    return 0;
}
