/*
 * The option "root": a kernel, and of its own nothing else. An initial file system is made here, with a first process
 * (guests/root/init.c), the modules that it needs to reach the host's root file system, and what it is to do; the root
 * is shared read-only, and the guest writes to memory.
 *
 * What the command reads and writes goes by a console where standard input and output are a terminal, and else by
 * three streams that nothing is lost of. The kernel's messages go to standard error, by the serial port.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/char/open.h"
#include "backend/share/open.h"
#include "base/bits.h"
#include "host/file.h"
#include "machine/boot/linux.h"
#include "machine/bytes.h"
#include "machine/root_init.h"
#include "vm/internal.h"

#define TAG        "ring3.root"
#define CMDLINE    "console=ttyS0 loglevel=1 panic=-1"
#define CONF_MAX   ((u32)KiB(256)) /* guests/root/init.c has as much room, */
#define WORDS_MAX  2000            /* and this */
#define MODULE_MAX MiB(64)
#define VERSION_AT 0x20e /* in the header of a bzImage: where its version stands, less 0x200 */

/* In the order in which they need each other; what a kernel has built in, or has no more, is not there. */
static const char *const modules[] = {"virtio_ring",
                                      "virtio",
                                      "virtio_pci_modern_dev",
                                      "virtio_pci_legacy_dev",
                                      "virtio_pci",
                                      "virtio_console",
                                      "netfs",
                                      "fscache",
                                      "9pnet",
                                      "9pnet_virtio",
                                      "9p",
                                      "overlay"};

/* The variables that a command in the guest sees. */
static const char *const variables[] = {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "SHELL", "TERM", "TZ"};

/* The archive: "newc" of cpio(5) */

static void put_padded(struct bytes *b, const void *data, size_t size)
{
    bytes_add(b, data, size);
    bytes_align(b, 4);
}

static void put_file(struct bytes *b, const char *name, u32 mode, const void *data, size_t size)
{
    char head[120];
    int len = snprintf(head, sizeof(head), "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", (u32)b->size,
                       mode, 0, 0, 1, 0, size, 0, 0, 0, 0, strlen(name) + 1, 0);
    bytes_add(b, head, (size_t)len);
    put_padded(b, name, strlen(name) + 1);
    put_padded(b, data, size);
}

/* Modules */

/* "6.1.0-56-amd64" of a bzImage; "" if it does not say. */
static void find_version(const u8 *kernel, u64 size, char version[64])
{
    version[0] = '\0';
    if (size < HDR_END || get_u32(kernel + HDR_MAGIC) != 0x53726448u)
        return;
    u64 at = get_u16(kernel + VERSION_AT) + 0x200u;
    for (unsigned n = 0; n < 63 && at + n < size && kernel[at + n] > ' ' && kernel[at + n] != '/'; n++) {
        version[n] = (char)kernel[at + n];
        version[n + 1] = '\0';
    }
}

static bool same_name(const char *name, const char *file, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!name[i] || (name[i] != file[i] && !(name[i] == '_' && file[i] == '-')))
            return false;
    return !name[len];
}

/* The path of a module in modules.dep, from the folder on; its length, 0 if it is not there. */
static size_t find_in_list(const char *list, const char *name, const char **path)
{
    for (const char *line = list; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t len = strcspn(line, ":\n"), at = len;
        while (at && line[at - 1] != '/')
            at--;
        const char *end = memmem(line + at, len - at, ".ko", 3);
        if (!end || !same_name(name, line + at, (size_t)(end - line) - at))
            continue;
        *path = line;
        return len;
    }
    return 0;
}

struct module_source {
    char folder[PATH_MAX / 2];
    char *list; /* modules.dep, or NULL: the files stand in the folder itself */
};

static void put_module(struct bytes *archive, struct bytes *conf, const struct module_source *from, const char *name)
{
    char path[PATH_MAX], file[64], record[80];
    const char *found = NULL, *end = ".ko";
    u8 *data;
    u64 size;
    if (from->list) {
        size_t len = find_in_list(from->list, name, &found);
        if (!len || len > PATH_MAX / 2 - 2)
            return;
        snprintf(path, sizeof(path), "%s/%.*s", from->folder, (int)len, found);
        end = strrchr(path, '.');
    } else {
        snprintf(path, sizeof(path), "%s/%s.ko", from->folder, name);
    }
    if (host_file_read(path, MODULE_MAX, &data, &size, NULL))
        return;
    snprintf(record, sizeof(record), "m%s%s", name, end);
    snprintf(file, sizeof(file), "ring3/%s%s", name, end);
    put_file(archive, file, 0100644, data, size);
    bytes_add(conf, record, strlen(record) + 1);
    free(data);
}

/* Of the kernel's version, below the root that it will have; or the folder that was given. */
static int find_modules(const struct vm *vm, struct module_source *from, struct error *err)
{
    char version[64], path[PATH_MAX];
    const char *root = strcmp(vm->cfg.root, "host") == 0 ? "" : vm->cfg.root;
    u8 *data = NULL;
    u64 size = 0;
    int status = host_file_read(vm->cfg.kernel, GiB(1), &data, &size, err);
    if (status) {
        snprintf(path, sizeof(path), "--kernel %s", vm->cfg.kernel);
        return error_prefix(err, status, path);
    }
    find_version(data, size, version);
    free(data);
    if (vm->cfg.modules)
        snprintf(from->folder, sizeof(from->folder), "%s", vm->cfg.modules);
    else
        snprintf(from->folder, sizeof(from->folder), "%s/lib/modules/%s", root, version);
    snprintf(path, sizeof(path), "%s/modules.dep", from->folder);
    from->list = NULL;
    if (host_file_read(path, MODULE_MAX, &data, &size, NULL))
        return 0;
    from->list = strndup((const char *)data, size);
    free(data);
    return from->list ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* What is to be done: guests/root/init.c says how it reads it. */

static void put_record(struct bytes *conf, char letter, const char *text)
{
    bytes_add(conf, &letter, 1);
    bytes_add(conf, text, strlen(text) + 1);
}

static void put_command(const struct vm *vm, struct bytes *conf)
{
    const char *shell = getenv("SHELL");
    for (unsigned n = 0; n < vm->cfg.command.count; n++)
        put_record(conf, 'a', vm->cfg.command.item[n]);
    if (!vm->cfg.command.count)
        put_record(conf, 'a', shell && *shell ? shell : "/bin/sh");
}

static void put_surroundings(const struct vm *vm, struct bytes *conf)
{
    char text[PATH_MAX + 64];
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const char *value = getenv(variables[i]);
        if (!value || strlen(value) >= PATH_MAX)
            continue;
        snprintf(text, sizeof(text), "%s=%s", variables[i], value);
        put_record(conf, 'e', text);
    }
    put_record(conf, 'e', "USER=root");
    bool host = strcmp(vm->cfg.root, "host") == 0;
    put_record(conf, 'd', host && getcwd(text, sizeof(text)) ? text : "/");
    put_record(conf, 'i', vm->root.terminal ? "c" : "s");
}

/* Shares beside the root stand in the guest where they do on the host. */
static int put_shares(const struct vm *vm, struct bytes *conf, struct error *err)
{
    char path[PATH_MAX];
    for (unsigned n = 0; n + 1 < vm->cfg.share.count; n++) {
        int status = share_path(vm->share[n], path);
        if (status)
            return error_set(err, status, "--share %s: has no path: %s", vm->cfg.share.item[n], strerror(-status));
        put_record(conf, 't', share_tag(vm->share[n]));
        put_record(conf, 'p', path);
    }
    return 0;
}

static int fill_archive(struct vm *vm, struct bytes *conf, const struct module_source *from, struct error *err)
{
    struct bytes *archive = &vm->root.archive;
    put_file(archive, "ring3", 040755, "", 0);
    for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
        put_module(archive, conf, from, modules[i]);
    put_command(vm, conf);
    put_surroundings(vm, conf);
    int status = put_shares(vm, conf, err);
    if (status)
        return status;
    bytes_u8(conf, 0);
    if (conf->size >= CONF_MAX || vm->cfg.command.count > WORDS_MAX)
        return error_set(err, -E2BIG, "--root %s: the command is too long; put it into a script", vm->cfg.root);
    put_file(archive, "ring3/conf", 0100600, conf->data, conf->size);
    put_file(archive, "init", 0100755, root_init, root_init_size);
    put_file(archive, "TRAILER!!!", 0, "", 0);
    return bytes_ok(archive) && bytes_ok(conf) ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int vm_build_root(struct vm *vm, struct error *err)
{
    struct module_source from = {0};
    struct bytes conf = {0};
    if (!vm->cfg.root)
        return 0;
    int status = find_modules(vm, &from, err);
    if (status)
        return status;
    status = fill_archive(vm, &conf, &from, err);
    bytes_free(&conf);
    free(from.list);
    return status;
}

/* Options */

/* As a shared folder's text: a comma twice. */
static char *root_share(const char *path)
{
    static const char words[] = ",tag=" TAG ",readonly=on";
    char *spec = malloc(2 * strlen(path) + sizeof(words)), *to = spec;
    for (; spec && *path; path++) {
        *to++ = *path;
        if (*path == ',')
            *to++ = ',';
    }
    if (spec)
        memcpy(to, words, sizeof(words));
    return spec;
}

static int list_put(struct vm_list *list, const char *item, bool first)
{
    if (list->count == VM_LIST_MAX)
        return -E2BIG;
    memmove(list->item + first, list->item, (first ? list->count : 0) * sizeof(list->item[0]));
    list->item[first ? 0 : list->count] = item;
    list->count++;
    return 0;
}

static char *join(const char *a, const char *b)
{
    char *text = malloc(strlen(a) + strlen(b) + 2);
    if (text)
        sprintf(text, "%s %s", a, b);
    return text;
}

/* The status of the command comes by the debug exit, and a kernel that gives up is an end. */
int vm_prepare_root(struct vm *vm, struct error *err)
{
    struct vm_config *cfg = &vm->cfg;
    if (!cfg->root)
        return 0;
    vm->root.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    vm->root.share = root_share(strcmp(cfg->root, "host") == 0 ? "/" : cfg->root);
    vm->root.cmdline = join(CMDLINE, cfg->cmdline ? cfg->cmdline : "");
    if (!vm->root.share || !vm->root.cmdline)
        return error_set(err, -ENOMEM, "out of memory");
    cfg->cmdline = vm->root.cmdline;
    cfg->no_reboot = cfg->debug_exit = true;
    int status = list_put(&cfg->share, vm->root.share, false);
    if (!status && vm->root.terminal)
        status = list_put(&cfg->port, "stdio", true);
    if (status)
        return error_set(err, status, "--root %s: there are too many --share or --console", cfg->root);
    vm->root.errors = char_spec_is_stdio(cfg->serial);
    if (vm->root.errors)
        cfg->serial = "null";
    return 0;
}

static int open_stream(struct vm *vm, unsigned n, int in, int out, struct error *err)
{
    const struct char_host host = {.loop = vm->loop, .log = vm->cfg.log};
    vm->root.stream[n] = char_open_descriptors(&host, "the command", in, out, err);
    return vm->root.stream[n] ? 0 : -ENOMEM;
}

int vm_open_root(struct vm *vm, struct error *err)
{
    const struct char_host host = {.loop = vm->loop, .log = vm->cfg.log};
    int status = 0;
    if (!vm->cfg.root)
        return 0;
    if (vm->root.errors) {
        char_destroy(vm->serial);
        vm->serial = char_open_descriptors(&host, "standard error", -1, STDERR_FILENO, err);
        status = vm->serial ? 0 : -ENOMEM;
    }
    if (vm->root.terminal)
        return status;
    if (!status)
        status = open_stream(vm, 0, STDIN_FILENO, -1, err);
    if (!status)
        status = open_stream(vm, 1, -1, STDOUT_FILENO, err);
    return status ? status : open_stream(vm, 2, -1, STDERR_FILENO, err);
}

void vm_close_root(struct vm *vm)
{
    for (size_t n = 0; n < ARRAY_SIZE(vm->root.stream); n++)
        char_destroy(vm->root.stream[n]);
    bytes_free(&vm->root.archive);
    free(vm->root.share);
    free(vm->root.cmdline);
}
