/*
 * Saving, loading, showing and comparing of declared state (state/state.h).
 *
 * Stream: a section for each object, all integers little-endian.
 *   u8 name length, name      of the class, without a terminator
 *   u32 version               of the class that wrote it, at least 1
 *   u32 length                of the body in bytes
 *   body                      the fields that came in up to `version`, in order of declaration; a field of nested
 *                             structs starts with the u32 version of their class
 *
 * Invariant: how deep and how far the code walks is decided by the descriptors alone; the stream only supplies values,
 * and reading never passes the end of the section.
 */
#include "state/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

static const u8 type_size[] = {
    [STATE_T_u8] = 1,  [STATE_T_u16] = 2, [STATE_T_u32] = 4, [STATE_T_u64] = 8,  [STATE_T_i8] = 1,
    [STATE_T_i16] = 2, [STATE_T_i32] = 4, [STATE_T_i64] = 8, [STATE_T_bool] = 1,
};

static size_t element_size(const struct state_field *f)
{
    return f->type == STATE_T_struct ? f->nested->size : type_size[f->type];
}

void state_stream_free(struct state_stream *s)
{
    free(s->data);
    memset(s, 0, sizeof(*s));
}

/* Writing */

static int stream_put(struct state_stream *s, const void *bytes, size_t len)
{
    if (len > s->capacity - s->size) {
        size_t need = s->size + len;
        size_t capacity = s->capacity * 2 > need ? s->capacity * 2 : need + 256;
        u8 *data = realloc(s->data, capacity);
        if (!data)
            return -ENOMEM;
        s->data = data;
        s->capacity = capacity;
    }
    memcpy(s->data + s->size, bytes, len);
    s->size += len;
    return 0;
}

static int stream_put_u32(struct state_stream *s, u32 v)
{
    return stream_put(s, &v, sizeof(v));
}

static int save_fields(struct state_stream *s, const struct state_class *cls, const u8 *object);

static int save_nested(struct state_stream *s, const struct state_field *f, const u8 *first)
{
    int status = stream_put_u32(s, f->nested->version);
    for (u32 i = 0; i < f->count && !status; i++)
        status = save_fields(s, f->nested, first + (size_t)i * f->nested->size);
    return status;
}

static int save_fields(struct state_stream *s, const struct state_class *cls, const u8 *object)
{
    int status = 0;
    for (u32 i = 0; i < cls->field_count && !status; i++) {
        const struct state_field *f = &cls->fields[i];
        if (f->type == STATE_T_struct)
            status = save_nested(s, f, object + f->offset);
        else
            status = stream_put(s, object + f->offset, f->count * element_size(f));
    }
    return status;
}

int state_save(struct state_stream *s, const struct state_class *cls, const void *object)
{
    size_t start = s->size;
    size_t name_len = strlen(cls->name);
    u8 len8 = (u8)name_len;
    if (name_len > UINT8_MAX)
        return -EINVAL;

    int status = stream_put(s, &len8, 1);
    if (!status)
        status = stream_put(s, cls->name, name_len);
    if (!status)
        status = stream_put_u32(s, cls->version);
    if (!status)
        status = stream_put_u32(s, 0);
    size_t body = s->size;
    if (!status)
        status = save_fields(s, cls, object);
    if (!status && s->size - body > UINT32_MAX)
        status = -EOVERFLOW;
    if (status) {
        s->size = start;
        return status;
    }
    put_u32(s->data + body - 4, (u32)(s->size - body));
    return 0;
}

/* Reading */

static const u8 *stream_take(struct state_stream *s, size_t len)
{
    if (s->pos > s->size || len > s->size - s->pos)
        return NULL;
    const u8 *p = s->data + s->pos;
    s->pos += len;
    return p;
}

static int too_short(const struct state_class *cls, const char *field, struct error *err)
{
    return error_set(err, -EINVAL, "state of %s: the stream ends inside %s", cls->name, field);
}

static int load_version(struct state_stream *s, const struct state_class *cls, u32 *version, struct error *err)
{
    const u8 *p = stream_take(s, 4);
    if (!p)
        return too_short(cls, "its version", err);
    *version = get_u32(p);
    if (*version == 0 || *version > cls->version)
        return error_set(err, -EINVAL, "state of %s: version %u, but this program knows 1 to %u", cls->name, *version,
                         cls->version);
    return 0;
}

static int load_values(struct state_stream *s, const struct state_class *cls, const struct state_field *f, u8 *to,
                       struct error *err)
{
    size_t len = f->count * element_size(f);
    const u8 *p = stream_take(s, len);
    if (!p)
        return too_short(cls, f->name, err);
    for (size_t i = 0; f->type == STATE_T_bool && i < len; i++)
        if (p[i] > 1)
            return error_set(err, -EINVAL, "state of %s: %s is %u, but it must be 0 or 1", cls->name, f->name, p[i]);
    memcpy(to, p, len);
    return 0;
}

static int load_fields(struct state_stream *s, const struct state_class *cls, u32 version, u8 *object,
                       struct error *err);

static int load_nested(struct state_stream *s, const struct state_field *f, u8 *first, struct error *err)
{
    u32 version = 0;
    int status = load_version(s, f->nested, &version, err);
    for (u32 i = 0; i < f->count && !status; i++)
        status = load_fields(s, f->nested, version, first + (size_t)i * f->nested->size, err);
    return status;
}

static int load_fields(struct state_stream *s, const struct state_class *cls, u32 version, u8 *object,
                       struct error *err)
{
    int status = 0;
    for (u32 i = 0; i < cls->field_count && !status; i++) {
        const struct state_field *f = &cls->fields[i];
        if (f->since > version)
            continue;
        if (f->type == STATE_T_struct)
            status = load_nested(s, f, object + f->offset, err);
        else
            status = load_values(s, cls, f, object + f->offset, err);
    }
    return status;
}

static int load_name(struct state_stream *s, const struct state_class *cls, struct error *err)
{
    const u8 *len = stream_take(s, 1);
    const u8 *name = len ? stream_take(s, *len) : NULL;
    if (!name)
        return too_short(cls, "its name", err);
    if (*len != strlen(cls->name) || memcmp(name, cls->name, *len) != 0)
        return error_set(err, -EINVAL, "state of %s: the stream has something else in its place", cls->name);
    return 0;
}

int state_load(struct state_stream *s, const struct state_class *cls, void *object, struct error *err)
{
    u32 version = 0;
    int status = load_name(s, cls, err);
    if (!status)
        status = load_version(s, cls, &version, err);
    if (status)
        return status;

    const u8 *len = stream_take(s, 4);
    if (!len)
        return too_short(cls, "its length", err);
    const u8 *body = stream_take(s, get_u32(len));
    if (!body)
        return too_short(cls, "its body", err);

    struct state_stream section = {.data = s->data, .size = s->pos, .pos = (size_t)(body - s->data)};
    status = load_fields(&section, cls, version, object, err);
    if (!status && section.pos != section.size)
        status = error_set(err, -EINVAL, "state of %s: %zu bytes too many", cls->name, section.size - section.pos);
    return status;
}

/* Showing and comparing */

static u64 value_at(const struct state_field *f, const u8 *p)
{
    u64 v = 0;
    memcpy(&v, p, type_size[f->type]);
    return v;
}

/* "prefix.name[index]", without the parts that are not needed; returns false if it does not fit. */
static bool path_join(char *out, size_t size, const char *prefix, const struct state_field *f, u32 index)
{
    const char *dot = prefix[0] ? "." : "";
    int len = f->count > 1 ? snprintf(out, size, "%s%s%s[%u]", prefix, dot, f->name, index)
                           : snprintf(out, size, "%s%s%s", prefix, dot, f->name);
    return len >= 0 && (size_t)len < size;
}

struct shower {
    void (*emit)(void *opaque, const char *line);
    void *opaque;
};

static void show_fields(const struct state_class *cls, const u8 *object, const char *prefix, const struct shower *to)
{
    for (u32 i = 0; i < cls->field_count; i++) {
        const struct state_field *f = &cls->fields[i];
        for (u32 n = 0; n < f->count; n++) {
            const u8 *p = object + f->offset + n * element_size(f);
            char path[160], line[200];
            (void)path_join(path, sizeof(path), prefix, f, n);
            if (f->type == STATE_T_struct) {
                show_fields(f->nested, p, path, to);
                continue;
            }
            snprintf(line, sizeof(line), "%s=0x%llx", path, (unsigned long long)value_at(f, p));
            to->emit(to->opaque, line);
        }
    }
}

void state_show(const struct state_class *cls, const void *object, void (*emit)(void *opaque, const char *line),
                void *opaque)
{
    struct shower to = {emit, opaque};
    show_fields(cls, object, "", &to);
}

static bool fields_differ(const struct state_class *cls, const u8 *a, const u8 *b, const char *prefix, char *where,
                          size_t size)
{
    for (u32 i = 0; i < cls->field_count; i++) {
        const struct state_field *f = &cls->fields[i];
        for (u32 n = 0; n < f->count; n++) {
            size_t at = f->offset + n * element_size(f);
            char path[160];
            (void)path_join(path, sizeof(path), prefix, f, n);
            if (f->type == STATE_T_struct) {
                if (fields_differ(f->nested, a + at, b + at, path, where, size))
                    return true;
            } else if (memcmp(a + at, b + at, element_size(f)) != 0) {
                if (size)
                    snprintf(where, size, "%s", path);
                return true;
            }
        }
    }
    return false;
}

bool state_differs(const struct state_class *cls, const void *a, const void *b, char *where, size_t where_size)
{
    return fields_differ(cls, a, b, "", where, where_size);
}
