/*
 * The first process of `ring3 run --root`: a program for Linux that needs nothing but its system calls. It loads the
 * modules it was given, mounts the host's root file system, which is shared read-only, under an overlay in memory,
 * moves there, and runs the command. What the command writes and reads goes through three ports (stdin, stdout,
 * stderr), or all of it by the console where there is a terminal. Its status goes to the debug exit, which ends the
 * machine.
 *
 * What is to be done stands in /ring3/conf: records of one letter, a text and a zero byte (src/vm/root.c writes them).
 *
 *     m NAME   a module in /ring3            t TAG, p PATH   mount the share TAG at PATH (p after t)
 *     e TEXT   of the environment            d PATH          the folder to run it in
 *     a TEXT   a word of the command         i c|s           by console, or by streams
 */
#include "sys.h"

#define CONF_MAX   (1 << 18)
#define WORDS_MAX  2048
#define CHUNK      32768
#define GIVEN_UP   125 /* also in docs/share.md */
#define NOT_RUN    126
#define NOT_FOUND  127
#define OPTIONS    "trans=virtio,version=9p2000.L,msize=131072,cache="
#define ROOT_TAG   "ring3.root"
#define DEBUG_EXIT 0xf4

struct conf {
    char *arg[WORDS_MAX], *env[WORDS_MAX];
    unsigned args, envs;
    const char *folder;
    int streams;
};

static char text[CONF_MAX];
static struct conf conf;

static size_t length(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

/* `from` behind `to`; the new end. */
static char *add(char *to, const char *from)
{
    while ((*to = *from++))
        to++;
    return to;
}

static void say(int fd, const char *a, const char *b)
{
    (void)sys_write(fd, "ring3: ", 7);
    (void)sys_write(fd, a, length(a));
    (void)sys_write(fd, b, length(b));
    (void)sys_write(fd, "\r\n", 2);
}

static _Noreturn void leave(unsigned status)
{
    sys_sync();
    if (sys_iopl(3) == 0)
        __asm__ volatile("outl %0, %1" : : "a"(status), "Nd"((unsigned short)DEBUG_EXIT));
    for (;;)
        sys_reboot();
}

/* Before the command's own output is there. */
static _Noreturn void give_up(const char *why, const char *what)
{
    int fd = sys_open("/dev/ttyS0", O_WRONLY);
    say(fd, why, what);
    leave(GIVEN_UP);
}

static void mount(const char *what, const char *where, const char *type, const char *options, int flags, int needed)
{
    (void)sys_mkdir(where, 0755);
    if (sys_mount(what, where, type, flags, options) && needed)
        give_up("cannot mount, as the guest's kernel lacks it or its module: ", type);
}

/* Modules and the tree */

static void load_module(const char *name)
{
    char path[256] = "/ring3/";
    size_t len = length(name);
    if (len > 200)
        return;
    add(path + 7, name);
    int fd = sys_open(path, O_RDONLY);
    if (fd < 0)
        return;
    /* One that is packed the kernel unpacks, if it can. */
    (void)sys_finit_module(fd, len > 3 && name[len - 1] == 'o' ? 0 : MODULE_INIT_COMPRESSED_FILE);
    sys_close(fd);
}

static void mount_share(const char *tag, const char *path)
{
    char where[4200] = "/new";
    if (length(path) < 4096) {
        add(where + 4, path);
        if (sys_mount(tag, where, "9p", 0, OPTIONS "mmap"))
            give_up("cannot mount the share at ", path);
    }
}

static void read_conf(void)
{
    int fd = sys_open("/ring3/conf", O_RDONLY);
    long n = 0, size = 0;
    while (fd >= 0 && (n = sys_read(fd, text + size, sizeof(text) - 1 - size)) > 0)
        size += n;
    if (size == 0 || n < 0)
        give_up("there is no /ring3/conf", "");
}

/* The records of a letter, in order. */
static void each_record(char letter, void (*act)(const char *value))
{
    for (char *at = text; *at; at += length(at) + 1)
        if (*at == letter)
            act(at + 1);
}

static const char *tag;

static void take_tag(const char *value)
{
    tag = value;
}

static void take_arg(const char *value)
{
    if (conf.args < WORDS_MAX - 1)
        conf.arg[conf.args++] = (char *)value;
}

static void take_env(const char *value)
{
    if (conf.envs < WORDS_MAX - 1)
        conf.env[conf.envs++] = (char *)value;
}

static void take_folder(const char *value)
{
    conf.folder = value;
}

static void take_ways(const char *value)
{
    conf.streams = *value == 's';
}

static void mount_shares(void)
{
    for (char *at = text; *at; at += length(at) + 1) {
        if (*at == 't')
            take_tag(at + 1);
        if (*at == 'p' && tag)
            mount_share(tag, at + 1);
    }
}

/* What a system's own first process would have put there; kernels without one of them do without. */
static void mount_kernel(void)
{
    static const struct {
        const char *type, *where, *options;
    } own[] = {
        {"proc", "/new/proc", ""},
        {"sysfs", "/new/sys", ""},
        {"devtmpfs", "/new/dev", ""},
        {"devpts", "/new/dev/pts", "mode=620,ptmxmode=666"},
        {"tmpfs", "/new/dev/shm", "mode=1777"},
        {"mqueue", "/new/dev/mqueue", ""},
        {"hugetlbfs", "/new/dev/hugepages", ""},
        {"tmpfs", "/new/run", "mode=755"},
        {"cgroup2", "/new/sys/fs/cgroup", "nsdelegate,memory_recursiveprot"},
        {"bpf", "/new/sys/fs/bpf", "mode=700"},
        {"debugfs", "/new/sys/kernel/debug", ""},
        {"tracefs", "/new/sys/kernel/tracing", ""},
        {"securityfs", "/new/sys/kernel/security", ""},
        {"configfs", "/new/sys/kernel/config", ""},
    };
    for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++)
        mount(own[i].type, own[i].where, own[i].type, own[i].options, 0, 0);
    (void)sys_symlink("/proc/self/fd", "/new/dev/fd");
    (void)sys_symlink("/proc/self/fd/0", "/new/dev/stdin");
    (void)sys_symlink("/proc/self/fd/1", "/new/dev/stdout");
    (void)sys_symlink("/proc/self/fd/2", "/new/dev/stderr");
}

static void build_tree(void)
{
    mount("dev", "/dev", "devtmpfs", "", 0, 0);
    read_conf();
    each_record('m', load_module);
    each_record('a', take_arg);
    each_record('e', take_env);
    each_record('d', take_folder);
    each_record('i', take_ways);
    mount(ROOT_TAG, "/lower", "9p", OPTIONS "loose", MS_RDONLY, 1);
    mount("over", "/over", "tmpfs", "", 0, 1);
    (void)sys_mkdir("/over/upper", 0755);
    (void)sys_mkdir("/over/work", 0755);
    mount("root", "/new", "overlay", "lowerdir=/lower,upperdir=/over/upper,workdir=/over/work", 0, 1);
    mount_kernel();
    mount_shares();
    if (sys_chdir("/new") || sys_mount(".", "/", "", MS_MOVE, "") || sys_chroot("."))
        give_up("cannot change to the host's root", "");
    (void)sys_chdir("/");
}

/* The loopback interface, which programs count on. */
static void network_up(void)
{
    struct {
        char name[16];
        short flags;
        char rest[22];
    } request = {.name = "lo", .flags = 1 /* IFF_UP */};
    int fd = sys_socket();
    if (fd < 0)
        return;
    (void)sys_ioctl(fd, SIOCSIFFLAGS, &request);
    sys_close(fd);
}

/* The command */

static const char *variable(const char *name)
{
    size_t len = length(name);
    for (unsigned i = 0; i < conf.envs; i++) {
        size_t n = 0;
        while (n < len && conf.env[i][n] == name[n])
            n++;
        if (n == len)
            return conf.env[i] + len;
    }
    return "";
}

static int has_slash(const char *s)
{
    while (*s && *s != '/')
        s++;
    return *s == '/';
}

/* As execvp(3): along PATH. */
static _Noreturn void run(void)
{
    const char *name = conf.arg[0], *path = variable("PATH=");
    char full[8192];
    long status = has_slash(name) ? sys_execve(name, conf.arg, conf.env) : -ENOENT;
    while (status == -ENOENT && *path && !has_slash(name) && length(name) < 4096) {
        char *end = full;
        while (*path && *path != ':' && end < full + 4000)
            *end++ = *path++;
        while (*path && *path++ != ':')
            ;
        *end++ = '/';
        add(end, name);
        status = sys_execve(full, conf.arg, conf.env);
    }
    say(2, status == -ENOENT ? "there is no such command: " : "cannot be run: ", name);
    sys_exit(status == -ENOENT ? NOT_FOUND : NOT_RUN);
}

static int start(const int fd[3], int controls)
{
    int pid = sys_fork();
    if (pid)
        return pid;
    (void)sys_setsid();
    for (int i = 0; i < 3; i++)
        (void)sys_dup2(fd[i], i);
    if (controls)
        (void)sys_ioctl(0, TIOCSCTTY, 0);
    sys_close_from(3);
    sys_default_sigpipe();
    if (sys_chdir(conf.folder))
        (void)sys_chdir("/");
    run();
}

/* Waits for it, and takes what is left by others meanwhile. */
static unsigned status_of(int pid)
{
    int status = 0;
    long ended;
    do
        ended = sys_wait(&status);
    while (ended != pid && ended != -ECHILD);
    return status & 0x7f ? 128 + (unsigned)(status & 0x7f) : (unsigned)(status >> 8 & 0xff);
}

static unsigned run_on_console(void)
{
    int fd = sys_open("/dev/hvc0", O_RDWR | O_NOCTTY);
    if (fd < 0)
        give_up("the guest's kernel has no virtio console, or not its module", "");
    return status_of(start((int[3]){fd, fd, fd}, 1));
}

/* "/dev/vportNpM": N counts the virtio devices. */
static int try_port(unsigned device, unsigned port, int flags)
{
    char path[24] = "/dev/vport", *end = path + 10;
    if (device > 9)
        *end++ = (char)('0' + device / 10);
    *end++ = (char)('0' + device % 10);
    *end++ = 'p';
    *end = (char)('0' + port);
    return sys_open(path, flags);
}

/* The first that there are. They come a moment after their driver. */
static int open_port(unsigned port, int flags)
{
    for (int i = 0; i < 500; i++) {
        for (unsigned device = 0; device < 64; device++) {
            int fd = try_port(device, port, flags);
            if (fd >= 0)
                return fd;
        }
        sys_sleep(10000000);
    }
    give_up("the guest's kernel has no virtio console, or not its module", "");
}

static char input[CHUNK], output[CHUNK];

/* To a port. 0 if nobody on the host reads there any more. */
static int write_all(int port, const char *from, long n)
{
    for (long done = 0, now; done < n;) {
        struct pollfd p = {port, POLLOUT, 0};
        (void)sys_poll(&p, 1, -1);
        if (p.revents & POLLHUP)
            return 0;
        now = sys_write(port, from + done, (size_t)(n - done));
        if (now < 0 && now != -EAGAIN && now != -EINTR)
            return 0;
        done += now > 0 ? now : 0;
    }
    return 1;
}

/* From a pipe to a port; 0 at the end of either. */
static int pass_output(int pipe, int port)
{
    long n = sys_read(pipe, output, sizeof(output));
    if (n <= 0)
        return n == -EINTR;
    return write_all(port, output, n);
}

/* Input waits in `input` until the command takes it, which must not keep its output waiting. */
struct feed {
    int port, pipe; /* pipe -1: it is over */
    long at, size;
};

static void pass_input(struct feed *f, int ready_to_write)
{
    long n;
    if (f->size) {
        n = ready_to_write ? sys_write(f->pipe, input + f->at, (size_t)(f->size - f->at)) : 0;
        f->at += n > 0 ? n : 0;
        if (f->at == f->size)
            f->at = f->size = 0;
    } else {
        n = sys_read(f->port, input, sizeof(input));
        f->size = n > 0 ? n : 0;
        n = n ? n : -1;
    }
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        sys_close(f->pipe);
        f->pipe = -1;
    }
}

enum { AT_INPUT, AT_OUT, AT_ERR, AT_END, FDS };

/* Until the command has ended. */
static void relay(struct feed *f, const int from[2], const int to[2], int end)
{
    struct pollfd p[FDS] = {
        [AT_OUT] = {from[0], POLLIN, 0}, [AT_ERR] = {from[1], POLLIN, 0}, [AT_END] = {end, POLLIN, 0}};
    do {
        p[AT_INPUT] = (struct pollfd){f->pipe < 0 ? -1 : f->size ? f->pipe : f->port, f->size ? POLLOUT : POLLIN, 0};
        if (sys_poll(p, FDS, -1) < 0)
            continue;
        if (p[AT_INPUT].revents)
            pass_input(f, 1);
        for (int i = 0; i < 2; i++)
            if (p[AT_OUT + i].revents && !pass_output(from[i], to[i])) {
                sys_close(from[i]); /* so that who writes on is told by a SIGPIPE */
                p[AT_OUT + i].fd = -1;
            }
    } while (!(p[AT_END].revents & POLLIN));
}

static unsigned run_on_streams(void)
{
    int in[2], out[2], err[2];
    struct feed f = {.port = open_port(0, O_RDONLY | O_NONBLOCK)};
    int to[2] = {open_port(1, O_WRONLY | O_NONBLOCK), open_port(2, O_WRONLY | O_NONBLOCK)};
    if (sys_pipe(in) || sys_pipe(out) || sys_pipe(err))
        give_up("no pipes to be had", "");
    int pid = start((int[3]){in[0], out[1], err[1]}, 0);
    sys_close(in[0]);
    sys_close(out[1]);
    sys_close(err[1]);
    f.pipe = in[1];
    sys_nonblock(f.pipe);
    int end = sys_pidfd_open(pid);
    if (end < 0)
        give_up("the guest's kernel is older than Linux 5.3", "");
    relay(&f, (int[2]){out[0], err[0]}, to, end);
    unsigned status = status_of(pid);
    (void)sys_kill(-1, SIGKILL); /* what it left behind ends with it, and so do the pipes */
    while (pass_output(out[0], to[0]))
        ;
    while (pass_output(err[0], to[1]))
        ;
    return status;
}

void init_main(void)
{
    sys_ignore_sigpipe();
    build_tree();
    network_up();
    (void)sys_sethostname("ring3", 5);
    leave(conf.streams ? run_on_streams() : run_on_console());
}

__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    and $-16, %rsp\n"
        "    call init_main\n"
        "    ud2\n");
