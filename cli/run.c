/*
 * ring3 run: makes a machine from the options and runs it on the terminal until it ends.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"
#include "options.h"
#include "ring3.h"
#include "signals.h"
#include "store.h"
#include "term.h"
#include "verb.h"

#define GAVE_UP 125

static void log_line(void *opaque, enum ring3_level level, const char *text)
{
    (void)opaque;
    (void)level;
    message("%s", text);
}

static void stat_line(void *opaque, unsigned cpu, const char *name, uint64_t value)
{
    (void)opaque;
    message("processor %u: %s %" PRIu64, cpu, name, value);
}

static int complain(int status, const struct ring3_error *err)
{
    message("%s", err->text);
    return status == RING3_BAD_INPUT ? EXIT_USAGE : EXIT_HOST;
}

/* The last line of a guest that was cut off does not end with a newline. */
static void end_line(void)
{
    ssize_t n = isatty(STDERR_FILENO) ? write(STDERR_FILENO, "\n", 1) : 0;
    (void)n;
}

static void tell_end(const struct ring3_end *end)
{
    if (end->reason == RING3_STOPPED)
        end_line();
    if (end->exit_status == GAVE_UP && (end->reason == RING3_RESET || end->reason == RING3_SHUTDOWN))
        message("the guest's kernel gave up");
    else if (end->reason == RING3_RESET)
        message("the guest asked for a reset: ended by --no-reboot");
    else if (end->reason == RING3_SHUTDOWN)
        message("the guest ran into a triple fault: ended by --no-reboot");
    else if (end->reason == RING3_CHECK_FAILED)
        message("ended by --check");
}

static int run_machine(struct ring3_vm *vm, const struct run_switches *sw)
{
    struct ring3_info info;
    struct ring3_error err;
    struct ring3_end end;
    ring3_vm_info(vm, &info);
    if (!sw->command) /* whose output is all that is wanted */
        message("engine: %s (%s)", info.engine, info.engine_reason);
    if (info.uses_stdio)
        term_begin();
    signals_watch(vm);
    int status = ring3_vm_run(vm, &end, &err);
    signals_watch(NULL);
    if (sw->stats)
        ring3_vm_stats(vm, stat_line, NULL);
    ring3_vm_destroy(vm); /* the last output comes out here */
    term_end();
    if (status)
        return complain(status, &err);
    tell_end(&end);
    signals_end();
    return end.exit_status;
}

static int set(struct ring3_config *cfg, const char *name, const char *value)
{
    struct ring3_error err;
    int status = *value ? ring3_config_set(cfg, name, value, &err) : RING3_OK;
    return status ? complain(status, &err) : 0;
}

/* The first disk; a comma in its path is written twice. */
static int set_disk(struct ring3_config *cfg, const char *path, const char *more)
{
    char *text = malloc(2 * strlen(path) + strlen(more) + 1), *to = text;
    if (!text) {
        message("out of memory");
        return EXIT_HOST;
    }
    for (; *path; path++) {
        *to++ = *path;
        if (*path == ',')
            *to++ = ',';
    }
    strcpy(to, more); /* fits */
    int status = set(cfg, "disk", text);
    free(text);
    return status;
}

/* A file, or the name of an image. What the image says goes before the options, so that those win. */
static int take_image(struct ring3_config *cfg, const char *word)
{
    struct store_image image;
    struct stat st;
    char more[32];
    if (stat(word, &st) == 0 && !S_ISDIR(st.st_mode))
        return set_disk(cfg, word, "");
    if (strchr(word, '/')) {
        message("run: %s: no such file", word);
        return EXIT_USAGE;
    }
    int status = store_find("run", word, &image);
    (void)snprintf(more, sizeof(more), ",format=%.15s", image.format);
    if (!status)
        status = set_disk(cfg, image.disk, more);
    if (!status)
        status = set(cfg, "memory", image.memory);
    if (!status)
        status = set(cfg, "cpus", image.cpus);
    return status ? status : set(cfg, "cmdline", image.cmdline);
}

static void help(void);

static int run_config(int argc, char **argv, struct ring3_config *cfg)
{
    struct run_switches sw = {0};
    struct ring3_error err;
    struct ring3_vm *vm;
    if (ring3_config_set(cfg, "sandbox", SANDBOX_PRESET, &err)) /* the library's is none */
        return complain(RING3_FAILED, &err);
    int status = options_parse(argc, argv, NULL, &sw);
    if (!status && sw.image && !sw.help)
        status = take_image(cfg, sw.image);
    if (!status)
        status = options_parse(argc, argv, cfg, &sw);
    if (status)
        return status;
    if (sw.help) {
        help();
        return EXIT_GOOD;
    }
    if (sw.stats && ring3_config_set(cfg, "timing", "on", &err))
        return complain(RING3_FAILED, &err);
    ring3_config_log(cfg, RING3_INFO, log_line, NULL);
    status = ring3_vm_create(cfg, &vm, &err);
    return status ? complain(status, &err) : run_machine(vm, &sw);
}

static int run(int argc, char **argv)
{
    struct ring3_config *cfg = ring3_config_create();
    if (!cfg || signals_begin()) {
        message("out of memory or threads");
        ring3_config_destroy(cfg);
        return EXIT_HOST;
    }
    int status = run_config(argc, argv, cfg);
    ring3_config_destroy(cfg);
    return status;
}

static void help(void)
{
    const char *name, *text;
    printf("\nIMAGE is a file, or a name that `ring3 image list` shows: it becomes the first disk.\n"
           "Without --kernel and --firmware the kernel on the first disk is started; without a disk, a small built-in "
           "guest.\n\nOptions\n");
    options_print();
    printf("\nProcessor models (--cpu)\n");
    for (unsigned i = 0; (name = ring3_cpu_at(i, &text)); i++)
        printf("  %-28s %s\n", name, text);
    printf("\nEngines in this build (--engine)\n");
    for (unsigned i = 0; (name = ring3_engine_at(i, &text)); i++)
        printf("  %-28s %s\n", name, text);
    printf("\nKeys, while the guest has the terminal\n"
           "  Ctrl-a x                     end the machine\n"
           "  Ctrl-a c                     switch between the guest and the monitor\n"
           "  Ctrl-a b                     send a break\n"
           "  Ctrl-a h                     show the keys\n"
           "  Ctrl-a Ctrl-a                send Ctrl-a\n"
           "\nExit status\n"
           "  0         the guest powered off, or was ended by Ctrl-a x or a reset under --no-reboot\n"
           "  1         the host refused memory, threads or the like\n"
           "  2         bad options, or a file that cannot be used\n"
           "  3         triple fault under --no-reboot\n"
           "  4         --check found a difference, or the translator found its own code wrong\n"
           "  odd       (VALUE << 1) | 1 after a debug exit\n"
           "  0 to 255  --root: the command's; 125 if the guest's kernel did not get so far, 126 if it could not be "
           "run, 127 if\n"
           "            it is not there\n"
           "  128 + n   ended by signal n; 159 by the sandbox, with a line that says why\n");
}

const struct verb verb_run = {.name = "run",
                              .args = "[OPTION]... [IMAGE] [-- COMMAND]",
                              .text = "run a guest on this terminal",
                              .run = run,
                              .help = help};
