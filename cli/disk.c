/*
 * ring3 disk: makes, shows, checks, copies and resizes disk images.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "message.h"
#include "ring3.h"
#include "size.h"
#include "verb.h"

enum { EXIT_FOUND = 1, EXIT_LEAKS = 3 };

/* What the arguments say, for any of the actions. */
struct disk_args {
    const char *word[3]; /* those that are no options */
    unsigned words;
    const char *format, *from_format, *repair;
    const char *backing[RING3_DISK_BACKING_MAX];
    unsigned backings;
    uint64_t cluster_size;
    bool force, json, compress, shrink, help;
};

struct action {
    const char *name;
    unsigned least, most; /* words */
    const char *options;  /* those that it takes, each between blanks */
    const char *args, *text;
    int (*run)(const struct disk_args *a);
};

static int complain(int status, const struct ring3_error *err)
{
    message("disk: %s", err->text);
    return status == RING3_BAD_INPUT ? EXIT_USAGE : EXIT_HOST;
}

/* Sizes */

static int bad_size(const char *text)
{
    message("disk: %s: not a size; give a number with K, M, G or T, such as 20G", text);
    return EXIT_USAGE;
}

static void print_size(const char *name, uint64_t size)
{
    char text[SIZE_TEXT];
    if (size >= 1024)
        printf("%-14s%s (%" PRIu64 " bytes)\n", name, size_text(size, text), size);
    else
        printf("%-14s%s\n", name, size_text(size, text));
}

/* Actions */

static struct ring3_disk_image image_of(const struct disk_args *a, const char *format)
{
    return (struct ring3_disk_image){
        .path = a->word[0], .format = format, .backing = a->backing, .backings = a->backings};
}

static int create(const struct disk_args *a)
{
    struct ring3_error err;
    struct ring3_disk_new new = {
        .path = a->word[0],
        .format = a->format,
        .size_of_backing = a->words < 2,
        .backing = a->backings ? a->backing[0] : NULL,
        .cluster_size = (uint32_t)a->cluster_size,
        .force = a->force,
    };
    if (a->backings > 1) {
        message("disk create: --backing: an image has one below it; the one below that is the other's");
        return EXIT_USAGE;
    }
    if (a->words < 2 && !a->backings) {
        message("disk create: no size; give FILE SIZE, such as disk.qcow2 20G");
        return EXIT_USAGE;
    }
    if (a->words > 1 && !size_read(a->word[1], &new.size))
        return bad_size(a->word[1]);
    int status = ring3_disk_create(&new, &err);
    return status ? complain(status, &err) : EXIT_GOOD;
}

static void print_json_text(const char *name, const char *text)
{
    printf(",\n  \"%s\": \"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < ' ' || *text == 0x7f)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static void info_json(const struct ring3_disk_info *info)
{
    printf("{\n  \"format\": \"%s\",\n  \"size\": %" PRIu64 ",\n  \"allocated\": %" PRIu64, info->format, info->size,
           info->allocated);
    if (info->version) {
        printf(",\n  \"version\": %u,\n  \"cluster-size\": %" PRIu32 ",\n  \"refcount-bits\": %u", info->version,
               info->cluster_size, info->refcount_bits);
        print_json_text("compression", info->compression);
        printf(",\n  \"snapshots\": %u,\n  \"bitmaps\": %u", info->snapshots, info->bitmaps);
        printf(",\n  \"dirty\": %s,\n  \"corrupt\": %s,\n  \"lazy-refcounts\": %s", truth(info->dirty),
               truth(info->corrupt), truth(info->lazy_refcounts));
    }
    if (info->backing[0])
        print_json_text("backing", info->backing);
    if (info->backing_format[0])
        print_json_text("backing-format", info->backing_format);
    printf("\n}\n");
}

/* A name out of a file must not reach the terminal as a command. */
static void print_name(const char *name, const char *text)
{
    printf("%-14s", name);
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
    putchar('\n');
}

static void info_text(const struct ring3_disk_info *info)
{
    printf("%-14s%s\n", "format", info->format);
    print_size("size", info->size);
    print_size("on the host", info->allocated);
    if (!info->version)
        return;
    printf("%-14s%u\n", "version", info->version);
    print_size("clusters of", info->cluster_size);
    printf("%-14s%u bits\n", "refcounts of", info->refcount_bits);
    printf("%-14s%s\n", "compression", info->compression);
    if (info->snapshots)
        printf("%-14s%u\n", "snapshots", info->snapshots);
    if (info->bitmaps)
        printf("%-14s%u\n", "bitmaps", info->bitmaps);
    if (info->backing[0])
        print_name("backing file", info->backing);
    if (info->backing_format[0])
        print_name("  its format", info->backing_format);
    if (info->dirty)
        printf("%-14snot closed by its writer: refcounts may be behind\n", "dirty");
    if (info->corrupt)
        printf("%-14smarked as damaged: see `ring3 disk check`\n", "corrupt");
}

static int info(const struct disk_args *a)
{
    struct ring3_error err;
    struct ring3_disk_info info;
    struct ring3_disk_image image = image_of(a, a->format);
    int status = ring3_disk_info(&image, &info, &err);
    if (status)
        return complain(status, &err);
    if (a->json)
        info_json(&info);
    else
        info_text(&info);
    return EXIT_GOOD;
}

static void print_line(void *opaque, const char *line)
{
    (void)opaque;
    printf("%s\n", line);
}

static int check(const struct disk_args *a)
{
    static const char *const repairs[] = {
        [RING3_REPAIR_NONE] = "none", [RING3_REPAIR_LEAKS] = "leaks", [RING3_REPAIR_ALL] = "all"};
    struct ring3_error err;
    struct ring3_disk_check found;
    struct ring3_disk_image image = image_of(a, "qcow2");
    unsigned repair = RING3_REPAIR_NONE;
    if (a->repair)
        for (repair = RING3_REPAIR_ALL; repair && strcmp(repairs[repair], a->repair) != 0;)
            repair--;
    if (a->repair && !repair) {
        message("disk check: --repair %s: no such repair; give leaks or all", a->repair);
        return EXIT_USAGE;
    }
    int status = ring3_disk_check(&image, (enum ring3_disk_repair)repair, print_line, NULL, &found, &err);
    if (status)
        return complain(status, &err);
    printf("%" PRIu64 " errors, %" PRIu64 " leaked clusters", found.errors, found.leaks);
    if (repair)
        printf(" are left, %" PRIu64 " repaired", found.repaired);
    printf("; %" PRIu64 " clusters in use, %" PRIu64 " of them compressed\n", found.used, found.compressed);
    return found.errors ? EXIT_FOUND : found.leaks ? EXIT_LEAKS : EXIT_GOOD;
}

/* Ctrl-C and the like end a copy in order, so that nothing is left behind. */
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
}

struct progress {
    bool shown, terminal;
    struct timespec begin, last;
};

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static bool show_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct progress *p = opaque;
    if (p->terminal && seconds_since(&p->begin) > 1 && (seconds_since(&p->last) > 0.2 || done == total)) {
        (void)clock_gettime(CLOCK_MONOTONIC, &p->last);
        p->shown = true;
        fprintf(stderr, "\r%5.1f %%", total ? 100.0 * (double)done / (double)total : 100.0);
        (void)fflush(stderr);
    }
    return !interrupted;
}

static int convert(const struct disk_args *a)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct ring3_error err;
    struct progress p = {.terminal = isatty(STDERR_FILENO)};
    struct ring3_disk_copy copy = {
        .from = image_of(a, a->from_format),
        .to = a->word[1],
        .format = a->format,
        .cluster_size = (uint32_t)a->cluster_size,
        .compress = a->compress,
        .force = a->force,
        .progress = show_progress,
        .opaque = &p,
    };
    (void)clock_gettime(CLOCK_MONOTONIC, &p.begin);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)signal(signals[i], on_signal);
    int status = ring3_disk_convert(&copy, &err);
    if (p.shown)
        fprintf(stderr, "\n");
    if (status)
        (void)complain(status, &err);
    if (interrupted) { /* so that a shell sees what ended it */
        (void)signal(interrupted, SIG_DFL);
        (void)raise(interrupted);
    }
    return !status ? EXIT_GOOD : status == RING3_BAD_INPUT ? EXIT_USAGE : EXIT_HOST;
}

static int resize(const struct disk_args *a)
{
    struct ring3_error err;
    const char *text = a->word[1];
    struct ring3_disk_size size = {.image = image_of(a, a->format), .grow_by = text[0] == '+', .shrink = a->shrink};
    if (!size_read(text + size.grow_by, &size.size))
        return bad_size(text);
    int status = ring3_disk_resize(&size, &err);
    return status ? complain(status, &err) : EXIT_GOOD;
}

static const struct action actions[] = {
    {"create", 1, 2, " --format --backing --cluster-size --force ",
     "[--format qcow2|raw] [--backing FILE] [--cluster-size SIZE] [--force] FILE [SIZE]",
     "make an empty disk; over a backing file, which is as large if there is no SIZE", create},
    {"info", 1, 1, " --format --json ", "[--format qcow2|raw] [--json] FILE", "show what an image is", info},
    {"check", 1, 1, " --repair ", "[--repair leaks|all] FILE", "look for damage in a qcow2 image", check},
    {"convert", 2, 2, " --format --from --backing --compress --cluster-size --force ",
     "[--format qcow2|raw] [--from qcow2|raw] [--backing FILE]... [--compress] [--cluster-size SIZE] [--force] FILE "
     "NEW",
     "copy an image, and what its backing files have, into a new one", convert},
    {"resize", 2, 2, " --format --backing --shrink ",
     "[--format qcow2|raw] [--backing FILE]... [--shrink] FILE SIZE|+SIZE", "change the size of the disk", resize},
};

#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

/* Arguments */

static bool takes(const struct action *act, const char *name, size_t length)
{
    for (const char *p = act->options; (p = strchr(p, '-')); p += strcspn(p, " "))
        if (strncmp(p, name, length) == 0 && p[length] == ' ')
            return true;
    return false;
}

/* The place for a switch, NULL if it is none. */
static bool *switch_of(struct disk_args *a, const char *name)
{
    const struct {
        const char *name;
        bool *place;
    } switches[] = {
        {"--force", &a->force}, {"--json", &a->json}, {"--compress", &a->compress}, {"--shrink", &a->shrink}};
    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if (strcmp(switches[i].name, name) == 0)
            return switches[i].place;
    return NULL;
}

static int set_value(struct disk_args *a, const char *name, size_t length, const char *value)
{
    const struct {
        const char *name;
        const char **place;
    } texts[] = {{"--format", &a->format}, {"--from", &a->from_format}, {"--repair", &a->repair}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strncmp(texts[i].name, name, length) == 0 && !texts[i].name[length]) {
            *texts[i].place = value;
            return EXIT_GOOD;
        }
    if (strncmp("--cluster-size", name, length) == 0) {
        if (size_read(value, &a->cluster_size) && a->cluster_size && a->cluster_size <= UINT32_MAX)
            return EXIT_GOOD;
        return bad_size(value);
    }
    if (a->backings == RING3_DISK_BACKING_MAX) {
        message("disk: --backing: more than %d images below", RING3_DISK_BACKING_MAX);
        return EXIT_USAGE;
    }
    a->backing[a->backings++] = value;
    return EXIT_GOOD;
}

/* One option, at *argv; how many arguments it takes in *used. */
static int read_option(const struct action *act, struct disk_args *a, char **argv, int left, int *used)
{
    const char *name = argv[0], *value = strchr(name, '=');
    size_t length = value ? (size_t)(value - name) : strlen(name);
    *used = 1;
    if (strcmp(name, "--help") == 0) {
        a->help = true;
        return EXIT_GOOD;
    }
    if (!takes(act, name, length)) {
        message("disk %s: %s: no such option; `ring3 help disk` lists them", act->name, name);
        return EXIT_USAGE;
    }
    bool *place = switch_of(a, name);
    if (place) {
        *place = true;
        return EXIT_GOOD;
    }
    if (!value && left < 2) {
        message("disk %s: %s: needs a value", act->name, name);
        return EXIT_USAGE;
    }
    *used = value ? 1 : 2;
    return set_value(a, name, length, value ? value + 1 : argv[1]);
}

static int read_args(const struct action *act, struct disk_args *a, int argc, char **argv)
{
    bool options = true;
    for (int i = 0, used = 1; i < argc; i += used) {
        used = 1;
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            int status = read_option(act, a, argv + i, argc - i, &used);
            if (status)
                return status;
        } else if (!*argv[i]) {
            message("disk %s: an empty argument; give the path of a file", act->name);
            return EXIT_USAGE;
        } else if (a->words == act->most) {
            message("disk %s: %s: one argument too many; usage: ring3 disk %s %s", act->name, argv[i], act->name,
                    act->args);
            return EXIT_USAGE;
        } else {
            a->word[a->words++] = argv[i];
        }
    }
    if (a->words >= act->least || a->help)
        return EXIT_GOOD;
    message("disk %s: something is missing; usage: ring3 disk %s %s", act->name, act->name, act->args);
    return EXIT_USAGE;
}

static void help(void);

static int run(int argc, char **argv)
{
    struct disk_args a = {0};
    if (argc < 2) {
        message("disk: nothing to do; give create, info, check, convert or resize");
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0) {
        help();
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < ACTIONS; i++) {
        if (strcmp(actions[i].name, argv[1]) != 0)
            continue;
        int status = read_args(&actions[i], &a, argc - 2, argv + 2);
        if (a.help)
            help();
        return status || a.help ? status : actions[i].run(&a);
    }
    message("disk: %s: no such action; give create, info, check, convert or resize", argv[1]);
    return EXIT_USAGE;
}

static void help(void)
{
    for (size_t i = 0; i < ACTIONS; i++)
        printf("\n  ring3 disk %s %s\n      %s\n", actions[i].name, actions[i].args, actions[i].text);
    printf(
        "\nSizes are bytes, or numbers with K, M, G or T. A file that is there is never overwritten without --force.\n"
        "\nExamples\n"
        "  ring3 disk create disk.qcow2 20G\n"
        "  ring3 disk create --backing base.qcow2 mine.qcow2\n"
        "  ring3 disk convert --format raw --backing base.qcow2 mine.qcow2 whole.img\n"
        "  ring3 disk convert --compress disk.qcow2 small.qcow2\n"
        "  ring3 disk resize disk.qcow2 +10G\n"
        "\nExit status\n"
        "  0   done; for check: nothing is wrong\n"
        "  1   the host refused something: no room, no memory; for check: errors were found\n"
        "  2   bad arguments, or a file that cannot be used\n"
        "  3   check found leaked clusters and nothing worse\n");
}

const struct verb verb_disk = {.name = "disk",
                               .args = "ACTION ...",
                               .text = "make, show, check, copy, resize disk images",
                               .run = run,
                               .help = help};
