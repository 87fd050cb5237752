/*
 * Results that are kept (host/keep.h): found again, bounded in number, and not believed where they are damaged or may
 * be somebody else's.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "host/keep.h"

#define KIND "things"
#define MAX  MiB(1)
#define PATH 128

static const struct timespec a_moment = {.tv_nsec = 20000000};

struct fixture {
    char home[PATH], folder[PATH + 32];
    u8 from[1000], result[5000];
};

static int make_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    (void)snprintf(f->home, sizeof(f->home), "/tmp/ring3-keep.XXXXXX");
    if (!mkdtemp(f->home))
        return -1;
    (void)snprintf(f->folder, sizeof(f->folder), "%s/ring3/%s", f->home, KIND);
    for (size_t n = 0; n < sizeof(f->from); n++)
        f->from[n] = (u8)(n * 7);
    for (size_t n = 0; n < sizeof(f->result); n++)
        f->result[n] = (u8)(n * n >> 3);
    (void)setenv("XDG_CACHE_HOME", f->home, 1);
    *state = f;
    return 0;
}

static int drop_fixture(void **state)
{
    struct fixture *f = *state;
    char command[PATH + 32];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", f->home);
    int status = system(command); /* NOLINT(cert-env33-c) */
    free(f);
    return status;
}

static void add(const struct fixture *f)
{
    keep_add(KIND, f->from, sizeof(f->from), f->result, sizeof(f->result));
}

static bool found(const struct fixture *f)
{
    u64 size = 0;
    u8 *data = keep_find(KIND, f->from, sizeof(f->from), MAX, &size);
    bool good = data && size == sizeof(f->result) && memcmp(data, f->result, size) == 0;
    assert_true(good || !data);
    free(data);
    return good;
}

/* Files of the folder; the path of the last one. */
static unsigned files(const struct fixture *f, char path[2 * PATH])
{
    DIR *d = opendir(f->folder);
    unsigned count = 0;
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        count++;
        if (path)
            (void)snprintf(path, 2 * PATH, "%s/%.80s", f->folder, e->d_name);
    }
    if (d)
        (void)closedir(d);
    return count;
}

static void finds_again(void **state)
{
    struct fixture *f = *state;
    assert_false(found(f));
    assert_int_equal(files(f, NULL), 0); /* looking makes nothing */
    add(f);
    assert_true(found(f));
    f->from[999]++;
    assert_false(found(f));
    f->from[999]--;
    add(f);
    assert_true(found(f));
    assert_int_equal(files(f, NULL), 1);
    u64 size;
    assert_null(keep_find(KIND, f->from, sizeof(f->from), sizeof(f->result) - 1, &size));
    assert_null(keep_find("others", f->from, sizeof(f->from), MAX, &size));
}

static void is_bounded(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3 * KEEP_FILES; n++) {
        f->from[0] = (u8)n;
        add(f);
        assert_true(found(f));
        f->from[0] = 0;
        assert_true(found(f));            /* what is used stays */
        (void)nanosleep(&a_moment, NULL); /* what is told apart by its time has one of its own */
    }
    assert_int_equal(files(f, NULL), KEEP_FILES);
    f->from[0] = 1;
    assert_false(found(f));
}

/* A byte changed, or an end lost, anywhere. */
static void sees_damage(void **state)
{
    const struct fixture *f = *state;
    char path[2 * PATH] = "";
    add(f);
    assert_int_equal(files(f, path), 1);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (off_t at = 0; at < s.st_size; at += 13) {
        u8 byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_false(found(f));
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    assert_true(found(f));
    assert_int_equal(ftruncate(fd, s.st_size - 1), 0);
    assert_false(found(f));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_false(found(f));
    (void)close(fd);
    add(f);
    assert_true(found(f));
}

static void trusts_the_owner_only(void **state)
{
    const struct fixture *f = *state;
    char path[2 * PATH] = "", other[2 * PATH];
    add(f);
    assert_int_equal(files(f, path), 1);
    assert_int_equal(chmod(f->folder, 0777), 0);
    assert_false(found(f));
    assert_int_equal(chmod(f->folder, 0700), 0);
    assert_int_equal(chmod(path, 0666), 0);
    assert_false(found(f));
    assert_int_equal(chmod(path, 0600), 0);
    assert_true(found(f));
    (void)snprintf(other, sizeof(other), "%s/elsewhere", f->home);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_false(found(f));
}

static void does_without(void **state)
{
    const struct fixture *f = *state;
    char home[PATH + 16];
    (void)setenv("XDG_CACHE_HOME", "relative", 1);
    (void)unsetenv("HOME");
    add(f);
    assert_false(found(f));
    (void)setenv("XDG_CACHE_HOME", "/proc/self/nowhere", 1);
    add(f);
    assert_false(found(f));
    (void)unsetenv("XDG_CACHE_HOME");
    (void)snprintf(home, sizeof(home), "%s/home", f->home);
    (void)setenv("HOME", home, 1);
    add(f);
    assert_true(found(f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_again, make_fixture, drop_fixture),
        cmocka_unit_test_setup_teardown(is_bounded, make_fixture, drop_fixture),
        cmocka_unit_test_setup_teardown(sees_damage, make_fixture, drop_fixture),
        cmocka_unit_test_setup_teardown(trusts_the_owner_only, make_fixture, drop_fixture),
        cmocka_unit_test_setup_teardown(does_without, make_fixture, drop_fixture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
