/*
 * Out of a shared folder: all the ways that a guest might try, alone, or with somebody on the host who moves things at
 * the wrong moment. Beside the folder lies a secret, which nobody may read or change.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "p9_client.h"

#include <cmocka.h>

#define RACES 6000

struct rig {
    struct p9_client c;
    char dir[64]; /* the folder is dir/in, the secret dir/out/secret */
    int in;
    struct stat secret;
};

static void rig_open(struct rig *r)
{
    char line[512], spec[256];
    struct error err = {0};
    strcpy(r->dir, "/tmp/ring3-share-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(line, sizeof(line),
                   "cd %s && mkdir -p in/a/b out/d && echo secret >out/secret && echo inside >in/a/secret && "
                   "chmod 604 out/secret",
                   r->dir);
    assert_int_equal(system(line), 0);
    (void)snprintf(spec, sizeof(spec), "%s/in", r->dir);
    if (p9_open(&r->c, spec, &err))
        fail_msg("%s", err.text);
    r->in = open(spec, O_PATH | O_DIRECTORY);
    assert_true(r->in >= 0);
    assert_int_equal(fstatat(r->in, "../out/secret", &r->secret, 0), 0);
}

static void rig_close(struct rig *r)
{
    char line[256];
    struct stat st;
    assert_int_equal(fstatat(r->in, "../out/secret", &st, 0), 0);
    assert_int_equal(st.st_size, r->secret.st_size);
    assert_int_equal(st.st_mode, r->secret.st_mode);
    assert_int_equal(st.st_nlink, 1);
    (void)close(r->in);
    p9_close(&r->c);
    (void)snprintf(line, sizeof(line), "rm -rf %s", r->dir);
    assert_int_equal(system(line), 0);
}

static bool is_secret(struct rig *r, u32 fid)
{
    struct p9_attr a;
    return !p9_getattr(&r->c, fid, &a) && get_u64(a.qid + 5) + 2 == r->secret.st_ino;
}

#define CALL(...) p9_call(&r.c, __VA_ARGS__)

/* One walk of one name, of any bytes. */
static int walk_name(struct rig *r, const char *name, u16 len)
{
    int status = p9_call(&r->c, P9_TWALK, "4422d", 0u, 5u, 1u, (u32)len, (const void *)name, (u32)len);
    if (!status)
        (void)p9_clunk(&r->c, 5);
    return status;
}

static void test_dots(void **state)
{
    struct rig r;
    rig_open(&r);
    struct p9_client *c = &r.c;
    assert_int_equal(p9_walk(c, 0, 1, "../../../../.."), 0); /* still the folder */
    assert_int_equal(p9_walk(c, 1, 2, "a"), 0);
    assert_int_equal(p9_walk(c, 0, 3, "../out/secret"), -ENOENT);
    assert_int_equal(p9_walk(c, 0, 3, "a/b/../../../out/secret"), -ENOENT);
    static const char *const names[] = {"../out", "/etc/passwd", "a/b", "/", ".", "", "./a"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(walk_name(&r, names[i], (u16)strlen(names[i])), -EINVAL);
    assert_int_equal(walk_name(&r, "a\0/../../out", 12), -EINVAL);
    char longest[P9_NAME_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(walk_name(&r, longest, P9_NAME_MAX + 1), -ENAMETOOLONG);
    assert_int_equal(walk_name(&r, longest, P9_NAME_MAX), -ENOENT);
    static const char *const bad[] = {"..", ".", "", "../x", "/tmp/x", "a/x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(p9_create(c, 2, bad[i], O_RDWR, 0644), -EINVAL);
        assert_int_equal(CALL(P9_TMKDIR, "4s44", 0u, bad[i], 0755u, 0u), -EINVAL);
        assert_int_equal(CALL(P9_TSYMLINK, "4ss4", 0u, bad[i], "y", 0u), -EINVAL);
        assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, bad[i], S_IFREG | 0600u, 0u, 0u, 0u), -EINVAL);
        assert_int_equal(CALL(P9_TLINK, "44s", 0u, 2u, bad[i]), -EINVAL);
        assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, bad[i], 0u, "x"), -EINVAL);
        assert_int_equal(CALL(P9_TRENAMEAT, "4s4s", 0u, "a", 0u, bad[i]), -EINVAL);
        assert_int_equal(CALL(P9_TRENAME, "44s", 2u, 0u, bad[i]), -EINVAL);
        assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, bad[i], 0u), -EINVAL);
    }
    rig_close(&r);
}

static void test_links(void **state)
{
    struct rig r;
    rig_open(&r);
    struct p9_client *c = &r.c;
    static const char *const targets[] = {"../out", "../out/secret", "/etc", "/proc/self/root", "/proc/self/mem"};
    for (u32 n = 0; n < ARRAY_SIZE(targets); n++) {
        char name[8] = {'l', (char)('0' + n), 0};
        char path[64];
        assert_int_equal(CALL(P9_TSYMLINK, "4ss4", 0u, name, targets[n], 0u), 0);
        (void)snprintf(path, sizeof(path), "%s/secret", name);
        assert_true(p9_walk(c, 0, 10, path) < 0);
        assert_int_equal(p9_walk(c, 0, 10, name), 0); /* the link, and not where it leads */
        assert_false(is_secret(&r, 10));
        assert_true(p9_walk(c, 10, 11, "secret") < 0);
        assert_int_equal(p9_lopen(c, 10, O_RDONLY), -ELOOP);
        assert_int_equal(p9_lopen(c, 10, O_WRONLY | P9_OPEN_TRUNC), -ELOOP);
        assert_int_equal(p9_setattr(c, 10, P9_SET_SIZE, 0, 0, 0, 0), -ELOOP);
        assert_int_equal(p9_setattr(c, 10, P9_SET_MODE, 0777, 0, 0, 0), -EOPNOTSUPP);
        assert_int_equal(p9_setattr(c, 10, 0x1b0, 0, 0, 0, 0), 0); /* of the link */
        assert_true(CALL(P9_TMKDIR, "4s44", 10u, "made", 0755u, 0u) < 0);
        assert_true(CALL(P9_TRENAMEAT, "4s4s", 0u, "a", 10u, "x") < 0);
        assert_true(CALL(P9_TRENAME, "44s", 10u, 10u, "x") < 0);
        assert_int_equal(p9_walk(c, 0, 12, ""), 0);
        assert_int_equal(p9_create(c, 12, name, O_RDWR, 0644), -EEXIST); /* without O_EXCL, too */
        assert_int_equal(p9_clunk(c, 12), 0);
        assert_int_equal(p9_clunk(c, 10), 0);
        assert_int_equal(CALL(P9_TUNLINKAT, "4s4", 0u, name, 0u), 0); /* the link */
    }
    rig_close(&r);
}

/* What would block, or do something, when it is opened. */
static void test_special(void **state)
{
    struct rig r;
    rig_open(&r);
    struct p9_client *c = &r.c;
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "fifo", S_IFIFO | 0666u, 0u, 0u, 0u), 0);
    assert_int_equal(CALL(P9_TMKNOD, "4s4444", 0u, "sock", S_IFSOCK | 0666u, 0u, 0u, 0u), 0);
    bool device = mknodat(r.in, "zero", S_IFCHR | 0666, makedev(1, 5)) == 0;
    static const char *const names[] = {"fifo", "sock", "zero"};
    for (u32 n = 0; n < (device ? 3 : 2); n++) {
        assert_int_equal(p9_walk(c, 0, 10, names[n]), 0);
        assert_int_equal(p9_lopen(c, 10, O_RDONLY), -ENXIO);
        assert_int_equal(p9_lopen(c, 10, O_RDWR), -ENXIO);
        assert_int_equal(p9_setattr(c, 10, P9_SET_SIZE, 0, 0, 0, 0), -ENXIO);
        assert_true(CALL(P9_TXATTRWALK, "44s", 10u, 11u, "user.x") < 0);
        assert_int_equal(p9_clunk(c, 10), 0);
        assert_int_equal(p9_walk(c, 0, 10, ""), 0);
        assert_int_equal(p9_create(c, 10, names[n], O_RDWR, 0644), -EEXIST);
        assert_int_equal(p9_clunk(c, 10), 0);
    }
    rig_close(&r);
}

/* Somebody on the host moves a folder that the guest stands in: within, and then out. */
static void test_moved(void **state)
{
    struct rig r;
    rig_open(&r);
    struct p9_client *c = &r.c;
    assert_int_equal(p9_walk(c, 0, 1, "a/b"), 0);
    assert_int_equal(renameat(r.in, "a", r.in, "z"), 0);
    assert_int_equal(p9_walk(c, 1, 2, "../secret"), 0); /* from where it is now */
    assert_false(is_secret(&r, 2));
    assert_int_equal(renameat(r.in, "z/b", r.in, "../out/b"), 0);
    assert_int_equal(p9_walk(c, 1, 3, ".."), -ESTALE);
    assert_int_equal(p9_walk(c, 1, 3, "../secret"), -ESTALE);
    assert_int_equal(CALL(P9_TREMOVE, "4", 1u), -ESTALE);
    rig_close(&r);
}

/* The kernel's files are not there, not even where they are mounted. */
static void test_kernel(void **state)
{
    static struct p9_client c;
    struct error err = {0};
    if (access("/proc/self/mem", F_OK))
        return;
    if (p9_open(&c, "/", &err))
        fail_msg("%s", err.text);
    assert_int_equal(p9_walk(&c, 0, 1, "proc"), 0);
    assert_int_equal(p9_walk(&c, 1, 2, "self"), -ENOENT);
    assert_int_equal(p9_walk(&c, 0, 2, "proc/self/mem"), -ENOENT);
    assert_int_equal(p9_walk(&c, 1, 2, "../proc/1"), -ENOENT);
    assert_int_equal(p9_call(&c, P9_TMKDIR, "4s44", 1u, "x", 0755u, 0u), -EROFS);
    assert_int_equal(p9_setattr(&c, 1, P9_SET_MODE, 0700, 0, 0, 0), -EROFS);
    assert_int_equal(p9_lopen(&c, 1, O_RDONLY), 0);
    assert_int_equal(p9_call(&c, P9_TREADDIR, "484", 1u, (u64)0, 1000u), 0);
    assert_int_equal(get_u32(c.in + 7), 0);
    p9_close(&c);
}

/* A thread of the host swaps a folder for a link to the outside and back, as fast as it can. */
struct swap {
    int in;
    atomic_bool quit;
};

static void *swap_run(void *arg)
{
    struct swap *s = arg;
    while (!atomic_load(&s->quit)) {
        (void)renameat2(s->in, "swap", s->in, "other", RENAME_EXCHANGE);
        (void)renameat2(s->in, "file", s->in, "link", RENAME_EXCHANGE);
    }
    return NULL;
}

static void race_folder(struct rig *r)
{
    struct p9_client *c = &r->c;
    if (!p9_walk(c, 0, 10, "swap/secret")) {
        assert_false(is_secret(r, 10));
        if (!p9_lopen(c, 10, O_RDONLY))
            assert_false(p9_read(c, 10, 0, 100) == 7 && memcmp(c->in + P9_DATA, "secret", 6) == 0);
        (void)p9_setattr(c, 10, P9_SET_MODE, 0777, 0, 0, 0);
        (void)p9_clunk(c, 10);
    }
    if (!p9_walk(c, 0, 11, "swap")) {
        (void)p9_create(c, 11, "made", O_RDWR, 0644);
        (void)p9_clunk(c, 11);
    }
    if (!p9_walk(c, 0, 11, "swap")) {
        (void)p9_call(c, P9_TUNLINKAT, "4s4", 11u, "made", 0u);
        (void)p9_call(c, P9_TUNLINKAT, "4s4", 11u, "d", P9_UNLINK_DIR);
        (void)p9_clunk(c, 11);
    }
}

static void race_file(struct rig *r)
{
    struct p9_client *c = &r->c;
    if (!p9_walk(c, 0, 10, "file")) {
        if (!p9_lopen(c, 10, O_RDWR))
            assert_false(is_secret(r, 10));
        (void)p9_setattr(c, 10, P9_SET_SIZE, 0, 0, 0, 3);
        (void)p9_setattr(c, 10, P9_SET_MODE, 0600, 0, 0, 0);
        (void)p9_call(c, P9_TLINK, "44s", 0u, 10u, "hard");
        (void)p9_call(c, P9_TUNLINKAT, "4s4", 0u, "hard", 0u);
        (void)p9_clunk(c, 10);
    }
    if (!p9_walk(c, 0, 10, "")) {
        if (!p9_create(c, 10, "file", O_RDWR | P9_OPEN_TRUNC, 0644))
            assert_false(is_secret(r, 10));
        (void)p9_clunk(c, 10);
    }
}

static void test_race(void **state)
{
    struct rig r;
    pthread_t thread;
    struct stat st;
    rig_open(&r);
    struct swap s = {.in = r.in};
    assert_int_equal(mkdirat(r.in, "swap", 0755), 0);
    assert_int_equal(symlinkat("../out", r.in, "other"), 0);
    assert_int_equal(symlinkat("../out/secret", r.in, "link"), 0);
    assert_int_equal(mknodat(r.in, "file", S_IFREG | 0644, 0), 0);
    assert_int_equal(linkat(r.in, "a/secret", r.in, "swap/secret", 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, swap_run, &s), 0);
    for (unsigned n = 0; n < RACES; n++) {
        race_folder(&r);
        race_file(&r);
    }
    atomic_store(&s.quit, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fstatat(r.in, "../out/made", &st, 0), -1);
    assert_int_equal(fstatat(r.in, "../out/d", &st, 0), 0);
    rig_close(&r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dots),  cmocka_unit_test(test_links),  cmocka_unit_test(test_special),
        cmocka_unit_test(test_moved), cmocka_unit_test(test_kernel), cmocka_unit_test(test_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
