/*
 * Shared folders: every message of 9P2000.L, by a client that is not Linux's; owners; read-only folders; more fids than
 * descriptors; Tflush; messages that make no sense. What tries to get out of the folder is in test_share_escape.c.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "p9_client.h"

#include <cmocka.h>

struct rig {
    struct p9_client c;
    char dir[64];
};

static void command(const char *format, const char *a)
{
    char line[512];
    (void)snprintf(line, sizeof(line), format, a, a, a);
    if (system(line))
        fail_msg("%s", line);
}

static void rig_open(struct rig *r, const char *words)
{
    char spec[256];
    struct error err = {0};
    strcpy(r->dir, "/tmp/ring3-share-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(spec, sizeof(spec), "%s%s", r->dir, words);
    if (p9_open(&r->c, spec, &err))
        fail_msg("%s", err.text);
}

static void rig_close(struct rig *r)
{
    p9_close(&r->c);
    command("rm -rf %s", r->dir);
}

/* A file of the host: made with a text, or compared with it. */
static void host_put(const struct rig *r, const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct stat host_stat(const struct rig *r, const char *name)
{
    char path[256];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    if (lstat(path, &st))
        memset(&st, 0, sizeof(st));
    return st;
}

static void host_is(const struct rig *r, const char *name, const char *text)
{
    char path[256], found[256] = "";
    (void)snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(found, 1, sizeof(found) - 1, f);
    assert_int_equal(fclose(f), 0);
    found[n] = '\0';
    assert_string_equal(found, text);
}

#define CALL(...) p9_call(&r.c, __VA_ARGS__)

static void test_session(void **state)
{
    struct rig r;
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    assert_int_equal(p9_attach(c, 0), -EEXIST);
    assert_int_equal(CALL(P9_TATTACH, "44ss4", 1u, 5u, "", "", 0u), -EINVAL);
    assert_int_equal(CALL(P9_TATTACH, "44ss4", 1u, P9_NOFID, "", "/elsewhere", 0u), -ENOENT);
    assert_int_equal(CALL(P9_TATTACH, "44ss4", P9_NOFID, P9_NOFID, "", "", 0u), -EINVAL);
    assert_int_equal(CALL(P9_TAUTH, "4ss4", 1u, "", "", 0u), -EOPNOTSUPP);
    assert_int_equal(CALL(P9_TVERSION, "4s", 100u, "9P2000.L"), -EINVAL);
    assert_int_equal(CALL(P9_TVERSION, "4s", 1u << 30, "9P2000.L"), 0); /* and all fids are gone */
    assert_int_equal(get_u32(c->in + 7), KiB(512));
    assert_int_equal(p9_clunk(c, 0), -EBADF);
    assert_int_equal(CALL(P9_TVERSION, "4s", 8192u, "9P2000.u"), 0);
    assert_memory_equal(c->in + 13, "unknown", 7);
    assert_int_equal(p9_attach(c, 0), -EPROTO);
    assert_int_equal(p9_version(c), 0);
    assert_int_equal(p9_attach(c, 0), 0);
    assert_int_equal(CALL(P9_TATTACH, "44ss4", 1u, P9_NOFID, "me", "/", 5u), 0);
    assert_int_equal(p9_clunk(c, 1), 0);
    assert_int_equal(CALL(P9_TSTATFS, "4", 0u), 0);
    assert_int_equal(get_u32(c->in + 7), P9_STATFS_TYPE);
    loop_lock(c->loop);
    share_reset(c->share);
    loop_unlock(c->loop);
    assert_int_equal(p9_walk(c, 0, 1, ""), -EPROTO);
    rig_close(&r);
}

static void test_walk(void **state)
{
    struct rig r;
    struct p9_attr top = {0}, a = {0};
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    command("mkdir -p %s/a/b/c && echo x >%s/a/b/file", r.dir);
    assert_int_equal(p9_getattr(c, 0, &top), 0);
    assert_int_equal(top.qid[0], P9_QTDIR);
    assert_int_equal(get_u64(top.qid + 5) + 2, host_stat(&r, ".").st_ino);
    assert_int_equal(p9_walk(c, 0, 1, "a/b/c"), 0);
    assert_int_equal(p9_walk(c, 1, 2, "../../b/file"), 0);
    assert_int_equal(p9_getattr(c, 2, &a), 0);
    assert_int_equal(a.size, 2);
    assert_int_equal(p9_walk(c, 2, 2, ""), 0); /* onto itself */
    assert_int_equal(p9_walk(c, 0, 2, ""), -EEXIST);
    assert_int_equal(p9_walk(c, 0, 3, "a/none/c"), -ENOENT); /* one name of three */
    assert_int_equal(get_u16(c->in + 7), 1);
    assert_int_equal(p9_clunk(c, 3), -EBADF);
    assert_int_equal(p9_walk(c, 0, 3, "none"), -ENOENT);
    assert_int_equal(c->in[4], P9_RLERROR);
    assert_int_equal(p9_walk(c, 2, 3, "x"), -ENOTDIR);
    assert_int_equal(p9_walk(c, 9, 3, ""), -EBADF);
    assert_int_equal(p9_walk(c, 0, 3, "a/b/c/../../../a/b/c/../../../a/b/c/../"), 0);        /* 16 names */
    assert_int_equal(p9_walk(c, 0, 4, "a/b/c/../../../a/b/c/../../../a/b/c/../b"), -EINVAL); /* 17 */
    assert_int_equal(CALL(P9_TWALK, "442", 0u, 4u, 17u), -EINVAL);
    rig_close(&r);
}

static void test_file(void **state)
{
    struct rig r;
    struct p9_attr a = {0};
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    assert_int_equal(p9_walk(c, 0, 1, ""), 0);
    assert_int_equal(p9_create(c, 1, "new", O_RDWR | P9_OPEN_EXCL, 0666), 0);
    assert_int_equal(host_stat(&r, "new").st_mode, S_IFREG | 0666); /* whatever the umask */
    assert_int_equal(p9_write(c, 1, 0, "hello, world"), 12);
    assert_int_equal(p9_write(c, 1, 7, "there"), 5);
    host_is(&r, "new", "hello, there");
    assert_int_equal(p9_read(c, 1, 7, 100), 5);
    assert_memory_equal(c->in + P9_DATA, "there", 5);
    assert_int_equal(p9_read(c, 1, 12, 100), 0);
    assert_int_equal(p9_read(c, 1, UINT64_MAX, 100), -EINVAL);
    c->room = 20; /* less than is asked for */
    assert_int_equal(p9_read(c, 1, 0, 100), 9);
    assert_int_equal(p9_getattr(c, 1, &a), -EMSGSIZE);
    c->room = P9_ROOM;
    assert_int_equal(p9_lopen(c, 1, O_RDONLY), -EBUSY);
    assert_int_equal(CALL(P9_TFSYNC, "44", 1u, 0u), 0);
    assert_int_equal(CALL(P9_TFSYNC, "4", 1u), 0);
    assert_int_equal(CALL(P9_TLOCK, "414884s", 1u, 1u, 0u, (u64)0, (u64)0, 77u, "me"), 0);
    assert_int_equal(CALL(P9_TGETLOCK, "41884s", 1u, 1u, (u64)3, (u64)4, 77u, "me"), 0);
    assert_int_equal(c->in[7], P9_LOCK_UNLOCK);
    assert_int_equal(CALL(P9_TREADDIR, "484", 1u, (u64)0, 1000u), -ENOTDIR);
    assert_int_equal(p9_clunk(c, 1), 0);

    assert_int_equal(p9_walk(c, 0, 1, ""), 0);
    assert_int_equal(p9_create(c, 1, "new", O_RDWR | P9_OPEN_EXCL, 0666), -EEXIST);
    assert_int_equal(p9_create(c, 1, "new", O_WRONLY | P9_OPEN_TRUNC, 0600), 0); /* it is there: opened */
    assert_int_equal(p9_read(c, 1, 0, 100), -EBADF);
    assert_int_equal(host_stat(&r, "new").st_size, 0);
    assert_int_equal(p9_clunk(c, 1), 0);
    assert_int_equal(p9_walk(c, 0, 1, "new"), 0);
    assert_int_equal(p9_read(c, 1, 0, 100), -EBADF);
    assert_int_equal(p9_write(c, 1, 0, "x"), -EBADF);
    assert_int_equal(p9_lopen(c, 1, O_RDONLY | O_DIRECT | O_APPEND | O_NONBLOCK), 0); /* flags for the guest alone */
    assert_int_equal(p9_write(c, 1, 0, "x"), -EBADF);
    rig_close(&r);
}

static void test_setattr(void **state)
{
    struct rig r;
    struct p9_attr a = {0};
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    host_put(&r, "file", "0123456789");
    assert_int_equal(p9_walk(c, 0, 1, "file"), 0);
    assert_int_equal(p9_setattr(c, 1, P9_SET_MODE, 04751, 0, 0, 0), 0);
    assert_int_equal(host_stat(&r, "file").st_mode, S_IFREG | 0751); /* nothing is set-user-ID */
    assert_int_equal(p9_setattr(c, 1, P9_SET_SIZE, 0, 0, 0, 4), 0);
    host_is(&r, "file", "0123");
    assert_int_equal(p9_setattr(c, 1, P9_SET_SIZE, 0, 0, 0, UINT64_MAX), -EFBIG);
    assert_int_equal(p9_setattr(c, 1, 0x1b0 | P9_SET_CTIME, 0, 0, 0, 0), 0);
    assert_int_equal(host_stat(&r, "file").st_atim.tv_sec, 1000);
    assert_int_equal(host_stat(&r, "file").st_mtim.tv_nsec, 7);
    assert_int_equal(p9_setattr(c, 1, P9_SET_MTIME, 0, 0, 0, 0), 0); /* now */
    assert_true(host_stat(&r, "file").st_mtim.tv_sec > 2000);
    assert_int_equal(host_stat(&r, "file").st_atim.tv_sec, 1000);
    assert_int_equal(p9_setattr(c, 1, P9_SET_UID | P9_SET_GID, 0, 0, 0, 0), 0);
    assert_int_equal(host_stat(&r, "file").st_uid, geteuid());
    assert_int_equal(p9_getattr(c, 1, &a), 0);
    assert_int_equal(a.mode, S_IFREG | 0751);
    assert_int_equal(a.uid, 0);
    assert_int_equal(a.gid, 0);
    rig_close(&r);
}

/* All names of a folder, in as many messages as it takes. */
static unsigned list(struct p9_client *c, u32 fid, u32 count, char *names)
{
    u64 offset = 0;
    unsigned found = 0;
    for (;;) {
        if (p9_call(c, P9_TREADDIR, "484", fid, offset, count))
            return 0;
        u32 size = get_u32(c->in + 7);
        if (!size)
            return found;
        for (u32 at = P9_DATA; at < P9_DATA + size; found++) {
            u16 len = get_u16(c->in + at + P9_QID_SIZE + 9);
            offset = get_u64(c->in + at + P9_QID_SIZE);
            if (names)
                strncat(strcat(names, " "), (const char *)c->in + at + P9_QID_SIZE + 11, len);
            at += P9_QID_SIZE + 11u + len;
        }
    }
}

/* The first bytes of a reply to Treaddir at `offset` that are an entry of that name; NULL if there is none. */
static const u8 *entry_named(struct p9_client *c, u32 fid, u64 offset, const char *name)
{
    assert_int_equal(p9_call(c, P9_TREADDIR, "484", fid, offset, P9_ROOM), 0);
    const u8 *at = c->in + P9_DATA, *end = at + get_u32(c->in + 7);
    for (; at < end; at += P9_QID_SIZE + 11 + get_u16(at + P9_QID_SIZE + 9))
        if (get_u16(at + P9_QID_SIZE + 9) == strlen(name) && memcmp(at + P9_QID_SIZE + 11, name, strlen(name)) == 0)
            return at;
    return NULL;
}

/* What a listing says of a file is what its fid says; an end that was seen stays one until the folder is read from its
 * beginning; a folder's reply is bounded by its size. */
static void test_listing(void **state)
{
    struct rig r;
    struct p9_attr a;
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    command("mkdir %s/sub %s/big && cd %s/big && for i in $(seq 9000); do : >a.long.name.$i; done", r.dir);
    host_put(&r, "sub/file", "text");
    assert_int_equal(p9_walk(c, 0, 1, "sub/file"), 0);
    assert_int_equal(p9_getattr(c, 1, &a), 0);
    assert_int_equal(p9_walk(c, 0, 2, "sub"), 0);
    assert_int_equal(p9_lopen(c, 2, O_RDONLY), 0);
    assert_int_equal(get_u32(c->in + P9_HEADER + P9_QID_SIZE), 8176);
    const u8 *entry = entry_named(c, 2, 0, "file");
    assert_non_null(entry);
    assert_memory_equal(entry + 5, a.qid + 5, 8);
    assert_int_equal(list(c, 2, 200, NULL), 3);

    /* The offset of the last entry, wherever it stands. */
    u64 last = 0;
    assert_int_equal(CALL(P9_TREADDIR, "484", 2u, (u64)0, P9_ROOM), 0);
    for (u32 at = P9_DATA; at < c->in_len; at += P9_QID_SIZE + 11u + get_u16(c->in + at + P9_QID_SIZE + 9))
        last = get_u64(c->in + at + P9_QID_SIZE);
    host_put(&r, "sub/new", "text");
    assert_null(entry_named(c, 2, last, "new"));
    assert_true(c->at_once);
    assert_non_null(entry_named(c, 2, 0, "new"));
    assert_int_equal(list(c, 2, 200, NULL), 4);

    /* An open file has no such bound, and a large folder that of the session. */
    assert_int_equal(p9_lopen(c, 1, O_RDONLY), 0);
    assert_int_equal(get_u32(c->in + P9_HEADER + P9_QID_SIZE), 0);
    assert_int_equal(p9_walk(c, 0, 3, "big"), 0);
    assert_int_equal(p9_lopen(c, 3, O_RDONLY), 0);
    u32 unit = get_u32(c->in + P9_HEADER + P9_QID_SIZE);
    assert_true(unit == 0 || (unit >= 8176 && unit < P9_ROOM));
    assert_int_equal(list(c, 3, unit ? unit : P9_ROOM - P9_DATA, NULL), 9002);
    rig_close(&r);
}

/* A message whose reply is there when share_submit returns, without a thread; or not. */
static bool at_once(struct p9_client *c, u8 type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    p9_build(c, type, 1, format, args);
    va_end(args);
    bool good = p9_submit(c) == 0;
    return good && c->at_once;
}

/* What needs no disk needs no thread: the end of a file, and once a few messages were quick, making and closing. */
static void test_at_once(void **state)
{
    struct rig r;
    char name[16];
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    host_put(&r, "file", "text");
    assert_int_equal(p9_walk(c, 0, 1, "file"), 0);
    assert_int_equal(p9_lopen(c, 1, O_RDONLY), 0);
    assert_int_equal(p9_read(c, 1, 0, 4096), 4);
    assert_true(at_once(c, P9_TREAD, "484", 1u, (u64)0, 4096u));
    assert_true(at_once(c, P9_TREAD, "484", 1u, (u64)4, 4096u));
    assert_int_equal(get_u32(c->in + 7), 0);

    unsigned creates = 0, closes = 0;
    for (unsigned n = 0; n < 500; n++) {
        (void)snprintf(name, sizeof(name), "new.%u", n);
        assert_int_equal(p9_walk(c, 0, 2, ""), 0);
        creates += at_once(c, P9_TLCREATE, "4s444", 2u, name, (u32)O_RDWR, 0644u, 0u);
        assert_int_equal(p9_write(c, 2, 0, "text"), 4);
        closes += at_once(c, P9_TCLUNK, "4", 2u);
    }
    assert_true(creates && closes); /* how many is the host's affair */
    rig_close(&r);
}

static void test_folder(void **state)
{
    struct rig r;
    char names[256] = "";
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    assert_int_equal(CALL(P9_TMKDIR, "4s44", 0u, "sub", 01775u, 0u), 0);
    assert_int_equal(c->in[7], P9_QTDIR);
    assert_int_equal(host_stat(&r, "sub").st_mode, S_IFDIR | 01775);
    assert_int_equal(CALL(P9_TMKDIR, "4s44", 0u, "sub", 0755u, 0u), -EEXIST);
    command("cd %s/sub && for i in $(seq 1000); do : >file.$i; done", r.dir);
    assert_int_equal(p9_walk(c, 0, 1, "sub"), 0);
    assert_int_equal(CALL(P9_TREADDIR, "484", 1u, (u64)0, 1000u), -EBADF);
    assert_int_equal(p9_lopen(c, 1, O_RDONLY), 0);
    assert_int_equal(list(c, 1, P9_ROOM, NULL), 1002);
    assert_int_equal(list(c, 1, 300, NULL), 1002);
    assert_int_equal(list(c, 1, 70000, NULL), 1002);
    assert_int_equal(CALL(P9_TREADDIR, "484", 1u, (u64)0, 10u), -EINVAL);
    assert_int_equal(p9_read(c, 1, 0, 100), -EISDIR);
    assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, "sub", P9_UNLINK_DIR), -ENOTEMPTY);
    assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, "sub", 0u), -EISDIR);
    for (unsigned n = 1; n <= 1000; n++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "file.%u", n);
        assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 1u, name, 0u), 0);
    }
    assert_int_equal(list(c, 1, 4096, names), 2);
    assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, "sub", P9_UNLINK_DIR), 0);
    assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, "sub", 0x1000u), -EINVAL);
    assert_int_equal(p9_create(c, 1, "late", O_RDWR, 0600), -EBUSY); /* it is open */
    rig_close(&r);
}

static void test_names(void **state)
{
    struct rig r;
    struct p9_attr a = {0};
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    host_put(&r, "file", "text");
    assert_int_equal(CALL(P9_TSYMLINK, "4ss4", 0u, "link", "/no/such/file", 0u), 0);
    assert_int_equal(c->in[7], P9_QTSYMLINK);
    assert_int_equal(p9_walk(c, 0, 1, "link"), 0);
    assert_int_equal(CALL(P9_TREADLINK, "4", 1u), 0);
    assert_memory_equal(c->in + 9, "/no/such/file", 13);
    assert_int_equal(p9_walk(c, 0, 2, "file"), 0);
    assert_int_equal(CALL(P9_TREADLINK, "4", 2u), -EINVAL);
    assert_int_equal(CALL(P9_TLINK, "44s", 0u, 2u, "second"), 0);
    assert_int_equal(CALL(P9_TLINK, "44s", 0u, 2u, "second"), -EEXIST);
    assert_int_equal(p9_getattr(c, 2, &a), 0);
    assert_int_equal(a.nlink, 2);
    assert_int_equal(CALL(P9_TLINK, "44s", 0u, 1u, "link2"), 0); /* of the link, not of what it leads to */
    assert_true(S_ISLNK(host_stat(&r, "link2").st_mode));

    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "fifo", S_IFIFO | 0620u, 0u, 0u, 0u), 0);
    assert_int_equal(host_stat(&r, "fifo").st_mode, S_IFIFO | 0620);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "sock", S_IFSOCK | 0600u, 0u, 0u, 0u), 0);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "plain", S_IFREG | 0600u, 0u, 0u, 0u), 0);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "null", S_IFCHR | 0666u, 1u, 3u, 0u), -EPERM);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "disk", S_IFBLK | 0666u, 8u, 0u, 0u), -EPERM);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "dir", S_IFDIR | 0755u, 8u, 0u, 0u), -EINVAL);

    assert_int_equal(CALL(P9_TMKDIR, "4s44", 0u, "d", 0755u, 0u), 0);
    assert_int_equal(p9_walk(c, 0, 3, "d"), 0);
    assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, "file", 3u, "moved"), 0);
    assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, "file", 3u, "moved"), -ENOENT);
    host_is(&r, "d/moved", "text");
    assert_int_equal(p9_getattr(c, 2, &a), 0); /* the fid has gone with it */
    assert_int_equal(CALL(P9_TRENAME, "44s", 2u, 0u, "back"), 0);
    host_is(&r, "back", "text");
    assert_int_equal(CALL(P9_TRENAME, "44s", 0u, 3u, "top"), -EBUSY);
    assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, "d", 3u, "inside"), -EINVAL);
    assert_int_equal(CALL(P9_TREMOVE, "4", 2u), 0);
    assert_int_equal(p9_clunk(c, 2), -EBADF);
    assert_int_equal(host_stat(&r, "back").st_ino, 0);
    assert_int_equal(CALL(P9_TREMOVE, "4", 3u), 0);
    assert_int_equal(host_stat(&r, "d").st_ino, 0);
    rig_close(&r);
}

static int attr_set(struct p9_client *c, const char *name, const char *value, u32 flags)
{
    u32 len = (u32)strlen(value);
    if (p9_walk(c, 1, 7, ""))
        return -EIO;
    int status = p9_call(c, P9_TXATTRCREATE, "4s84", 7u, name, (u64)len, flags);
    if (!status && len && p9_write(c, 7, 0, value) != (int)len)
        status = -EIO;
    int end = p9_clunk(c, 7);
    return status ? status : end;
}

static int attr_get(struct p9_client *c, const char *name, char *value)
{
    int status = p9_call(c, P9_TXATTRWALK, "44s", 1u, 7u, name);
    if (status)
        return status;
    int n = p9_read(c, 7, 0, 4096);
    memcpy(value, c->in + P9_DATA, n > 0 ? (size_t)n : 0);
    value[n > 0 ? n : 0] = '\0';
    return p9_clunk(c, 7) ? -EIO : n;
}

static void test_xattr(void **state)
{
    struct rig r;
    char value[5000], path[128];
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    host_put(&r, "file", "");
    (void)snprintf(path, sizeof(path), "%s/file", r.dir);
    if (setxattr(path, "user.ring3.other", "x", 1, 0)) {
        rig_close(&r);
        print_message("no extended attributes here\n");
        return;
    }
    assert_int_equal(p9_walk(c, 0, 1, "file"), 0);
    assert_int_equal(attr_set(c, "user.colour", "green", 0), 0);
    assert_int_equal(attr_set(c, "user.colour", "blue", XATTR_CREATE), -EEXIST);
    assert_int_equal(attr_get(c, "user.colour", value), 5);
    assert_string_equal(value, "green");
    assert_int_equal(attr_get(c, "", value), 12);
    assert_string_equal(value, "user.colour"); /* and nothing of ours */
    assert_int_equal(attr_get(c, "user.none", value), -ENODATA);
    assert_int_equal(attr_get(c, "user.ring3.other", value), -EOPNOTSUPP);
    assert_int_equal(attr_get(c, "security.capability", value), -EOPNOTSUPP);
    assert_int_equal(attr_set(c, "user.ring3.attr", "x", 0), -EOPNOTSUPP);
    assert_int_equal(attr_set(c, "trusted.x", "x", 0), -EOPNOTSUPP);
    assert_int_equal(attr_set(c, "user.colour", "", 0), 0); /* away with it */
    assert_int_equal(attr_get(c, "user.colour", value), -ENODATA);

    assert_int_equal(p9_walk(c, 1, 8, ""), 0);
    assert_int_equal(CALL(P9_TXATTRCREATE, "4s84", 8u, "user.big", (u64)65537, 0u), -E2BIG);
    assert_int_equal(CALL(P9_TXATTRCREATE, "4s84", 8u, "user.big", (u64)4, 0u), 0);
    assert_int_equal(CALL(P9_TXATTRCREATE, "4s84", 8u, "user.big", (u64)4, 0u), -EBUSY);
    assert_int_equal(p9_lopen(c, 8, O_RDONLY), -EBADF);
    assert_int_equal(p9_write(c, 8, 1, "abc"), -EINVAL);
    assert_int_equal(p9_write(c, 8, 0, "abcde"), -EINVAL);
    assert_int_equal(p9_read(c, 8, 0, 4), -EBADF);
    assert_int_equal(p9_write(c, 8, 0, "abc"), 3);
    assert_int_equal(p9_clunk(c, 8), -EINVAL); /* not all of it */
    rig_close(&r);
}

static void test_read_only(void **state)
{
    struct rig r;
    rig_open(&r, ",readonly=on");
    struct p9_client *c = &r.c;
    command("mkdir %s/d && echo text >%s/file", r.dir);
    assert_int_equal(p9_walk(c, 0, 1, "file"), 0);
    assert_int_equal(p9_walk(c, 0, 2, "d"), 0);
    assert_int_equal(p9_lopen(c, 1, O_RDWR), -EROFS);
    assert_int_equal(p9_lopen(c, 1, O_WRONLY), -EROFS);
    assert_int_equal(p9_lopen(c, 1, O_RDONLY | P9_OPEN_TRUNC), -EROFS);
    assert_int_equal(p9_create(c, 2, "new", O_RDWR, 0644), -EROFS);
    assert_int_equal(CALL(P9_TMKDIR, "4s44", 0u, "x", 0755u, 0u), -EROFS);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "x", S_IFREG | 0600u, 0u, 0u, 0u), -EROFS);
    assert_int_equal(CALL(P9_TSYMLINK, "4ss4", 0u, "x", "y", 0u), -EROFS);
    assert_int_equal(CALL(P9_TLINK, "44s", 0u, 1u, "x"), -EROFS);
    assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, "file", 2u, "x"), -EROFS);
    assert_int_equal(CALL(P9_TRENAME, "44s", 1u, 2u, "x"), -EROFS);
    assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, "file", 0u), -EROFS);
    assert_int_equal(p9_setattr(c, 1, P9_SET_MODE, 0600, 0, 0, 0), -EROFS);
    assert_int_equal(CALL(P9_TXATTRCREATE, "4s84", 1u, "user.x", (u64)1, 0u), -EROFS);
    assert_int_equal(p9_lopen(c, 1, O_RDONLY), 0);
    assert_int_equal(p9_read(c, 1, 0, 100), 5);
    assert_int_equal(p9_write(c, 1, 0, "x"), -EROFS);
    assert_int_equal(CALL(P9_TREMOVE, "4", 1u), -EROFS);
    assert_int_equal(p9_clunk(c, 1), -EBADF); /* gone all the same */
    host_is(&r, "file", "text\n");
    rig_close(&r);
}

static void test_mapped(void **state)
{
    struct rig r;
    struct p9_attr a = {0};
    rig_open(&r, ",security_model=mapped");
    struct p9_client *c = &r.c;
    assert_int_equal(p9_walk(c, 0, 1, ""), 0);
    int status = p9_create(c, 1, "file", O_RDWR, 04755);
    if (status == -EOPNOTSUPP) {
        rig_close(&r);
        print_message("no extended attributes here\n");
        return;
    }
    assert_int_equal(status, 0);
    assert_int_equal(host_stat(&r, "file").st_mode, S_IFREG | 0600);
    assert_int_equal(p9_setattr(c, 1, P9_SET_UID | P9_SET_GID, 0, 12, 34, 0), 0);
    assert_int_equal(p9_getattr(c, 1, &a), 0);
    assert_int_equal(a.mode, S_IFREG | 04755);
    assert_int_equal(a.uid, 12);
    assert_int_equal(a.gid, 34);
    assert_int_equal(host_stat(&r, "file").st_uid, geteuid());
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "null", S_IFCHR | 0666u, 1u, 3u, 0u), 0);
    assert_true(S_ISREG(host_stat(&r, "null").st_mode));
    assert_int_equal(p9_walk(c, 0, 2, "null"), 0);
    assert_int_equal(p9_getattr(c, 2, &a), 0);
    assert_int_equal(a.mode, S_IFCHR | 0666);
    assert_int_equal(a.rdev, makedev(1, 3));
    assert_int_equal(CALL(P9_TSYMLINK, "4ss4", 0u, "link", "to/where", 0u), 0);
    assert_true(S_ISREG(host_stat(&r, "link").st_mode));
    assert_int_equal(p9_walk(c, 0, 3, "link"), 0);
    assert_int_equal(c->in[9], P9_QTSYMLINK);
    assert_int_equal(CALL(P9_TREADLINK, "4", 3u), 0);
    assert_memory_equal(c->in + 9, "to/where", 8);
    assert_int_equal(CALL(P9_TMKDIR, "4s44", 0u, "dir", 0123u, 0u), 0);
    assert_int_equal(host_stat(&r, "dir").st_mode, S_IFDIR | 0700);
    assert_int_equal(p9_walk(c, 0, 4, "dir"), 0);
    assert_int_equal(p9_setattr(c, 4, P9_SET_MODE, 0111, 0, 0, 0), 0);
    assert_int_equal(p9_getattr(c, 4, &a), 0);
    assert_int_equal(a.mode, S_IFDIR | 0111);
    rig_close(&r);
}

static void test_owner(void **state)
{
    struct rig r;
    struct p9_attr a = {0};
    rig_open(&r, ",uid=1000,gid=1001");
    host_put(&r, "file", "");
    assert_int_equal(p9_walk(&r.c, 0, 1, "file"), 0);
    assert_int_equal(p9_getattr(&r.c, 1, &a), 0);
    assert_int_equal(a.uid, 1000);
    assert_int_equal(a.gid, 1001);
    rig_close(&r);
    rig_open(&r, ",security_model=passthrough");
    host_put(&r, "file", "");
    assert_int_equal(p9_walk(&r.c, 0, 1, "file"), 0);
    assert_int_equal(p9_getattr(&r.c, 1, &a), 0);
    assert_int_equal(a.uid, geteuid());
    rig_close(&r);
}

/* More files than descriptors: all of them answer, also those whose folder was renamed, and those that are gone say so.
 */
static void test_many(void **state)
{
    enum { FILES = 900 };
    struct rlimit before, few = {300, 300};
    struct rig r;
    struct p9_attr a = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    command("mkdir %s/d && cd %s/d && for i in $(seq 0 899); do echo $i >$i; done", r.dir);
    assert_int_equal(p9_walk(c, 0, 1, "d"), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (u32 n = 0; n < FILES; n++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "%u", n);
            if (!round)
                assert_int_equal(p9_walk(c, 1, 100 + n, name), 0);
            assert_int_equal(p9_getattr(c, 100 + n, &a), 0);
            assert_int_equal(a.size, strlen(name) + 1);
        }
        if (!round)
            assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, "d", 0u, "e"), 0);
    }
    assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 1u, "0", 0u), 0);
    int gone = p9_getattr(c, 100, &a);
    assert_true(gone == 0 || gone == -ESTALE);
    assert_int_equal(p9_version(c), 0);
    rig_close(&r);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* While we hold the machine lock no thread can end a request: some are with threads, the others wait. */
static void test_flush(void **state)
{
    enum { COUNT = 8 };
    static struct p9_client each[COUNT + 2];
    struct rig r;
    unsigned order = 0;
    rig_open(&r, "");
    host_put(&r, "file", "x");
    assert_int_equal(p9_walk(&r.c, 0, 1, "file"), 0);
    assert_int_equal(p9_lopen(&r.c, 1, O_RDWR), 0);
    loop_lock(r.c.loop);
    for (unsigned n = 0; n < COUNT + 2; n++) {
        struct p9_client *c = &each[n];
        *c = (struct p9_client){.loop = r.c.loop, .share = r.c.share, .room = P9_ROOM};
        u8 message[13] = {n < COUNT ? 11 : 9, 0, 0, 0, n < COUNT ? P9_TFSYNC : P9_TFLUSH};
        put_u16(message + 5, (u16)n);
        put_u16(message + 7, n == COUNT ? COUNT - 1 : n > COUNT ? 0 : 1); /* the last one, and the first */
        memcpy(c->out, message, sizeof(message));
        c->vec[0] = (struct iovec){c->out, message[0]};
        c->vec[1] = (struct iovec){c->in, c->room};
        c->r = (struct share_request){&c->vec[0], &c->vec[1], 1, 1, message[0], c->room, p9_done, c};
        if (n == COUNT)
            usleep(20000); /* so that threads have taken what they can */
        c->in_len = share_submit(r.c.share, &c->r);
        order += c->in_len != 0;
    }
    assert_int_equal(each[COUNT - 1].in[4], P9_RLERROR);
    assert_int_equal(get_u32(each[COUNT - 1].in + 7), EINTR);
    assert_int_equal(each[COUNT].in[4], P9_TFLUSH + 1); /* at once */
    assert_int_equal(each[COUNT + 1].in_len, 0);        /* it waits */
    assert_int_equal(order, 1);
    loop_unlock(r.c.loop);
    share_drain(r.c.share);
    assert_int_equal(each[COUNT + 1].in[4], P9_TFLUSH + 1);
    for (unsigned n = 0; n < COUNT - 1; n++)
        assert_int_equal(each[n].in[4], P9_TFSYNC + 1);
    assert_int_equal(CALL(P9_TFLUSH, "2", 99u), 0);
    assert_int_equal(CALL(P9_TFLUSH, ""), -EINVAL);
    rig_close(&r);
}

/* Several at once, on the same few fids and names; replies may say anything but must be whole. */
struct worker {
    struct p9_client c;
    u32 seed;
    unsigned broken;
    pthread_t thread;
};

static u32 pick(struct worker *w, u32 count)
{
    w->seed = w->seed * 1664525 + 1013904223;
    return (w->seed >> 16) % count;
}

static int work_once(struct worker *w)
{
    struct p9_client *c = &w->c;
    struct p9_attr a;
    u32 fid = 1 + pick(w, 6), other = 1 + pick(w, 6);
    char name[8] = {'n', (char)('0' + pick(w, 4)), 0}, to[8] = {'n', (char)('0' + pick(w, 4)), 0};
    switch (pick(w, 10)) {
    case 0:
        return p9_walk(c, 0, fid, pick(w, 2) ? name : "");
    case 1:
        return p9_create(c, fid, name, O_RDWR, 0644);
    case 2:
        return p9_lopen(c, fid, O_RDWR);
    case 3:
        return p9_write(c, fid, pick(w, 9000), "some text");
    case 4:
        return p9_read(c, fid, pick(w, 9000), 5000);
    case 5:
        return p9_getattr(c, fid, &a);
    case 6:
        return p9_call(c, P9_TRENAMEAT, "4s4s", 0u, name, 0u, to);
    case 7:
        return p9_call(c, P9_TUNLINKAT, "4s4", 0u, name, 0u);
    case 8:
        return p9_walk(c, fid, other, "");
    default:
        return p9_clunk(c, fid);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned n = 0; n < 3000; n++)
        w->broken += work_once(w) == -EIO;
    return NULL;
}

static void test_threads(void **state)
{
    enum { WORKERS = 4 };
    static struct worker w[WORKERS];
    struct rig r;
    rig_open(&r, "");
    for (unsigned n = 0; n < WORKERS; n++) {
        w[n] = (struct worker){.c = {.loop = r.c.loop, .share = r.c.share, .room = P9_ROOM}, .seed = n};
        assert_int_equal(pthread_create(&w[n].thread, NULL, work, &w[n]), 0);
    }
    for (unsigned n = 0; n < WORKERS; n++) {
        assert_int_equal(pthread_join(w[n].thread, NULL), 0);
        assert_int_equal(w[n].broken, 0);
    }
    rig_close(&r);
}

/* Every message, cut off everywhere, and with a size that is not its own. */
static void test_cut(void **state)
{
    struct rig r;
    rig_open(&r, "");
    struct p9_client *c = &r.c;
    for (unsigned type = 0; type < 256; type++) {
        for (u32 len = P9_HEADER; len < 80; len++) {
            memset(c->out, 0, sizeof(c->out));
            put_u32(c->out, len);
            c->out[4] = (u8)type;
            c->out_len = len;
            (void)p9_submit(c);
            assert_true(c->in_len >= P9_HEADER);
            if (type == P9_TVERSION || type == P9_TCLUNK || type == P9_TREMOVE) {
                (void)p9_version(c);
                (void)p9_attach(c, 0);
            }
        }
        put_u32(c->out, 81);
        c->out_len = 80;
        assert_int_equal(p9_submit(c), -EPROTO);
        put_u32(c->out, 3);
        assert_int_equal(p9_submit(c), -EPROTO);
    }
    rig_close(&r);
}

static void test_spec(void **state)
{
    static const struct {
        const char *spec, *says;
    } bad[] = {
        {"", "the path of the folder is empty"},
        {"/no/such/folder", "there is no such folder"},
        {"/dev/null", "not a folder"},
        {"/proc", "belongs to the host's kernel"},
        {"/tmp,tag=", "give a name of 1 to 60 bytes"},
        {"/tmp,tag=0123456789012345678901234567890123456789012345678901234567890", "give a name of 1 to 60 bytes"},
        {"/tmp,readonly", "give on or off"},
        {"/tmp,security_model=all", "give none, passthrough or mapped"},
        {"/tmp,uid=-1", "give a number of a user"},
        {"/tmp,gid=4294967295", "give a number of a group"},
        {"/tmp,cache=none", "no such key"},
    };
    struct loop *loop = loop_create();
    struct share *s;
    const struct log no_log = {0};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = {0};
        assert_true(share_open(bad[i].spec, loop, &no_log, &s, &err) < 0);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].spec, err.text);
    }
    assert_int_equal(share_open("/", loop, &no_log, &s, NULL), 0);
    assert_string_equal(share_tag(s), "root");
    share_close(s);
    assert_int_equal(share_open("/tmp/.,tag=a,,b,readonly=on", loop, &no_log, &s, NULL), 0);
    assert_string_equal(share_tag(s), "a,b");
    assert_true(share_read_only(s));
    share_close(s);
    loop_destroy(loop);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session),   cmocka_unit_test(test_walk),    cmocka_unit_test(test_file),
        cmocka_unit_test(test_setattr),   cmocka_unit_test(test_folder),  cmocka_unit_test(test_names),
        cmocka_unit_test(test_listing),   cmocka_unit_test(test_at_once), cmocka_unit_test(test_xattr),
        cmocka_unit_test(test_read_only), cmocka_unit_test(test_mapped),  cmocka_unit_test(test_owner),
        cmocka_unit_test(test_many),      cmocka_unit_test(test_flush),   cmocka_unit_test(test_threads),
        cmocka_unit_test(test_cut),       cmocka_unit_test(test_spec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
