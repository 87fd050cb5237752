#include "options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "message.h"
#include "verb.h"

static const struct {
    const char *name, *text;
    size_t place;
} switches[] = {
    {"stats", "print the counters of the engine at the end", offsetof(struct run_switches, stats)},
    {"help", "this text", offsetof(struct run_switches, help)},
};

#define SWITCHES (sizeof(switches) / sizeof(switches[0]))

/* An argument "--name=value" taken apart. */
struct argument {
    const char *text;  /* as given */
    const char *name;  /* behind the dashes */
    size_t len;        /* of the name */
    const char *value; /* behind '=', or NULL */
};

static bool argument_read(const char *text, struct argument *a)
{
    if (text[0] != '-' || !text[1])
        return false;
    a->text = text;
    a->name = text + (text[1] == '-' ? 2 : 1);
    a->len = strcspn(a->name, "=");
    a->value = a->name[a->len] ? a->name + a->len + 1 : NULL;
    return a->len > 0;
}

static bool argument_is(const struct argument *a, const char *name)
{
    return name && strlen(name) == a->len && strncmp(name, a->name, a->len) == 0;
}

static const struct ring3_option *option_of(const struct argument *a)
{
    const struct ring3_option *o;
    for (unsigned i = 0; (o = ring3_option_at(i)); i++)
        if (argument_is(a, o->name) || argument_is(a, o->alias))
            return o;
    return NULL;
}

static bool *switch_of(const struct argument *a, struct run_switches *sw)
{
    for (unsigned i = 0; i < SWITCHES; i++)
        if (argument_is(a, switches[i].name))
            return (bool *)((char *)sw + switches[i].place);
    return NULL;
}

static int set(struct ring3_config *cfg, const char *name, const char *value)
{
    struct ring3_error err;
    int status = cfg ? ring3_config_set(cfg, name, value, &err) : 0;
    if (status)
        message("%s", err.text);
    return status == RING3_FAILED ? EXIT_HOST : status ? EXIT_USAGE : 0;
}

/* Takes one option from argv[*i], and its value from the word behind it where it has one; leaves *i at the last word
 * taken. */
static int option_take(int argc, char **argv, int *i, struct ring3_config *cfg, struct run_switches *sw)
{
    struct argument a;
    if (!argument_read(argv[*i], &a)) {
        if (!sw->image)
            sw->image = argv[*i];
        if (sw->image == argv[*i])
            return 0;
        message("%s: only one image is started, and %s is; options begin with --, and `ring3 help run` lists them",
                argv[*i], sw->image);
        return EXIT_USAGE;
    }
    const struct ring3_option *o = option_of(&a);
    bool *own = o ? NULL : switch_of(&a, sw);
    if (!o && !own) {
        message("%s: no such option; `ring3 help run` lists them", a.text);
        return EXIT_USAGE;
    }
    if ((!o || !o->value) && a.value) {
        message("%s: this switch takes no value; give --%.*s", a.text, (int)a.len, a.name);
        return EXIT_USAGE;
    }
    if (own) {
        *own = true;
        return 0;
    }
    if (!o->value)
        return set(cfg, o->name, "on");
    if (!a.value && *i + 1 == argc) {
        message("%s: the value is missing; give %s %s", a.text, a.text, o->value);
        return EXIT_USAGE;
    }
    return set(cfg, o->name, a.value ? a.value : argv[++*i]);
}

static int command_take(int count, char **words, struct ring3_config *cfg, struct run_switches *sw)
{
    struct ring3_error err;
    if (!count) {
        message("--: the command is missing; give it behind, or leave -- out for a shell; `ring3 help run` tells more");
        return EXIT_USAGE;
    }
    sw->command = true;
    if (!cfg || !ring3_config_command(cfg, (unsigned)count, (const char *const *)words, &err))
        return 0;
    message("%s", err.text);
    return EXIT_HOST;
}

int options_parse(int argc, char **argv, struct ring3_config *cfg, struct run_switches *sw)
{
    int status = 0, i = 1;
    for (; i < argc && !status && strcmp(argv[i], "--") != 0; i++)
        status = option_take(argc, argv, &i, cfg, sw);
    return status || i == argc ? status : command_take(argc - i - 1, argv + i + 1, cfg, sw);
}

static void option_print(const char *name, const char *alias, const char *value, const char *preset, const char *text)
{
    char left[64];
    snprintf(left, sizeof(left), "--%s%s%s%s%s", name, alias ? ", -" : "", alias ? alias : "", value ? " " : "",
             value ? value : "");
    printf("  %-28s %s", left, text);
    if (preset && value)
        printf(" [%s]", preset);
    printf("\n");
}

void options_print(void)
{
    const struct ring3_option *o;
    for (unsigned i = 0; (o = ring3_option_at(i)); i++)
        option_print(o->name, o->alias, o->value, o->preset, o->text);
    for (unsigned i = 0; i < SWITCHES; i++)
        option_print(switches[i].name, NULL, NULL, NULL, switches[i].text);
}
