/*
 * The disks: their words are taken apart, those of the device kept, the rest given to the back end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block/open.h"
#include "machine/machine.h"
#include "vm/internal.h"

static int bad_word(const char *who, const char *word, size_t len, const char *right, struct error *err)
{
    return error_set(err, -EINVAL, "%s: %.*s: give %s", who, (int)len, word, right);
}

static bool value_is(const char *value, size_t len, const char *text)
{
    return strlen(text) == len && strncmp(value, text, len) == 0;
}

static int take_packed(struct vm_disk *d, const char *value, size_t len)
{
    d->packed = value_is(value, len, "on");
    return d->packed || value_is(value, len, "off") ? 0 : -EINVAL;
}

static int take_queues(struct vm_disk *d, const char *value, size_t len)
{
    d->queues = len == 1 ? (unsigned)(value[0] - '0') : 0;
    return d->queues >= 1 && d->queues <= MACHINE_DISK_QUEUES ? 0 : -EINVAL;
}

static int take_serial(struct vm_disk *d, const char *value, size_t len)
{
    if (!len || len > VM_DISK_SERIAL)
        return -EINVAL;
    memcpy(d->serial, value, len);
    return 0;
}

static const struct {
    const char *key;
    int (*take)(struct vm_disk *d, const char *value, size_t len);
    const char *right;
} words[] = {
    {"packed=", take_packed, "packed=on or packed=off"},
    {"queues=", take_queues, "queues=1 to queues=8"},
    {"serial=", take_serial, "serial= and 1 to 20 characters"},
};
_Static_assert(MACHINE_DISK_QUEUES == 8, "the text above");

/* 1 if the word is the device's. */
static int word_take(const char *who, struct vm_disk *d, const char *word, size_t len, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        size_t key = strlen(words[i].key);
        if (len < key || strncmp(word, words[i].key, key) != 0)
            continue;
        return words[i].take(d, word + key, len - key) ? bad_word(who, word, len, words[i].right, err) : 1;
    }
    return 0;
}

/* Up to the next comma; two of them are one inside the word. */
static size_t word_length(const char *word)
{
    size_t len = 0;
    while (word[len] && (word[len] != ',' || word[len + 1] == ','))
        len += word[len] == ',' ? 2 : 1;
    return len;
}

/* The device's words go to *d, the others to `rest`, which has room for all of them. */
static int spec_split(const char *who, const char *spec, struct vm_disk *d, char *rest, struct error *err)
{
    size_t len = word_length(spec), used = len;
    if (!len)
        return error_set(err, -EINVAL, "%s: the path is empty; give the path of a disk image", who);
    memcpy(rest, spec, len);
    for (const char *word = spec + len; *word == ','; word += len) {
        len = word_length(++word);
        int mine = word_take(who, d, word, len, err);
        if (mine < 0)
            return mine;
        if (mine)
            continue;
        rest[used++] = ',';
        memcpy(rest + used, word, len);
        used += len;
    }
    rest[used] = '\0';
    return 0;
}

int vm_disk_check(const char *who, const char *spec, struct error *err)
{
    struct vm_disk d = {0};
    char *rest = malloc(strlen(spec) + 1);
    if (!rest)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    int status = spec_split(who, spec, &d, rest, err);
    if (!status) {
        status = block_spec_check(rest, err);
        if (status)
            status = error_prefix(err, status, who);
    }
    free(rest);
    return status;
}

static int disk_open(struct vm *vm, const char *spec, struct vm_disk *d, struct error *err)
{
    char who[300];
    char *rest = malloc(strlen(spec) + 1);
    snprintf(who, sizeof(who), "--disk %s", spec);
    if (!rest)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    int status = spec_split(who, spec, d, rest, err);
    if (!status) {
        status = block_open(rest, vm->loop, vm->cfg.log, &d->block, err);
        if (status)
            status = error_prefix(err, status, who);
    }
    free(rest);
    return status;
}

int vm_look_into_disk(struct vm *vm, unsigned n, struct block_reader **out, struct error *err)
{
    struct vm_disk ignored = {0};
    const char *spec = vm->cfg.disk.item[n];
    char *rest = malloc(strlen(spec) + 1);
    if (!rest)
        return error_set(err, -ENOMEM, "out of memory");
    int status = spec_split("--disk", spec, &ignored, rest, err);
    if (!status)
        status = block_reader_open(rest, vm->cfg.log, out, err);
    free(rest);
    return status;
}

int vm_open_disks(struct vm *vm, struct error *err)
{
    int status = 0;
    for (unsigned n = 0; n < vm->cfg.disk.count && !status; n++)
        status = disk_open(vm, vm->cfg.disk.item[n], &vm->disk[vm->disks++], err);
    return status;
}

void vm_drain_disks(struct vm *vm)
{
    for (unsigned n = 0; n < VM_LIST_MAX; n++)
        if (vm->disk[n].block)
            block_drain(vm->disk[n].block);
}

void vm_close_disks(struct vm *vm)
{
    for (unsigned n = 0; n < VM_LIST_MAX; n++) {
        if (vm->disk[n].block)
            block_close(vm->disk[n].block);
        vm->disk[n].block = NULL;
    }
}
