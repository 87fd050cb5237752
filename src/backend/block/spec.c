/*
 * Block back ends by the text of an option (open.h).
 */
#include "backend/block/spec.h"

#include <stdlib.h>
#include <string.h>

#include "backend/block/open.h"
#include "backend/words.h"

/* The values of a key, and what each means. */
struct word {
    const char *name;
    unsigned value;
};

struct key {
    const char *name;
    const char *values; /* for messages */
    bool (*set)(struct spec *s, const char *value);
};

static bool find_word(const struct word *words, size_t count, const char *name, unsigned *value)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i].name, name) == 0) {
            *value = words[i].value;
            return true;
        }
    return false;
}

static bool set_format(struct spec *s, const char *value)
{
    return image_format_find(value, &s->image.format);
}

static bool set_readonly(struct spec *s, const char *value)
{
    return words_switch(value, &s->image.read_only);
}

static bool set_backing(struct spec *s, const char *value)
{
    if (!*value || s->image.backings == ARRAY_SIZE(s->backing))
        return false;
    s->backing[s->image.backings++] = value;
    return true;
}

static bool set_cache(struct spec *s, const char *value)
{
    enum { WRITEBACK, NONE, UNSAFE };
    static const struct word words[] = {{"writeback", WRITEBACK}, {"none", NONE}, {"unsafe", UNSAFE}};
    unsigned mode;
    if (!find_word(words, ARRAY_SIZE(words), value, &mode))
        return false;
    s->image.direct = mode == NONE;
    s->queue.unsafe = mode == UNSAFE;
    return true;
}

static bool set_discard(struct spec *s, const char *value)
{
    bool on;
    if (!words_switch(value, &on))
        return false;
    s->queue.no_discard = !on;
    return true;
}

static bool set_aio(struct spec *s, const char *value)
{
    static const struct word words[] = {{"auto", QUEUE_AUTO}, {"uring", QUEUE_URING}, {"threads", QUEUE_THREADS}};
    unsigned mode;
    if (!find_word(words, ARRAY_SIZE(words), value, &mode))
        return false;
    s->queue.aio = (enum queue_aio)mode;
    return true;
}

static const struct key keys[] = {
    {"format", "raw or qcow2", set_format},
    {"readonly", "on or off", set_readonly},
    {"backing", "the path of an image, at most 15 times", set_backing},
    {"cache", "writeback, none or unsafe", set_cache},
    {"discard", "on or off", set_discard},
    {"aio", "auto, uring or threads", set_aio},
};

static int set_key(struct spec *s, char *word, struct error *err)
{
    char *value = strchr(word, '=');
    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, word) != 0)
            continue;
        if (value && keys[i].set(s, value))
            return 0;
        return error_set(err, -EINVAL, "%s: %s=%s: give %s", s->image.path, word, value ? value : "", keys[i].values);
    }
    return error_set(err, -EINVAL,
                     "%s: %s: no such key; give format, readonly, backing, cache, discard or aio, and write a comma "
                     "inside a path twice",
                     s->image.path, word);
}

int spec_parse(const char *text, struct spec *out, struct error *err)
{
    *out = (struct spec){.text = strdup(text)};
    if (!out->text)
        return error_set(err, -ENOMEM, "%s: out of memory", text);
    char *rest = words_cut(out->text);
    out->image.path = out->text;
    out->image.backing = out->backing;
    if (!*out->text)
        return error_set(err, -EINVAL, "the path of the image is empty; give PATH[,key=value]...");
    int status = 0;
    while (rest && !status) {
        char *word = rest;
        rest = words_cut(word);
        status = set_key(out, word, err);
    }
    return status;
}

void spec_free(struct spec *s)
{
    free(s->text);
}

int block_spec_check(const char *spec, struct error *err)
{
    struct spec s;
    int status = spec_parse(spec, &s, err);
    spec_free(&s);
    return status;
}

int block_open(const char *spec, struct loop *loop, const struct log *log, struct block **out, struct error *err)
{
    struct spec s;
    struct image *im = NULL;
    int status = spec_parse(spec, &s, err);
    s.image.log = log;
    if (!status)
        status = image_open(&s.image, &im, err);
    if (!status)
        status = queue_create(&s.queue, im, loop, log, out, err);
    spec_free(&s);
    return status;
}
