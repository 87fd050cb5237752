/* See kernel.h. */
#include "volume/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/entry.h"
#include "volume/ext4.h"
#include "volume/other.h"
#include "volume/partition.h"
#include "volume/version.h"

#define SYSTEMS_MAX   16
#define TEXT_MAX      MiB(1)
#define KERNEL_MAX    MiB(256)
#define INITRAMFS_MAX MiB(512)

/* A file system of the disk. */
struct system {
    struct ext4 fs;
    const char *partuuid; /* "": it is no partition */
};

struct search {
    struct partition partition[PARTITION_MAX];
    struct system system[SYSTEMS_MAX];
    unsigned systems;
    int status;      /* the last file system that could not be read */
    char other[100]; /* the names of those that are none of ours */
    struct entry entry;
};

/* --- file systems ----------------------------------------------------------------------------------------------- */

/* Each name once. What has no room is not named. */
static void note_other(struct search *s, const struct volume *v)
{
    const char *name = other_find(v);
    size_t length = strlen(s->other);
    if (name && !strstr(s->other, name) && length + strlen(name) + 3 <= sizeof(s->other))
        (void)snprintf(s->other + length, sizeof(s->other) - length, "%s%s", length ? ", " : "", name);
}

static void look_at(struct search *s, const struct volume *v, const char *partuuid)
{
    struct system *found = &s->system[s->systems];
    if (s->systems == SYSTEMS_MAX)
        return;
    int status = ext4_open(v, &found->fs);
    if (status == -ENODEV)
        note_other(s, v);
    else if (status)
        s->status = status;
    if (status)
        return;
    found->partuuid = partuuid;
    s->systems++;
}

static void find_systems(struct search *s, const struct volume *disk)
{
    look_at(s, disk, "");
    unsigned count = s->systems ? 0 : partition_list(disk, s->partition, PARTITION_MAX);
    for (unsigned i = 0; i < count; i++)
        look_at(s, &s->partition[i].volume, s->partition[i].uuid);
}

static bool is_there(const struct ext4 *fs, const char *path)
{
    struct ext4_inode inode;
    return ext4_find(fs, path, &inode) == 0 && (inode.mode & EXT4_TYPE) == EXT4_REGULAR;
}

/* The text of a file, NULL if there is none. */
static char *read_text(const struct ext4 *fs, const char *path)
{
    u8 *data;
    u64 size;
    return ext4_read_file(fs, path, TEXT_MAX, &data, &size) ? NULL : (char *)data;
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

/* Files named PREFIX*SUFFIX; the newest. */
struct newest {
    const char *prefix, *suffix;
    char name[256];
};

static bool is_newer(void *opaque, const char *name, u32 inode)
{
    struct newest *n = opaque;
    size_t length = strlen(name), prefix = strlen(n->prefix), suffix = strlen(n->suffix);
    (void)inode;
    if (length < prefix + suffix || strncmp(name, n->prefix, prefix) != 0 ||
        strcmp(name + length - suffix, n->suffix) != 0)
        return true;
    if (!n->name[0] || version_compare(name, n->name) > 0)
        memcpy(n->name, name, length + 1); /* names have at most 255 bytes */
    return true;
}

static bool find_newest(const struct ext4 *fs, const char *folder, struct newest *n)
{
    struct ext4_inode inode;
    return ext4_find(fs, folder, &inode) == 0 && ext4_list(fs, &inode, is_newer, n) == 0 && n->name[0];
}

static bool path_of(char out[ENTRY_PATH], const char *folder, const char *name)
{
    int length = snprintf(out, ENTRY_PATH, "%s/%s", folder, name);
    return length > 0 && length < ENTRY_PATH;
}

/* An entry counts when its kernel is there: paths begin at the root of this file system. */
static bool entry_counts(const struct ext4 *fs, const struct entry *e)
{
    for (unsigned i = 0; i < e->initrds; i++)
        if (!is_there(fs, e->initrd[i]))
            return false;
    return is_there(fs, e->kernel);
}

static bool read_entry(const struct ext4 *fs, const char *path, bool (*read)(char *text, struct entry *out),
                       struct entry *out)
{
    char *text = read_text(fs, path);
    bool good = text && read(text, out) && entry_counts(fs, out);
    free(text);
    return good;
}

static bool find_bls(const struct ext4 *fs, const char *boot, struct entry *out)
{
    struct newest n = {.prefix = "", .suffix = ".conf"};
    char folder[ENTRY_PATH], path[ENTRY_PATH];
    return path_of(folder, boot, "loader/entries") && find_newest(fs, folder, &n) && path_of(path, folder, n.name) &&
           read_entry(fs, path, entry_read_bls, out);
}

static bool find_config(const struct ext4 *fs, const char *boot, struct entry *out)
{
    static const struct {
        const char *path;
        bool (*read)(char *text, struct entry *out);
    } files[] = {
        {"extlinux/extlinux.conf", entry_read_extlinux},
        {"syslinux/syslinux.cfg", entry_read_extlinux},
        {"grub/grub.cfg", entry_read_grub},
        {"grub2/grub.cfg", entry_read_grub},
    };
    char path[ENTRY_PATH];
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (path_of(path, boot, files[i].path) && read_entry(fs, path, files[i].read, out))
            return true;
    return false;
}

/* The links that Debian keeps to its newest kernel, and names that others give to their only one. */
static bool find_link(const struct ext4 *fs, const char *boot, struct entry *out)
{
    static const struct {
        const char *kernel, *initrd;
    } names[] = {{"vmlinuz", "initrd.img"},
                 {"vmlinuz-linux", "initramfs-linux.img"},
                 {"vmlinuz-virt", "initramfs-virt"},
                 {"vmlinuz-lts", "initramfs-lts"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        *out = (struct entry){0};
        if (!path_of(out->kernel, boot, names[i].kernel) || !is_there(fs, out->kernel))
            continue;
        out->initrds = path_of(out->initrd[0], boot, names[i].initrd) && is_there(fs, out->initrd[0]);
        return true;
    }
    return false;
}

static bool find_newest_kernel(const struct ext4 *fs, const char *boot, struct entry *out)
{
    static const char *const patterns[] = {"initrd.img-%s", "initramfs-%s.img", "initrd-%s", "initramfs-%s"};
    struct newest n = {.prefix = "vmlinuz-", .suffix = ""};
    char name[300];
    *out = (struct entry){0};
    if (!find_newest(fs, boot, &n) || !path_of(out->kernel, boot, n.name))
        return false;
    const char *version = n.name + strlen(n.prefix);
    for (size_t i = 0; i < ARRAY_SIZE(patterns) && !out->initrds; i++) {
        const char *place = strchr(patterns[i], '%');
        (void)snprintf(name, sizeof(name), "%.*s%s%s", (int)(place - patterns[i]), patterns[i], version, place + 2);
        out->initrds = path_of(out->initrd[0], boot, name) && is_there(fs, out->initrd[0]);
    }
    return is_there(fs, out->kernel);
}

/* /boot of a file system that has everything, or the root of one that is mounted there. */
static bool find_entry(const struct ext4 *fs, struct entry *out)
{
    static const char *const boots[] = {"/boot", ""};
    static bool (*const finds[])(const struct ext4 *fs, const char *boot,
                                 struct entry *out) = {find_bls, find_config, find_link, find_newest_kernel};
    for (size_t n = 0; n < ARRAY_SIZE(finds); n++)
        for (size_t i = 0; i < ARRAY_SIZE(boots); i++)
            if (finds[n](fs, boots[i], out))
                return true;
    return false;
}

/* --- command line ----------------------------------------------------------------------------------------------- */

/* The file system that is the root: the one with a system in it, else the one with the kernel. */
static const struct system *find_root(const struct search *s, const struct system *kernel)
{
    static const char *const signs[] = {"/etc/os-release", "/etc/fstab", "/sbin/init"};
    for (unsigned i = 0; i < s->systems; i++)
        for (size_t n = 0; n < ARRAY_SIZE(signs); n++)
            if (is_there(&s->system[i].fs, signs[n]))
                return &s->system[i];
    return kernel;
}

/* Without an initial file system the kernel itself finds the root, and knows partitions only. */
static bool add_root(struct entry *e, const struct system *root)
{
    char word[80];
    if (e->initrds)
        (void)snprintf(word, sizeof(word), "root=UUID=%s", root->fs.uuid);
    else if (root->partuuid[0])
        (void)snprintf(word, sizeof(word), "root=PARTUUID=%s", root->partuuid);
    else
        (void)snprintf(word, sizeof(word), "root=/dev/vda");
    return entry_add_word(e, word) &&
           (entry_has_word(e->options, "rw") || entry_has_word(e->options, "ro") || entry_add_word(e, "ro"));
}

static bool complete(struct search *s, const struct system *kernel)
{
    struct entry *e = &s->entry;
    if (!entry_has_word(e->options, "root=") && !add_root(e, find_root(s, kernel)))
        return false;
    return entry_has_word(e->options, "console=ttyS0") || entry_add_word(e, "console=ttyS0");
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static int append(const struct ext4 *fs, const char *path, struct volume_kernel *out)
{
    u8 *data;
    u64 size;
    int status = ext4_read_file(fs, path, INITRAMFS_MAX - out->initramfs_size, &data, &size);
    if (status || !out->initramfs) {
        out->initramfs = status ? out->initramfs : data;
        out->initramfs_size = status ? out->initramfs_size : size;
        return status;
    }
    u64 at = align_up(out->initramfs_size, 4); /* as the kernel's unpacker wants it */
    u8 *grown = realloc(out->initramfs, at + size);
    if (grown) {
        out->initramfs = grown;
        memset(grown + out->initramfs_size, 0, at - out->initramfs_size);
        memcpy(grown + at, data, size);
        out->initramfs_size = at + size;
    }
    free(data);
    return grown ? 0 : -ENOMEM;
}

static int load(const struct ext4 *fs, const struct entry *e, struct volume_kernel *out, struct error *err)
{
    const char *path = e->kernel;
    int status = ext4_read_file(fs, path, KERNEL_MAX, &out->kernel, &out->kernel_size);
    for (unsigned i = 0; i < e->initrds && !status; i++) {
        path = e->initrd[i];
        status = append(fs, path, out);
    }
    if (status)
        return error_set(err, status, "%s in it cannot be read: %s", path, strerror(-status));
    out->path = strdup(e->kernel);
    out->initramfs_path = e->initrds ? strdup(e->initrd[0]) : NULL;
    out->cmdline = strdup(e->options);
    if (!out->path || !out->cmdline || (e->initrds && !out->initramfs_path))
        return error_set(err, -ENOMEM, "out of memory");
    return 0;
}

static int nothing_found(const struct search *s, struct error *err)
{
    const char *before = s->other[0] ? " (not read: " : "", *after = s->other[0] ? ")" : "";
    if (s->systems)
        return error_set(err, -ENOENT, "no kernel in /boot of its file systems%s%s%s", before, s->other, after);
    if (s->status)
        return error_set(err, s->status, "its file system cannot be read: %s", strerror(-s->status));
    return error_set(err, -ENOENT, "no ext2, ext3 or ext4 file system to find a kernel in%s%s%s", before, s->other,
                     after);
}

static int find(struct search *s, const struct volume *disk, struct volume_kernel *out, struct error *err)
{
    find_systems(s, disk);
    for (unsigned i = 0; i < s->systems; i++) {
        const struct system *kernel = &s->system[i];
        if (!find_entry(&kernel->fs, &s->entry))
            continue;
        if (!complete(s, kernel))
            return error_set(err, -E2BIG, "the command line of its kernel is too long");
        return load(&kernel->fs, &s->entry, out, err);
    }
    return nothing_found(s, err);
}

int volume_find_kernel(const struct volume *disk, struct volume_kernel *out, struct error *err)
{
    struct search *s = calloc(1, sizeof(*s));
    *out = (struct volume_kernel){0};
    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    int status = find(s, disk, out, err);
    free(s);
    if (status)
        volume_kernel_free(out);
    return status;
}

void volume_kernel_free(struct volume_kernel *k)
{
    free(k->path);
    free(k->kernel);
    free(k->initramfs_path);
    free(k->initramfs);
    free(k->cmdline);
    *k = (struct volume_kernel){0};
}
