/*
 * Shared folders by the text of an option (open.h).
 */
#include "backend/share/open.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend/share/queue.h"
#include "backend/words.h"

/* Descriptors: of what the process may have, a share takes at most half, and not more than is useful. */
#define LIMIT_MIN 64u
#define LIMIT_MAX 65536u

struct spec {
    char *text, *path;
    const char *tag; /* NULL: by the path */
    bool read_only;
    struct owner owner;
};

static bool set_tag(struct spec *s, const char *value)
{
    s->tag = value;
    return *value && strlen(value) <= SHARE_TAG_MAX;
}

static bool set_readonly(struct spec *s, const char *value)
{
    return words_switch(value, &s->read_only);
}

static bool set_model(struct spec *s, const char *value)
{
    static const struct {
        const char *name;
        enum owner_model model;
    } models[] = {{"none", OWNER_NONE},
                  {"passthrough", OWNER_PASSTHROUGH},
                  {"mapped", OWNER_MAPPED},
                  {"mapped-xattr", OWNER_MAPPED}};
    for (size_t i = 0; i < ARRAY_SIZE(models); i++)
        if (strcmp(models[i].name, value) == 0) {
            s->owner.model = models[i].model;
            return true;
        }
    return false;
}

/* 0xffffffff is nobody's number. */
static bool read_id(const char *value, u32 *id)
{
    u64 n = 0;
    const char *p = value;
    for (; *p >= '0' && *p <= '9' && n < UINT32_MAX; p++)
        n = n * 10 + (u64)(*p - '0');
    *id = (u32)n;
    return p != value && !*p && n < UINT32_MAX;
}

static bool set_uid(struct spec *s, const char *value)
{
    return read_id(value, &s->owner.uid);
}

static bool set_gid(struct spec *s, const char *value)
{
    return read_id(value, &s->owner.gid);
}

static const struct {
    const char *name, *values; /* for messages */
    bool (*set)(struct spec *s, const char *value);
} keys[] = {
    {"tag", "a name of 1 to 60 bytes", set_tag},
    {"readonly", "on or off", set_readonly},
    {"security_model", "none, passthrough or mapped", set_model},
    {"uid", "a number of a user", set_uid},
    {"gid", "a number of a group", set_gid},
};
_Static_assert(SHARE_TAG_MAX == 60, "the text above");

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
        return error_set(err, -EINVAL, "%s: %s=%s: give %s", s->path, word, value ? value : "", keys[i].values);
    }
    return error_set(err, -EINVAL,
                     "%s: %s: no such key; give tag, readonly, security_model, uid or gid, and write a comma inside a "
                     "path twice",
                     s->path, word);
}

/* Free it with spec_free, also after a failure. */
static int spec_parse(const char *text, struct spec *s, struct error *err)
{
    *s = (struct spec){.text = strdup(text), .owner = {.host_uid = geteuid(), .host_gid = getegid()}};
    if (!s->text)
        return error_set(err, -ENOMEM, "%s: out of memory", text);
    char *rest = words_cut(s->text);
    s->path = s->text;
    if (!*s->path)
        return error_set(err, -EINVAL, "the path of the folder is empty; give PATH[,key=value]...");
    int status = 0;
    while (rest && !status) {
        char *word = rest;
        rest = words_cut(word);
        status = set_key(s, word, err);
    }
    return status;
}

static void spec_free(struct spec *s)
{
    free(s->text);
}

int share_spec_check(const char *spec, struct error *err)
{
    struct spec s;
    int status = spec_parse(spec, &s, err);
    spec_free(&s);
    return status;
}

/* The last part of where the folder really is, so that "." has one, too. */
static int find_tag(const struct folder *f, const struct spec *s, char tag[SHARE_TAG_MAX + 1], struct error *err)
{
    char path[PATH_MAX];
    const char *from = s->tag;
    ssize_t n = from ? 0 : readlinkat(f->self, folder_link(f->fd).text, path, sizeof(path) - 1);
    if (n < 0)
        return error_set(err, -errno, "%s: has no name for a tag; give tag=NAME", s->path);
    if (!from) {
        path[n] = '\0';
        from = strrchr(path, '/');
        from = from ? from + 1 : path;
    }
    if (!*from)
        from = "root";
    if (strlen(from) > SHARE_TAG_MAX)
        return error_set(err, -ENAMETOOLONG, "%s: its name is too long for a tag; give tag=NAME with at most %d bytes",
                         s->path, SHARE_TAG_MAX);
    strcpy(tag, from);
    return 0;
}

static unsigned raise_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return LIMIT_MIN;
    if (r.rlim_cur < r.rlim_max) {
        struct rlimit raised = {r.rlim_max, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            r = raised;
    }
    u64 half = r.rlim_cur / 2;
    return half < LIMIT_MIN ? LIMIT_MIN : half > LIMIT_MAX ? LIMIT_MAX : (unsigned)half;
}

int share_open(const char *spec, struct loop *loop, const struct log *log, struct share **out, struct error *err)
{
    struct spec s;
    struct queue_setup setup = {.loop = loop, .log = log};
    int status = spec_parse(spec, &s, err);
    if (!status)
        status = folder_open(&setup.folder, s.path, err);
    if (status) {
        spec_free(&s);
        return status;
    }
    setup.folder.read_only = s.read_only;
    setup.folder.owner = s.owner;
    setup.limit = raise_limit();
    status = find_tag(&setup.folder, &s, setup.tag, err);
    if (status) {
        folder_close(&setup.folder);
    } else {
        status = share_create(&setup, out);
        if (status)
            error_set(err, status, "%s: no memory or threads to share it with: %s", s.path, strerror(-status));
    }
    spec_free(&s);
    return status;
}
