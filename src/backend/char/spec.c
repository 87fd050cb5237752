/*
 * Back ends by the text of an option (open.h).
 */
#include <string.h>

#include "backend/char/open.h"

static struct chardev *open_null(const struct char_host *host, const char *who, const char *path, struct error *err)
{
    struct chardev *cd = char_open_null();
    if (!cd)
        (void)error_set(err, -ENOMEM, "%s: out of memory", who);
    return cd;
}

static struct chardev *open_pty(const struct char_host *host, const char *who, const char *path, struct error *err)
{
    return char_open_pty(host, who, err);
}

static struct chardev *open_stdio(const struct char_host *host, const char *who, const char *path, struct error *err)
{
    return char_open_stdio(host, who, err);
}

static const struct spec {
    const char *name;
    bool has_path; /* name ends in '=', and a path follows */
    struct chardev *(*open)(const struct char_host *host, const char *who, const char *path, struct error *err);
} specs[] = {
    {"stdio", false, open_stdio},
    {"file=", true, char_open_file},
    {"pty", false, open_pty},
    {"null", false, open_null},
};

static const struct spec *spec_find(const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        size_t len = strlen(specs[i].name);
        if (strncmp(text, specs[i].name, len) == 0 && specs[i].has_path == (text[len] != '\0'))
            return &specs[i];
    }
    return NULL;
}

bool char_spec_is_stdio(const char *spec)
{
    return strcmp(spec, "stdio") == 0;
}

static int spec_unknown(const char *who, struct error *err)
{
    return error_set(err, -EINVAL, "%s: no such place; give stdio, file=PATH, pty or null", who);
}

int char_spec_check(const char *who, const char *spec, struct error *err)
{
    return spec_find(spec) ? 0 : spec_unknown(who, err);
}

struct chardev *char_open(const struct char_host *host, const char *who, const char *spec, struct error *err)
{
    const struct spec *s = spec_find(spec);
    if (!s) {
        (void)spec_unknown(who, err);
        return NULL;
    }
    return s->open(host, who, spec + strlen(s->name), err);
}
