/*
 * main for fuzz targets where the compiler has no libFuzzer: calls LLVMFuzzerTestOneInput with the files of a corpus,
 * then with mutations of them, until the time is up.
 *
 *     fuzz_x [-t SECONDS] [-n RUNS] [-s SEED] [-l LENGTH] [FILE or FOLDER]...
 *
 * SECONDS of mutations (default 3; 0: the files only), or exactly RUNS of them; inputs up to LENGTH bytes (default
 * 512). The same seed and runs give the same inputs. When a target dies, by a signal, a sanitizer or a hang of 20
 * seconds, the input under way is printed in hex.
 */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../seed.h"
#include "base/types.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* There with a sanitizer only. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

#define POOL_MAX     256
#define LENGTH_MAX   65536
#define HANG_SECONDS 20

struct input {
    u8 *data;
    size_t size;
};

struct fuzz {
    u64 random;
    size_t length; /* of inputs, at most */
    struct input pool[POOL_MAX];
    unsigned count;
    u64 runs;
};

/* The input under way, for the signal handler: the one thing that has to be global. */
static struct input current;

/* From a signal handler: no stdio. */
static bool print(const char *text, size_t size)
{
    return write(STDERR_FILENO, text, size) == (ssize_t)size;
}

static void print_current(void)
{
    static const char digits[] = "0123456789abcdef", head[] = "\ninput that was under way: ";
    bool ok = print(head, sizeof(head) - 1);
    for (size_t n = 0; ok && n < current.size; n++) {
        char pair[2] = {digits[current.data[n] >> 4], digits[current.data[n] & 15]};
        ok = print(pair, sizeof(pair));
    }
    if (ok)
        print("\n", 1);
}

static void on_signal(int sig)
{
    print_current();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* splitmix64 */
static u64 next_random(struct fuzz *f)
{
    u64 z = f->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(struct fuzz *f, size_t n)
{
    return n ? next_random(f) % n : 0;
}

/* The data is copied to a block of exactly its size, so that a read beyond it is found. */
static void run(struct fuzz *f, const u8 *data, size_t size)
{
    u8 *copy = malloc(size ? size : 1);
    if (!copy)
        return;
    memcpy(copy, data, size);
    current = (struct input){copy, size};
    if (f->runs % 256 == 0)
        alarm(HANG_SECONDS);
    LLVMFuzzerTestOneInput(copy, size);
    f->runs++;
    current = (struct input){0};
    free(copy);
}

/* Into a new place of the pool, or if it is full over an old one. */
static void pool_put(struct fuzz *f, const u8 *data, size_t size)
{
    struct input *at = &f->pool[f->count < POOL_MAX ? f->count : below(f, POOL_MAX)];
    u8 *copy = realloc(at->data, size ? size : 1);
    if (!copy)
        return;
    memcpy(copy, data, size);
    at->data = copy;
    at->size = size;
    f->count += f->count < POOL_MAX;
}

static int load_file(struct fuzz *f, const char *path)
{
    static u8 data[LENGTH_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    run(f, data, size);
    pool_put(f, data, size);
    return 0;
}

/* A file, or every file of a folder. */
static int load(struct fuzz *f, const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return load_file(f, path);
    int status = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char name[4096];
        struct stat st;
        int n = snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (n > 0 && (size_t)n < sizeof(name) && !stat(name, &st) && S_ISREG(st.st_mode))
            status |= load_file(f, name);
    }
    closedir(dir);
    return status;
}

/* Numbers that sit at the edges of lengths, offsets and sign bits. */
static size_t put_interesting(struct fuzz *f, u8 *data, size_t size)
{
    static const u64 values[] = {0,          1,           7,         8,      0x7f,     0x80,       0xff,
                                 0x100,      0x7fff,      0x8000,    0xffff, 0x10000,  0x7fffffff, 0x80000000,
                                 0xffffffff, 0x100000000, INT64_MAX, ~0ull,  ~0ull - 7};
    u64 v = values[below(f, ARRAY_SIZE(values))];
    size_t n = (size_t)1 << below(f, 4);
    if (n <= size)
        memcpy(data + below(f, size - n + 1), &v, n);
    return size;
}

static size_t insert_bytes(struct fuzz *f, u8 *data, size_t size)
{
    size_t n = 1 + below(f, 8), at = below(f, size + 1);
    if (size + n > f->length)
        return size;
    memmove(data + at + n, data + at, size - at);
    for (size_t i = 0; i < n; i++)
        data[at + i] = (u8)next_random(f);
    return size + n;
}

static size_t erase_bytes(struct fuzz *f, u8 *data, size_t size)
{
    size_t at = below(f, size), n = 1 + below(f, 8);
    if (n > size - at)
        n = size - at;
    memmove(data + at, data + at + n, size - at - n);
    return size - n;
}

/* The rest of another input from some place on. */
static size_t splice(struct fuzz *f, u8 *data, size_t size)
{
    const struct input *other = &f->pool[below(f, f->count)];
    size_t at = below(f, size + 1), from = below(f, other->size + 1), n = other->size - from;
    if (n > f->length - at)
        n = f->length - at;
    memcpy(data + at, other->data + from, n);
    return at + n > size ? at + n : size;
}

static size_t mutate(struct fuzz *f, u8 *data, size_t size)
{
    switch (below(f, 6)) {
    case 0:
        if (size)
            data[below(f, size)] ^= (u8)(1u << below(f, 8));
        return size;
    case 1:
        if (size)
            data[below(f, size)] = (u8)next_random(f);
        return size;
    case 2:
        return put_interesting(f, data, size);
    case 3:
        return insert_bytes(f, data, size);
    case 4:
        return size ? erase_bytes(f, data, size) : 0;
    default:
        return f->count ? splice(f, data, size) : size;
    }
}

/* A new input from the pool, or from nothing; some go back to the pool so that changes add up. */
static void run_one(struct fuzz *f)
{
    static u8 data[LENGTH_MAX];
    size_t size;
    if (!f->count || below(f, 8) == 0) {
        size = below(f, f->length + 1);
        for (size_t n = 0; n < size; n++)
            data[n] = (u8)next_random(f);
    } else {
        const struct input *from = &f->pool[below(f, f->count)];
        size = from->size < f->length ? from->size : f->length;
        memcpy(data, from->data, size);
    }
    for (size_t n = 1 + below(f, 6); n; n--)
        size = mutate(f, data, size);
    run(f, data, size);
    if (f->count < POOL_MAX || below(f, 16) == 0)
        pool_put(f, data, size);
}

static u64 now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

static void catch_deaths(void)
{
    static const int signals[] = {SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(print_current);
        signal(SIGALRM, on_signal);
        return;
    }
    for (size_t n = 0; n < ARRAY_SIZE(signals); n++)
        signal(signals[n], on_signal);
}

int main(int argc, char **argv)
{
    static struct fuzz f = {.length = 512};
    u64 seconds = 3, runs = 0, start = now_ms();
    int option, status = 0;
    f.random = seed_choose();
    while ((option = getopt(argc, argv, "t:n:s:l:")) != -1) {
        u64 value = optarg ? strtoull(optarg, NULL, 0) : 0;
        switch (option) {
        case 't':
            seconds = value;
            break;
        case 'n':
            runs = value;
            break;
        case 's':
            f.random = value;
            break;
        case 'l':
            f.length = value < LENGTH_MAX ? value : LENGTH_MAX;
            break;
        default:
            fprintf(stderr, "usage: %s [-t SECONDS] [-n RUNS] [-s SEED] [-l LENGTH] [FILE or FOLDER]...\n", argv[0]);
            return 2;
        }
    }
    printf("seed %" PRIu64 "\n", f.random);
    fflush(stdout);
    catch_deaths();
    for (int n = optind; n < argc; n++)
        status |= load(&f, argv[n]);
    u64 files = f.runs;
    while (runs ? f.runs < files + runs : f.runs % 64 || now_ms() - start < seconds * 1000)
        run_one(&f);
    printf("%" PRIu64 " inputs from files, %" PRIu64 " made\n", files, f.runs - files);
    while (f.count)
        free(f.pool[--f.count].data);
    return status ? 1 : 0;
}
