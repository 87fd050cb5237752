/*
 * ring3.h on top of vm/ and debug/.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/option.h"
#include "cpu/model.h"
#include "debug/monitor.h"
#include "engine/engine.h"
#include "vm/vm.h"

#define GUEST_GAVE_UP 125 /* as the guest's first process says it (guests/root/init.c) */

struct ring3_config {
    struct config_value {
        char **text;     /* more than one only where the option repeats */
        unsigned count;  /* 0 where the preset holds */
    } value[OPTION_MAX]; /* by row */
    struct config_value command;
    struct log log;
    ring3_log_fn *log_fn;
    void *log_opaque;
    ring3_event_fn *event_fn;
    void *event_opaque;
};

struct ring3_vm {
    struct ring3_config *cfg; /* our copy */
    struct vm_config vc;
    struct vm *vm;
    struct monitor *monitor;
};

const char *ring3_version(void)
{
    return RING3_VERSION;
}

const char *ring3_cpu_at(unsigned n, const char **text)
{
    const struct cpu_model *m = cpu_model_at(n);
    *text = m ? m->brand : NULL;
    return m ? m->name : NULL;
}

const char *ring3_engine_at(unsigned n, const char **text)
{
    if (n == 0) {
        *text = "the best that runs here";
        return "auto";
    }
    for (unsigned i = 0; engines[i]; i++)
        if (i == n - 1) {
            *text = engines[i]->text;
            return engines[i]->name;
        }
    return NULL;
}

static int status_public(int status)
{
    if (!status)
        return RING3_OK;
    return status == -ENOMEM || status == -EMFILE || status == -ENFILE || status == -EAGAIN ? RING3_FAILED
                                                                                            : RING3_BAD_INPUT;
}

static int fail(struct ring3_error *out, int status, const struct error *err)
{
    if (out)
        snprintf(out->text, sizeof(out->text), "%s", err->text);
    return status_public(status);
}

struct ring3_config *ring3_config_create(void)
{
    return calloc(1, sizeof(struct ring3_config));
}

static void value_clear(struct config_value *v)
{
    for (unsigned i = 0; i < v->count; i++)
        free(v->text[i]);
    free(v->text);
    *v = (struct config_value){0};
}

static int value_add(struct config_value *v, const char *text)
{
    char **grown = realloc(v->text, (v->count + 1) * sizeof(*grown));
    char *copy = strdup(text);
    if (grown)
        v->text = grown;
    if (!grown || !copy) {
        free(copy);
        return -ENOMEM;
    }
    v->text[v->count++] = copy;
    return 0;
}

/* Takes the old values away when the new one is there. */
static int value_replace(struct config_value *v, const char *text)
{
    struct config_value fresh = {0};
    int status = value_add(&fresh, text);
    if (status) {
        value_clear(&fresh);
        return status;
    }
    value_clear(v);
    *v = fresh;
    return 0;
}

void ring3_config_destroy(struct ring3_config *cfg)
{
    if (!cfg)
        return;
    for (unsigned i = 0; i < OPTION_MAX; i++)
        value_clear(&cfg->value[i]);
    value_clear(&cfg->command);
    free(cfg);
}

/* Reads one option's value into its place in *vc. */
static int option_parse(const struct option *o, const char *value, struct vm_config *vc, struct error *err)
{
    char who[300];
    if (o->public.value)
        snprintf(who, sizeof(who), "--%s %s", o->public.name, value);
    else
        snprintf(who, sizeof(who), "--%s=%s", o->public.name, value);
    return o->parse(who, value, (char *)vc + o->place, err);
}

int ring3_config_set(struct ring3_config *cfg, const char *name, const char *value, struct ring3_error *err)
{
    struct error why = {0};
    struct vm_config scratch = {0};
    unsigned index;
    const struct option *o = option_find(name, &index);
    if (!o)
        return fail(err, error_set(&why, -EINVAL, "--%s: no such option; `ring3 help run` lists them", name), &why);
    struct config_value *v = &cfg->value[index];
    int status = option_parse(o, value, &scratch, &why);
    if (!status && (o->public.repeats ? value_add(v, value) : value_replace(v, value)))
        status = error_set(&why, -ENOMEM, "out of memory");
    return status ? fail(err, status, &why) : RING3_OK;
}

int ring3_config_command(struct ring3_config *cfg, unsigned count, const char *const *words, struct ring3_error *err)
{
    struct error why = {0};
    int status = 0;
    value_clear(&cfg->command);
    for (unsigned n = 0; n < count && !status; n++)
        status = value_add(&cfg->command, words[n]);
    return status ? fail(err, error_set(&why, status, "out of memory"), &why) : RING3_OK;
}

void ring3_config_log(struct ring3_config *cfg, enum ring3_level level, ring3_log_fn *log, void *opaque)
{
    cfg->log.level = (enum log_level)level;
    cfg->log_fn = log;
    cfg->log_opaque = opaque;
}

void ring3_config_events(struct ring3_config *cfg, ring3_event_fn *event, void *opaque)
{
    cfg->event_fn = event;
    cfg->event_opaque = opaque;
}

static void log_out(void *opaque, enum log_level level, const char *text)
{
    const struct ring3_config *cfg = opaque;
    cfg->log_fn(cfg->log_opaque, (enum ring3_level)level, text);
}

static void event_out(void *opaque, enum vm_event ev)
{
    static const enum ring3_event events[] = {
        [VM_EVENT_RUNNING] = RING3_EVENT_RUNNING,
        [VM_EVENT_PAUSED] = RING3_EVENT_PAUSED,
        [VM_EVENT_RESET] = RING3_EVENT_RESET,
    };
    const struct ring3_config *cfg = opaque;
    cfg->event_fn(cfg->event_opaque, events[ev]);
}

static struct ring3_config *config_copy(const struct ring3_config *from)
{
    struct ring3_config *to = ring3_config_create();
    if (!to)
        return NULL;
    *to = *from;
    memset(to->value, 0, sizeof(to->value));
    to->command = (struct config_value){0};
    int status = 0;
    for (unsigned n = 0; n < from->command.count && !status; n++)
        status = value_add(&to->command, from->command.text[n]);
    for (unsigned i = 0; i < OPTION_MAX; i++)
        for (unsigned n = 0; n < from->value[i].count && !status; n++)
            status = value_add(&to->value[i], from->value[i].text[n]);
    if (status) {
        ring3_config_destroy(to);
        return NULL;
    }
    to->log.sink = to->log_fn ? log_out : NULL;
    to->log.opaque = to;
    return to;
}

/* What one option means only together with another. */
static int options_agree(const struct vm_config *vc, struct error *err)
{
    bool kernel = vc->kernel || (vc->disk.count && !vc->firmware); /* one is looked for on the disk */
    if (vc->initramfs && !kernel)
        return error_set(err, -EINVAL, "--initramfs %s: there is no kernel to give it to; give --kernel too",
                         vc->initramfs);
    if (vc->cmdline && !kernel)
        return error_set(err, -EINVAL, "--cmdline %s: there is no kernel to give it to; give --kernel too",
                         vc->cmdline);
    if (vc->root && !vc->kernel)
        return error_set(err, -EINVAL, "--root %s: there is no kernel to run on it; give --kernel too", vc->root);
    if (vc->root && vc->initramfs)
        return error_set(err, -EINVAL, "--root %s: makes an initial file system itself; leave --initramfs out",
                         vc->root);
    if (!vc->root && vc->modules)
        return error_set(err, -EINVAL, "--modules %s: is for --root host; give that too", vc->modules);
    if (!vc->root && vc->command.count)
        return error_set(err, -EINVAL, "%s: there is nothing to run it in; give --root host too", vc->command.item[0]);
    return 0;
}

static int vm_config_fill(struct ring3_config *cfg, struct vm_config *vc, struct error *err)
{
    *vc = (struct vm_config){.log = &cfg->log, .event = cfg->event_fn ? event_out : NULL, .opaque = cfg};
    vc->command = (struct vm_words){(const char *const *)cfg->command.text, cfg->command.count};
    const struct option *o;
    for (unsigned i = 0; (o = option_at(i)); i++) {
        const struct config_value *v = &cfg->value[i];
        int status = !v->count && o->public.preset ? option_parse(o, o->public.preset, vc, err) : 0;
        for (unsigned n = 0; n < v->count && !status; n++)
            status = option_parse(o, v->text[n], vc, err);
        if (status)
            return status;
    }
    return options_agree(vc, err);
}

static int vm_open(struct ring3_vm *v, struct error *err)
{
    int status = vm_config_fill(v->cfg, &v->vc, err);
    if (!status)
        status = vm_create(&v->vc, &v->vm, err);
    if (status)
        return status;
    v->monitor = monitor_create(v->vm);
    return v->monitor ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int ring3_vm_create(const struct ring3_config *cfg, struct ring3_vm **out, struct ring3_error *err)
{
    struct error why = {0};
    struct ring3_vm *v = calloc(1, sizeof(*v));
    struct ring3_config *copy = config_copy(cfg);
    if (!v || !copy) {
        ring3_config_destroy(copy);
        free(v);
        return fail(err, error_set(&why, -ENOMEM, "out of memory"), &why);
    }
    v->cfg = copy;
    int status = vm_open(v, &why);
    if (status) {
        ring3_vm_destroy(v);
        return fail(err, status, &why);
    }
    *out = v;
    return RING3_OK;
}

void ring3_vm_destroy(struct ring3_vm *v)
{
    if (!v)
        return;
    monitor_destroy(v->monitor);
    vm_destroy(v->vm);
    ring3_config_destroy(v->cfg);
    free(v);
}

int ring3_vm_run(struct ring3_vm *v, struct ring3_end *end, struct ring3_error *err)
{
    static const struct ring3_end ends[] = {
        [VM_END_POWER_OFF] = {RING3_POWER_OFF, 0}, [VM_END_DEBUG_EXIT] = {RING3_DEBUG_EXIT, 0},
        [VM_END_RESET] = {RING3_RESET, 0},         [VM_END_SHUTDOWN] = {RING3_SHUTDOWN, 3},
        [VM_END_STOPPED] = {RING3_STOPPED, 0},     [VM_END_FAILED] = {RING3_CHECK_FAILED, 4},
    };
    struct error why = {0};
    struct vm_end ended;
    int status = vm_run(v->vm, &ended, &why);
    if (status)
        return fail(err, status, &why);
    *end = ends[ended.reason];
    if (ended.reason == VM_END_DEBUG_EXIT)
        end->exit_status = (int)(ended.status >> (v->vc.root != NULL) & 0xff);
    else if (v->vc.root && (ended.reason == VM_END_RESET || ended.reason == VM_END_SHUTDOWN))
        end->exit_status = GUEST_GAVE_UP;
    return RING3_OK;
}

void ring3_vm_pause(struct ring3_vm *v)
{
    vm_pause(v->vm);
}

void ring3_vm_continue(struct ring3_vm *v)
{
    vm_continue(v->vm);
}

void ring3_vm_reset(struct ring3_vm *v)
{
    vm_reset(v->vm);
}

void ring3_vm_stop(struct ring3_vm *v)
{
    vm_stop(v->vm);
}

void ring3_vm_info(struct ring3_vm *v, struct ring3_info *out)
{
    *out = (struct ring3_info){
        .engine = vm_engine_name(v->vm),
        .engine_reason = vm_engine_reason(v->vm),
        .state = vm_state_name(vm_state(v->vm)),
        .memory = v->vc.ram_size,
        .cpus = v->vc.cpus,
        .uses_stdio = vm_mux(v->vm) != NULL,
    };
}

void ring3_vm_stats(struct ring3_vm *v, ring3_stats_fn *emit, void *opaque)
{
    vm_stats(v->vm, emit, opaque);
}
