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
#define KEYS_MAX MiB(1)
#define SECRET   "PRIVATE KEY" /* in the first line of one, whatever made it */

/* Files of the volume, and words that user data is made of where there is none. */
enum { META, NETWORK, USER, VENDOR, KINDS, KEY = KINDS, PASSWORD, WORDS };

/* The files in the order of their names, as on the volume. */
static const char *const words[WORDS] = {"meta-data",   "network-config", "user-data",
                                         "vendor-data", "ssh-key",        "password"};

struct seed {
    char *text; /* what the values point into */
    const char *value[WORDS];
    u8 *data[KINDS];
    u64 size[KINDS];
};

/* WORDS if it is none. */
static size_t find_word(const char *text)
{
    size_t i = 0;
    for (; i < WORDS; i++) {
        size_t length = strlen(words[i]);
        if (strncmp(text, words[i], length) == 0 && text[length] == '=')
            break;
    }
    return i;
}

static int take_word(const char *who, struct seed *s, const char *word, struct error *err)
{
    size_t i = find_word(word);
    if (i == WORDS)
        return error_set(err, -EINVAL,
                         "%s: %s: give USER-DATA, and behind commas meta-data=, network-config= or vendor-data= with a "
                         "path; a comma inside a path is written twice",
                         who, word);
    s->value[i] = word + strlen(words[i]) + 1;
    return *s->value[i] ? 0 : error_set(err, -EINVAL, "%s: %s needs a value", who, word);
}

static int parse(const char *who, const char *spec, struct seed *s, struct error *err)
{
    *s = (struct seed){.text = strdup(spec)};
    if (!s->text)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    char *rest = words_cut(s->text);
    if (!*s->text)
        return error_set(err, -EINVAL, "%s: the path is empty; give the path of a file of user data", who);
    int status = 0;
    if (find_word(s->text) == WORDS)
        s->value[USER] = s->text;
    else
        status = take_word(who, s, s->text, err);
    while (rest && !status) {
        char *word = rest;
        rest = words_cut(word);
        status = take_word(who, s, word, err);
    }
    if (!status && s->value[USER] && (s->value[KEY] || s->value[PASSWORD]))
        return error_set(err, -EINVAL,
                         "%s: user data has its own words for keys and passwords: give it or %s=, not both", who,
                         words[s->value[KEY] ? KEY : PASSWORD]);
    if (!status && !s->value[USER] && !s->value[KEY] && !s->value[PASSWORD])
        return error_set(err, -EINVAL, "%s: give USER-DATA, ssh-key= or password=", who);
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

/* --- user data that is made ------------------------------------------------------------------------------------- */

/* A YAML string. Control characters, which it would need other ways for, are in no key and no password. */
static int put_string(FILE *f, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((u8)text[i] < ' ' || text[i] == 0x7f)
            return -EINVAL;
    bool good = fputc('"', f) != EOF;
    for (size_t i = 0; i < length && good; i++)
        good = ((text[i] != '"' && text[i] != '\\') || fputc('\\', f) != EOF) && fputc(text[i], f) != EOF;
    return good && fputs("\"\n", f) != EOF ? 0 : -ENOMEM;
}

/* Each line of the file is a key, as in authorized_keys. */
static int put_keys(const char *who, const char *path, FILE *f, struct error *err)
{
    u8 *data;
    u64 size;
    struct error why;
    int status = host_file_read(path, KEYS_MAX, &data, &size, &why);
    if (status)
        return error_set(err, status, "%s: %s: %s", who, path, why.text);
    const char *at = (const char *)data, *end = at + size;
    bool any = false, secret = memmem(data, size, SECRET, strlen(SECRET));
    if (fputs("ssh_authorized_keys:\n", f) == EOF)
        status = -ENOMEM;
    while (at < end && !status && !secret) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        if (length && *at != '#') {
            any = true;
            status = fputs("  - ", f) == EOF ? -ENOMEM : put_string(f, at, length);
        }
        at = stop ? stop + 1 : end;
    }
    free(data);
    if (secret)
        return error_set(err, -EINVAL, "%s: %s: is a private key; give the public one, mostly %s.pub", who, path, path);
    if (status == -EINVAL || (!status && !any))
        return error_set(err, -EINVAL, "%s: %s: has no public key in it", who, path);
    return status ? error_set(err, status, "%s: out of memory", who) : 0;
}

static int put_password(const char *who, const char *password, FILE *f, struct error *err)
{
    int status = fputs("password: ", f) == EOF ? -ENOMEM : put_string(f, password, strlen(password));
    if (status == -EINVAL)
        return error_set(err, status, "%s: a password has no control characters", who);
    if (status || fputs("chpasswd: {expire: false}\n", f) == EOF)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    return 0;
}

/* For the user that the distribution has for this: debian, ubuntu, fedora. */
static int make_user(const char *who, struct seed *s, struct error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    int status = f && fputs("#cloud-config\n", f) != EOF ? 0 : error_set(err, -ENOMEM, "%s: out of memory", who);
    if (!status && s->value[KEY])
        status = put_keys(who, s->value[KEY], f, err);
    if (!status && s->value[PASSWORD])
        status = put_password(who, s->value[PASSWORD], f, err);
    if (f && fclose(f) && !status)
        status = error_set(err, -ENOMEM, "%s: out of memory", who);
    s->data[USER] = (u8 *)text;
    s->size[USER] = size;
    return status;
}

/* --- the volume ------------------------------------------------------------------------------------------------- */

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
        const char *path = s->value[i];
        int status = path ? host_file_read(path, FILE_MAX, &s->data[i], &s->size[i], &why) : 0;
        if (status)
            return error_set(err, status, "%s: %s: %s", who, path, why.text);
    }
    int status = s->value[USER] ? 0 : make_user(who, s, err);
    if (status)
        return status;
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
            files[count++] = (struct seed_file){words[i], s.data[i], s.size[i]};
    if (!status) {
        look_at_user_data(vm, who, &s);
        u8 *image = seed_build(files, count, &size);
        status = image ? open_volume(vm, who, image, size, err) : error_set(err, -ENOMEM, "%s: out of memory", who);
        free(image);
    }
    release(&s);
    return status;
}
