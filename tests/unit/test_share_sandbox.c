/*
 * Shared folders inside the sandbox, in a child: all that a guest can ask of one goes on; and whoever has taken over
 * the process, on any of its threads, opens and makes nothing outside the folders, and in a read-only one changes
 * nothing.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "p9_client.h"

#include <cmocka.h>

#include "host/sandbox.h"

enum { FINE = 0, NO_LANDLOCK = 77 };

/* As whoever writes their own system calls. */
static long open_raw(const char *path, u64 flags)
{
    struct open_how how = {.flags = flags, .mode = flags & O_CREAT ? 0600 : 0};
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

static int ask_all(struct p9_client *c, const char *words)
{
    struct p9_attr a;
    int bad = p9_walk(c, 0, 1, "file") || p9_lopen(c, 1, O_RDONLY) || p9_read(c, 1, 0, 100) != 5;
    bad |= p9_getattr(c, 1, &a) || p9_call(c, P9_TSTATFS, "4", 0u) || p9_call(c, P9_TFSYNC, "4", 1u);
    bad |= p9_walk(c, 0, 2, "") || p9_lopen(c, 2, O_RDONLY) || p9_call(c, P9_TREADDIR, "484", 2u, (u64)0, 1000u);
    bad |= p9_walk(c, 0, 3, "link") || p9_call(c, P9_TREADLINK, "4", 3u) || p9_walk(c, 1, 4, "..");
    (void)p9_call(c, P9_TXATTRWALK, "44s", 1u, 9u, "user.x");
    (void)p9_call(c, P9_TXATTRWALK, "44s", 1u, 10u, "");
    if (bad || *words)
        return bad;
    bad = p9_create(c, 4, "new", O_RDWR, 0644) || p9_write(c, 4, 0, "text") != 4;
    bad |= p9_setattr(c, 4, 0x1bf, 0600, 0, 0, 2) || p9_call(c, P9_TMKDIR, "4s44", 0u, "sub", 0755u, 0u);
    bad |= p9_call(c, P9_TSYMLINK, "4ss4", 0u, "l2", "x", 0u) || p9_walk(c, 0, 5, "sub");
    bad |= p9_call(c, P9_TMKNOD, "4s4444", 0u, "fifo", S_IFIFO | 0600u, 0u, 0u, 0u);
    bad |= p9_call(c, P9_TLINK, "44s", 5u, 1u, "hard") || p9_call(c, P9_TRENAMEAT, "4s4s", 0u, "new", 5u, "moved");
    bad |= p9_walk(c, 0, 6, "file") || p9_setattr(c, 6, P9_SET_SIZE, 0, 0, 0, 3);
    bad |= p9_call(c, P9_TUNLINKAT, "4s4", 5u, "moved", 0u) || p9_call(c, P9_TUNLINKAT, "4s4", 5u, "hard", 0u);
    bad |= p9_call(c, P9_TUNLINKAT, "4s4", 0u, "sub", P9_UNLINK_DIR) != 0;
    (void)p9_call(c, P9_TXATTRCREATE, "4s84", 6u, "user.x", (u64)1, 0u);
    (void)p9_write(c, 6, 0, "x");
    (void)p9_clunk(c, 6);
    return bad;
}

struct attack {
    const char *dir; /* the folder is dir/in */
    bool read_only;
    pthread_mutex_t go;
};

static int attack(const char *dir, bool read_only)
{
    char outside[128], inside[128], made[128];
    (void)snprintf(outside, sizeof(outside), "%s/secret", dir);
    (void)snprintf(inside, sizeof(inside), "%s/in/file", dir);
    (void)snprintf(made, sizeof(made), "%s/made", dir);
    bool good = open_raw(outside, O_RDONLY) == -EACCES && open_raw(made, O_RDWR | O_CREAT) == -EACCES;
    good = good && open_raw("/etc/passwd", O_RDONLY) == -EACCES && open_raw("/proc/self/mem", O_RDWR) == -EACCES;
    good = good && open_raw(inside, O_RDONLY) >= 0;
    if (read_only)
        good = good && open_raw(inside, O_RDWR) == -EACCES;
    else
        good = good && unlinkat(AT_FDCWD, outside, 0) < 0 && renameat(AT_FDCWD, outside, AT_FDCWD, made) < 0 &&
               linkat(AT_FDCWD, outside, AT_FDCWD, made, 0) < 0;
    return good ? FINE : 1;
}

static void *attack_run(void *arg)
{
    struct attack *a = arg;
    pthread_mutex_lock(&a->go); /* when the sandbox is entered */
    pthread_mutex_unlock(&a->go);
    return (void *)(intptr_t)attack(a->dir, a->read_only);
}

static _Noreturn void child(const char *dir, const char *words)
{
    static struct p9_client c;
    char spec[128];
    struct error err = {0};
    struct attack a = {.dir = dir, .read_only = *words != '\0', .go = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    void *result = NULL;
    (void)signal(SIGSYS, SIG_DFL); /* cmocka's handlers would go on with the next test */
    (void)snprintf(spec, sizeof(spec), "%s/in%s", dir, words);
    pthread_mutex_lock(&a.go);
    if (p9_open(&c, spec, &err) || pthread_create(&thread, NULL, attack_run, &a))
        _exit(2);
    struct sandbox_folder folder = {share_folder(c.share), share_read_only(c.share)};
    int status = sandbox_enter(&(struct sandbox_needs){&folder, 1}, &err);
    if (status < 0)
        _exit(3);
    if (ask_all(&c, words))
        _exit(4);
    if (status > 0)
        _exit(NO_LANDLOCK);
    pthread_mutex_unlock(&a.go);
    (void)pthread_join(thread, &result);
    if (result)
        _exit(5);
    _exit(attack(dir, a.read_only) ? 6 : FINE);
}

static void test_inside(void **state)
{
    static const char *const words[] = {"", ",readonly=on"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        char dir[] = "/tmp/ring3-share-XXXXXX", line[256];
        int status;
        assert_non_null(mkdtemp(dir));
        (void)snprintf(line, sizeof(line),
                       "cd %s && mkdir in && echo x >secret && echo text >in/file && ln -s a in/link", dir);
        assert_int_equal(system(line), 0);
        fflush(NULL);
        pid_t pid = fork();
        if (!pid)
            child(dir, words[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        (void)snprintf(line, sizeof(line), "rm -rf %s", dir);
        assert_int_equal(system(line), 0);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == NO_LANDLOCK)
            print_message("the host has no Landlock: not tried\n");
        else
            assert_int_equal(WEXITSTATUS(status), FINE);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_inside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
