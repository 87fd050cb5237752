/*
 * --cloud-init: a last disk, read-only and in memory, on which cloud-init finds its configuration (volume/seed.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/block/open.h"
#include "backend/words.h"
#include "host/file.h"
#include "vm/internal.h"
#include "volume/seed.h"

#define FILE_MAX MiB(16)

enum { META, NETWORK, USER, VENDOR, KINDS };

/* In the order of their names, as on the volume. */
static const char *const kinds[KINDS] = {"meta-data", "network-config", "user-data", "vendor-data"};

struct seed {
    char *text; /* what the paths point into */
    const char *path[KINDS];
    u8 *data[KINDS];
    u64 size[KINDS];
};

static int take_word(const char *who, struct seed *s, const char *word, struct error *err)
{
    for (size_t i = 0; i < KINDS; i++) {
        size_t length = strlen(kinds[i]);
        if (strncmp(word, kinds[i], length) != 0 || word[length] != '=')
            continue;
        s->path[i] = word + length + 1;
        return *s->path[i] ? 0 : error_set(err, -EINVAL, "%s: %s the path is empty", who, word);
    }
    return error_set(err, -EINVAL,
                     "%s: %s: give USER-DATA, and behind commas meta-data=, network-config= or vendor-data= with a "
                     "path; a comma inside a path is written twice",
                     who, word);
}

static int parse(const char *who, const char *spec, struct seed *s, struct error *err)
{
    *s = (struct seed){.text = strdup(spec)};
    if (!s->text)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    char *rest = words_cut(s->text);
    if (!*s->text)
        return error_set(err, -EINVAL, "%s: the path is empty; give the path of a file of user data", who);
    s->path[USER] = s->text;
    int status = 0;
    while (rest && !status) {
        char *word = rest;
        rest = words_cut(word);
        status = take_word(who, s, word, err);
    }
    return status;
}

static void release(struct seed *s)
{
    for (size_t i = 0; i < KINDS; i++)
        free(s->data[i]);
    free(s->text);
}

int vm_seed_check(const char *who, const char *spec, struct error *err)
{
    struct seed s;
    int status = parse(who, spec, &s, err);
    release(&s);
    return status;
}

/* Other data is another instance, for which cloud-init does its work anew. */
static int make_meta(struct seed *s)
{
    u64 hash = 0xcbf29ce484222325u; /* FNV-1a */
    char *text;
    for (size_t i = 0; i < KINDS; i++)
        for (u64 n = 0; n < s->size[i]; n++)
            hash = (hash ^ s->data[i][n]) * 0x100000001b3u;
    int length = asprintf(&text, "instance-id: ring3-%016" PRIx64 "\n", hash);
    if (length < 0)
        return -ENOMEM;
    s->data[META] = (u8 *)text;
    s->size[META] = (u64)length;
    return 0;
}

static int read_files(const char *who, struct seed *s, struct error *err)
{
    struct error why;
    for (size_t i = 0; i < KINDS; i++) {
        int status = s->path[i] ? host_file_read(s->path[i], FILE_MAX, &s->data[i], &s->size[i], &why) : 0;
        if (status)
            return error_set(err, status, "%s: %s: %s", who, s->path[i], why.text);
    }
    if (!s->data[META] && make_meta(s))
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    return 0;
}

/* A file that it passes over without a word is a riddle to whoever waits for what it says. */
static void look_at_user_data(struct vm *vm, const char *who, const struct seed *s)
{
    static const char *const heads[] = {"#", "Content-Type:", "MIME-Version:", "From ", "\x1f\x8b"};
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
        if (s->size[USER] >= strlen(heads[i]) && memcmp(s->data[USER], heads[i], strlen(heads[i])) == 0)
            return;
    log_msg(vm->cfg.log, LOG_WARN, "%s: begins neither with #cloud-config nor with #!: cloud-init will not take it",
            who);
}

/* An unnamed file in memory, whose name is good until it is open. */
static int open_volume(struct vm *vm, const char *who, const u8 *image, u64 size, struct error *err)
{
    char spec[64];
    int fd = host_file_memory("seed", image, size);
    if (fd < 0)
        return error_set(err, fd, "%s: %s", who, strerror(-fd));
    (void)snprintf(spec, sizeof(spec), "/proc/self/fd/%d,format=raw,readonly=on", fd);
    struct vm_disk *d = &vm->disk[vm->disks];
    int status = block_open(spec, vm->loop, vm->cfg.log, &d->block, err);
    (void)close(fd);
    if (status)
        return error_prefix(err, status, who);
    vm->disks++;
    return 0;
}

int vm_open_seed(struct vm *vm, struct error *err)
{
    struct seed_file files[KINDS];
    unsigned count = 0;
    struct seed s;
    char who[300];
    u64 size = 0;
    if (!vm->cfg.cloud_init)
        return 0;
    (void)snprintf(who, sizeof(who), "--cloud-init %s", vm->cfg.cloud_init);
    if (vm->disks == VM_LIST_MAX)
        return error_set(err, -EINVAL, "%s: needs a disk, and there are %d already", who, VM_LIST_MAX);
    int status = parse(who, vm->cfg.cloud_init, &s, err);
    if (!status)
        status = read_files(who, &s, err);
    for (size_t i = 0; i < KINDS && !status; i++)
        if (s.data[i])
            files[count++] = (struct seed_file){kinds[i], s.data[i], s.size[i]};
    if (!status) {
        look_at_user_data(vm, who, &s);
        u8 *image = seed_build(files, count, &size);
        status = image ? open_volume(vm, who, image, size, err) : error_set(err, -ENOMEM, "%s: out of memory", who);
        free(image);
    }
    release(&s);
    return status;
}
