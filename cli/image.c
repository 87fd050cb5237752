/*
 * ring3 image: makes images of whole systems, and keeps them by name (store.h).
 */
#include "image.h"

#include <stdio.h>
#include <string.h>

#include "message.h"
#include "ring3.h"
#include "size.h"
#include "store.h"
#include "verb.h"

struct action {
    const char *name;
    unsigned least, most; /* words */
    const char *options;  /* those that it takes, each between blanks */
    const char *args, *text;
    int (*run)(const struct image_args *a);
};

struct listing {
    bool json;
    unsigned count;
};

static bool look_at(const struct store_image *image, struct ring3_disk_info *info)
{
    struct ring3_disk_image disk = {.path = image->disk, .format = image->format};
    return ring3_disk_info(&disk, info, NULL) == RING3_OK;
}

/* One that is in use cannot be opened, and its sizes stay unsaid. */
static bool list_one(void *opaque, const struct store_image *image)
{
    struct listing *l = opaque;
    struct ring3_disk_info info;
    char size[SIZE_TEXT] = "-", taken[SIZE_TEXT] = "-";
    bool used = store_is_used(image), known = !used && look_at(image, &info);
    if (known) {
        (void)size_text(info.size, size);
        (void)size_text(info.allocated, taken);
    }
    if (l->json) {
        printf("%s\n  {\"name\": \"%s\", \"format\": \"%s\", \"made\": \"%.30s\", \"used\": %s", l->count ? "," : "",
               image->name, image->format, image->made, used ? "true" : "false");
        if (known)
            printf(", \"size\": %llu, \"allocated\": %llu", (unsigned long long)info.size,
                   (unsigned long long)info.allocated);
        printf("}");
    } else {
        if (!l->count)
            printf("%-20s %-7s %12s %12s %-11s %s\n", "NAME", "FORMAT", "SIZE", "ON THE HOST", "MADE", "STATE");
        printf("%-20s %-7s %12s %12s %-11.10s %s\n", image->name, image->format, size, taken, image->made,
               used ? "in use" : "free");
    }
    l->count++;
    return true;
}

static int list(const struct image_args *a)
{
    struct listing l = {.json = a->json};
    if (l.json)
        printf("[");
    int status = store_each("image list", list_one, &l);
    if (l.json)
        printf("\n]\n");
    else if (!status && !l.count)
        message("there are no images; `ring3 image debian NAME` makes one");
    return status;
}

static int remove_image(const struct image_args *a)
{
    return store_remove("image remove", a->word[0]);
}

static int show_path(const struct image_args *a)
{
    struct store_image image;
    int status = store_find("image path", a->word[0], &image);
    if (!status)
        printf("%s\n", image.disk);
    return status;
}

static const struct action actions[] = {
    {"debian", 1, 1, " --suite --size --include --mirror --format ",
     "[--suite SUITE] [--size SIZE] [--include PACKAGE,...] [--mirror URL] [--format raw|qcow2] NAME",
     "make a disk with Debian on it, from its packages; no privilege is needed", image_debian},
    {"import", 1, 2, " --size --format ", "[--size SIZE] [--format raw|qcow2] FILE [NAME]",
     "copy a disk image, raw or qcow2, also one packed by xz, zstd or gzip", image_import},
    {"list", 0, 0, " --json ", "[--json]", "show the images", list},
    {"path", 1, 1, " ", "NAME", "print the path of an image's disk", show_path},
    {"remove", 1, 1, " ", "NAME", "remove an image that is not in use", remove_image},
};

#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

/* --- arguments -------------------------------------------------------------------------------------------------- */

static bool takes(const struct action *act, const char *name, size_t length)
{
    for (const char *p = act->options; (p = strchr(p, '-')); p += strcspn(p, " "))
        if (strncmp(p, name, length) == 0 && p[length] == ' ')
            return true;
    return false;
}

static int set_value(const struct action *act, struct image_args *a, const char *name, size_t length, const char *value)
{
    const struct {
        const char *name;
        const char **place;
    } texts[] = {
        {"--suite", &a->suite}, {"--include", &a->include}, {"--mirror", &a->mirror}, {"--format", &a->format}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strncmp(texts[i].name, name, length) == 0 && !texts[i].name[length])
            *texts[i].place = value;
    if (strncmp("--size", name, length) == 0 && (!size_read(value, &a->size) || !a->size || a->size % 4096)) {
        message("image %s: --size %s: not a size; give a number with M, G or T, such as 8G", act->name, value);
        return EXIT_USAGE;
    }
    if (a->format && strcmp(a->format, "raw") != 0 && strcmp(a->format, "qcow2") != 0) {
        message("image %s: --format %s: no such format; give raw or qcow2", act->name, a->format);
        return EXIT_USAGE;
    }
    return EXIT_GOOD;
}

/* One option, at *argv; how many arguments it takes in *used. */
static int read_option(const struct action *act, struct image_args *a, char **argv, int left, int *used)
{
    const char *name = argv[0], *value = strchr(name, '=');
    size_t length = value ? (size_t)(value - name) : strlen(name);
    *used = 1;
    if (strcmp(name, "--help") == 0) {
        a->help = true;
        return EXIT_GOOD;
    }
    if (!takes(act, name, length)) {
        message("image %s: %s: no such option; `ring3 help image` lists them", act->name, name);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--json") == 0) {
        a->json = true;
        return EXIT_GOOD;
    }
    if (!value && left < 2) {
        message("image %s: %s: needs a value", act->name, name);
        return EXIT_USAGE;
    }
    *used = value ? 1 : 2;
    return set_value(act, a, name, length, value ? value + 1 : argv[1]);
}

static int read_args(const struct action *act, struct image_args *a, int argc, char **argv)
{
    for (int i = 0, used = 1; i < argc; i += used) {
        used = 1;
        if (argv[i][0] == '-') {
            int status = read_option(act, a, argv + i, argc - i, &used);
            if (status)
                return status;
        } else if (a->words == act->most) {
            message("image %s: %s: one argument too many; usage: ring3 image %s %s", act->name, argv[i], act->name,
                    act->args);
            return EXIT_USAGE;
        } else {
            a->word[a->words++] = argv[i];
        }
    }
    if (a->words >= act->least || a->help)
        return EXIT_GOOD;
    message("image %s: something is missing; usage: ring3 image %s %s", act->name, act->name, act->args);
    return EXIT_USAGE;
}

static void help(void);

static int run(int argc, char **argv)
{
    struct image_args a = {0};
    if (argc < 2) {
        message("image: nothing to do; give debian, import, list, path or remove");
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
    message("image: %s: no such action; give debian, import, list, path or remove", argv[1]);
    return EXIT_USAGE;
}

static void help(void)
{
    for (size_t i = 0; i < ACTIONS; i++)
        printf("\n  ring3 image %s %s\n      %s\n", actions[i].name, actions[i].args, actions[i].text);
    printf(
        "\n`ring3 run NAME` starts an image. Images are folders in XDG_DATA_HOME/ring3/images (~/.local/share/...).\n"
        "\nExamples\n"
        "  ring3 image debian deb\n"
        "  ring3 image debian --suite trixie --size 20G --include openssh-server,gcc build\n"
        "  ring3 run deb\n"
        "  ring3 image import debian-12-genericcloud-amd64.qcow2 cloud\n"
        "  ring3 run cloud --cloud-init user-data\n"
        "\nExit status\n"
        "  0   done\n"
        "  1   the host refused something: no room, a program that failed\n"
        "  2   bad arguments, or a file that cannot be used\n");
}

const struct verb verb_image = {.name = "image",
                                .args = "ACTION ...",
                                .text = "make, import, list, remove images of systems",
                                .run = run,
                                .help = help};
