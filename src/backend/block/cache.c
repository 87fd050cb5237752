/*
 * Implements cache.h: a hash table of slices, each also in the list of the clean, by last use, or of the dirty.
 */
#include "backend/block/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/list.h"

struct slice {
    struct list order; /* in `clean` or `dirty`; the clean one that was used last is at the end */
    struct slice *next;
    u64 offset;
    bool dirty;
    u8 data[];
};

struct cache {
    struct file *file;
    u32 size;
    size_t limit, count, dirty_count;
    struct list clean, dirty;
    size_t buckets;
    struct slice **bucket;
};

struct cache *cache_create(struct file *f, u32 slice, size_t slices)
{
    struct cache *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    *c = (struct cache){.file = f, .size = slice, .limit = slices < 8 ? 8 : slices, .buckets = 16};
    while (c->buckets < c->limit)
        c->buckets *= 2;
    list_init(&c->clean);
    list_init(&c->dirty);
    c->bucket = calloc(c->buckets, sizeof(struct slice *));
    if (!c->bucket) {
        free(c);
        return NULL;
    }
    return c;
}

static struct slice **place_of(struct cache *c, u64 offset)
{
    u64 hash = (offset / c->size) * 0x9e3779b97f4a7c15u >> 24;
    struct slice **at = &c->bucket[hash & (c->buckets - 1)];
    while (*at && (*at)->offset != offset)
        at = &(*at)->next;
    return at;
}

static void drop(struct cache *c, struct slice *s)
{
    *place_of(c, s->offset) = s->next;
    list_remove(&s->order);
    c->count--;
    c->dirty_count -= s->dirty;
    free(s);
}

static void drop_all(struct cache *c, struct list *l)
{
    while (!list_empty(l))
        drop(c, container_of(l->next, struct slice, order));
}

void cache_destroy(struct cache *c)
{
    if (!c)
        return;
    drop_all(c, &c->clean);
    drop_all(c, &c->dirty);
    free(c->bucket);
    free(c);
}

u32 cache_slice(const struct cache *c)
{
    return c->size;
}

size_t cache_dirty(const struct cache *c)
{
    return c->dirty_count;
}

bool cache_crowded(const struct cache *c)
{
    return c->dirty_count > c->limit / 2;
}

static struct slice *find(struct cache *c, u64 offset)
{
    struct slice *s = *place_of(c, offset);
    if (s && !s->dirty) {
        list_remove(&s->order);
        list_insert(&c->clean, &s->order);
    }
    return s;
}

/* A new one in the list of the clean; its data is whatever memory had. */
static struct slice *add(struct cache *c, u64 offset)
{
    while (c->count >= c->limit && !list_empty(&c->clean))
        drop(c, container_of(c->clean.next, struct slice, order));
    struct slice *s = malloc(sizeof(*s) + c->size);
    if (!s)
        return NULL;
    struct slice **at = place_of(c, offset);
    s->offset = offset;
    s->dirty = false;
    s->next = NULL;
    *at = s;
    list_insert(&c->clean, &s->order);
    c->count++;
    return s;
}

static void make_dirty(struct cache *c, struct slice *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    c->dirty_count++;
    list_remove(&s->order);
    list_insert(&c->dirty, &s->order);
}

int cache_get(struct cache *c, u64 offset, u8 **out)
{
    struct slice *s = find(c, offset);
    if (!s) {
        s = add(c, offset);
        int status = s ? file_read_at(c->file, offset, s->data, c->size) : -ENOMEM;
        if (status) {
            if (s)
                drop(c, s);
            return status;
        }
    }
    *out = s->data;
    return 0;
}

u8 *cache_peek(struct cache *c, u64 offset)
{
    struct slice *s = find(c, offset);
    return s ? s->data : NULL;
}

int cache_new(struct cache *c, u64 offset, u8 **out)
{
    struct slice *s = find(c, offset);
    if (!s)
        s = add(c, offset);
    if (!s)
        return -ENOMEM;
    memset(s->data, 0, c->size);
    make_dirty(c, s);
    *out = s->data;
    return 0;
}

void cache_touch(struct cache *c, u64 offset)
{
    struct slice *s = find(c, offset);
    if (s)
        make_dirty(c, s);
}

int cache_write(struct cache *c)
{
    while (!list_empty(&c->dirty)) {
        struct slice *s = container_of(c->dirty.next, struct slice, order);
        int status = file_write_at(c->file, s->offset, s->data, c->size);
        if (status)
            return status;
        s->dirty = false;
        c->dirty_count--;
        list_remove(&s->order);
        list_insert(&c->clean, &s->order);
    }
    return 0;
}

void cache_forget(struct cache *c, u64 offset, u64 length)
{
    for (u64 at = offset; at < offset + length; at += c->size) {
        struct slice *s = find(c, at);
        if (s)
            drop(c, s);
    }
}
