/*
 * The server of a shared folder: messages with a meaning, messages that are cut, and plain rubbish, one after the
 * other, over a small tree with links that lead out. What lies beside the folder must stay as it is.
 */
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/p9_client.h"
#include "dev_fuzz.h"

#define FIDS     8
#define MESSAGES 200

struct place {
    struct p9_client c;
    char dir[64];
    struct stat secret;
};

/* One for the process: that of an input is made anew. */
static struct place place;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    return ftw->level && remove(path) ? -1 : 0;
}

static void must(bool good)
{
    if (!good)
        abort();
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    must(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void leave(void)
{
    (void)nftw("../in", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    (void)rmdir("../in");
    (void)unlink("../secret");
    if (chdir("/") == 0)
        (void)rmdir(place.dir);
}

/* The folder of this process, which is where it stands. */
static struct place *place_make(void)
{
    struct error err = {0};
    strcpy(place.dir, "/tmp/ring3-fuzz-XXXXXX");
    must(mkdtemp(place.dir) && chdir(place.dir) == 0);
    put("secret", "secret");
    must(stat("secret", &place.secret) == 0 && mkdir("in", 0755) == 0 && chdir("in") == 0);
    if (p9_open(&place.c, ".", &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    (void)atexit(leave);
    return &place;
}

static void tree_make(void)
{
    must(nftw(".", remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
    must(mkdir("d", 0755) == 0 && symlink("..", "up") == 0 && symlink("../secret", "link") == 0);
    must(mkfifo("fifo", 0644) == 0);
    put("file", "0123456789");
    put("d/file", "text");
}

/* Messages with a meaning: the type, and its fields: f a fid, n a name, v any value of 8 bytes, 4 and 1 of so many, c a
 * small count of 4, 2 the number of names of a walk and they themselves, b bytes of data. */
static const struct {
    u8 type;
    const char *fields;
} kinds[] = {
    {P9_TVERSION, "4n"},
    {P9_TATTACH, "fFnnc"},
    {P9_TWALK, "ff2"},
    {P9_TCLUNK, "f"},
    {P9_TREMOVE, "f"},
    {P9_TLOPEN, "fc"},
    {P9_TLCREATE, "fncmc"},
    {P9_TREAD, "fvc"},
    {P9_TWRITE, "fvb"},
    {P9_TREADDIR, "fvc"},
    {P9_TFSYNC, "fc"},
    {P9_TLOCK, "f1cvv4n"},
    {P9_TGETLOCK, "f1vv4n"},
    {P9_TSYMLINK, "fnnc"},
    {P9_TMKNOD, "fnmccc"},
    {P9_TMKDIR, "fnmc"},
    {P9_TLINK, "ffn"},
    {P9_TRENAME, "ffn"},
    {P9_TRENAMEAT, "fnfn"},
    {P9_TUNLINKAT, "fnu"},
    {P9_TREADLINK, "f"},
    {P9_TGETATTR, "fv"},
    {P9_TSETATTR, "fcmccvvvvv"},
    {P9_TSTATFS, "f"},
    {P9_TXATTRWALK, "ffx"},
    {P9_TXATTRCREATE, "fxsc"},
    {P9_TFLUSH, "t"},
    {P9_TWALK, "ff2"},
    {P9_TWALK, "ff2"},
    {P9_TLOPEN, "fc"},
    {P9_TLCREATE, "fncmc"},
    {P9_TCLUNK, "f"},
};

static void put_name(struct p9_client *c, struct script *s, const char *prefix)
{
    static const char *const names[] = {"d",   "file", "up", "link", "fifo",   "..",
                                        "new", "a/b",  "",   ".",    "secret", "new2"};
    char name[64];
    u16 len = (u16)snprintf(name, sizeof(name), "%s%s", prefix, names[script_take(s, 1) % ARRAY_SIZE(names)]);
    p9_put(c, &len, 2);
    p9_put(c, name, len);
}

static void put_number(struct p9_client *c, u64 v, u32 size)
{
    p9_put(c, &v, size);
}

static void put_names(struct p9_client *c, struct script *s)
{
    unsigned count = (unsigned)script_take(s, 1) % 5;
    put_number(c, count, 2);
    for (unsigned i = 0; i < count; i++)
        put_name(c, s, "");
}

static void put_data(struct p9_client *c, struct script *s)
{
    static const u8 data[2048];
    u32 len = (u32)script_take(s, 2) % sizeof(data);
    put_number(c, len, 4);
    p9_put(c, data, len);
}

static void put_field(struct p9_client *c, struct script *s, char field)
{
    switch (field) {
    case 'f':
        put_number(c, script_take(s, 1) % FIDS, 4);
        break;
    case 'F':
        put_number(c, P9_NOFID, 4);
        break;
    case 'n':
        put_name(c, s, "");
        break;
    case 'x':
        put_name(c, s, "user.");
        break;
    case 'm':
        put_number(c, script_take(s, 2), 4);
        break;
    case 's':
        put_number(c, script_take(s, 2) & 0x3ff, 8);
        break;
    case 'u':
        put_number(c, script_take(s, 1) & 1 ? P9_UNLINK_DIR : 0, 4);
        break;
    case 'c':
        put_number(c, script_take(s, 2) & 0x3fff, 4);
        break;
    case 'v':
        put_number(c, script_value(s) & 0xffffff, 8); /* files stay small */
        break;
    case '2':
        put_names(c, s);
        break;
    case 'b':
        put_data(c, s);
        break;
    case 't':
        put_number(c, script_take(s, 1), 2);
        break;
    default:
        put_number(c, script_value(s), (u32)(field - '0'));
    }
}

static void message_make(struct p9_client *c, struct script *s)
{
    u8 how = (u8)script_take(s, 1);
    c->out_len = P9_HEADER;
    memset(c->out, 0, P9_HEADER);
    if (how < 32) { /* rubbish */
        c->out[4] = (u8)script_take(s, 1);
        for (unsigned n = (unsigned)script_take(s, 1) & 63; n; n--)
            put_number(c, script_take(s, 1), 1);
    } else {
        const char *field = kinds[how % ARRAY_SIZE(kinds)].fields;
        c->out[4] = kinds[how % ARRAY_SIZE(kinds)].type;
        for (; *field; field++)
            put_field(c, s, *field);
    }
    c->room = how & 128 ? P9_ROOM : 11 + (u32)script_take(s, 1);
    put_u32(c->out, how == 255 ? (u32)script_value(s) : c->out_len);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct place *p;
    struct script s = {.data = data, .size = size};
    struct stat st;
    if (!p)
        p = place_make();
    tree_make();
    p->c.room = P9_ROOM;
    must(!p9_version(&p->c) && !p9_attach(&p->c, 0));
    for (unsigned n = 0; n < MESSAGES && script_more(&s); n++) {
        message_make(&p->c, &s);
        (void)p9_submit(&p->c);
        must(p->c.in_len >= 7 && p->c.in_len <= p->c.room);
    }
    must(stat("../secret", &st) == 0 && st.st_size == p->secret.st_size && st.st_mode == p->secret.st_mode &&
         st.st_mtim.tv_nsec == p->secret.st_mtim.tv_nsec && st.st_nlink == 1);
    return 0;
}
