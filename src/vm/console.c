/*
 * Where the serial port and the debug console lead. Those that lead to standard input and output share it with the
 * monitor through a mux.
 */
#include <stdio.h>
#include <unistd.h>

#include "backend/char/mux.h"
#include "event/loop.h"
#include "vm/internal.h"

static void quit_key(void *opaque)
{
    vm_stop(opaque);
}

static int mux_open(struct vm *vm, const struct char_host *host, struct error *err)
{
    struct chardev *terminal = char_open_stdio(host, "standard output", err);
    if (!terminal)
        return -ENOMEM;
    vm->mux = mux_create(host, terminal, isatty(STDIN_FILENO));
    if (!vm->mux) {
        char_destroy(terminal);
        return error_set(err, -ENOMEM, "standard output: out of memory");
    }
    mux_on_quit(vm->mux, quit_key, vm);
    return 0;
}

static int console_open(struct vm *vm, struct chardev **out, const char *option, const char *spec, enum mux_port port,
                        struct error *err)
{
    char who[300];
    const struct char_host host = {.loop = vm->loop, .log = vm->cfg.log};
    snprintf(who, sizeof(who), "--%s %s", option, spec);
    if (!char_spec_is_stdio(spec)) {
        *out = char_open(&host, who, spec, err);
        return *out ? 0 : -EINVAL;
    }
    int status = vm->mux ? 0 : mux_open(vm, &host, err);
    if (status)
        return status;
    *out = mux_port(vm->mux, port);
    return 0;
}

/* The keys of the terminal are for one of them, or for the serial port. */
static int ports_open(struct vm *vm, struct error *err)
{
    const struct vm_list *list = &vm->cfg.port;
    bool taken = char_spec_is_stdio(vm->cfg.serial);
    int status = 0;
    if (list->count > MACHINE_MAX_CONSOLES)
        return error_set(err, -EINVAL, "--console %s: there are too many of them; give at most %d",
                         list->item[MACHINE_MAX_CONSOLES], MACHINE_MAX_CONSOLES);
    for (unsigned n = 0; n < list->count && !status; n++) {
        if (char_spec_is_stdio(list->item[n]) && taken)
            return error_set(err, -EINVAL, "--console stdio: the terminal is in use; give --serial null, too");
        taken |= char_spec_is_stdio(list->item[n]);
        status = console_open(vm, &vm->port[n], "console", list->item[n], MUX_SERIAL, err);
    }
    return status;
}

/* Unless somebody asks for more, what a test guest prints to port 0xe9 is seen. Firmware is another matter: SeaBIOS
 * prints each character of its messages to port 0x402 and to the serial port, one right after the other. */
static const char *debugcon_spec(const struct vm_config *cfg)
{
    if (cfg->debugcon)
        return cfg->debugcon;
    return char_spec_is_stdio(cfg->serial) ? "stdio" : "null";
}

int vm_open_consoles(struct vm *vm, struct error *err)
{
    loop_lock(vm->loop);
    int status = console_open(vm, &vm->serial, "serial", vm->cfg.serial, MUX_SERIAL, err);
    if (!status)
        status = console_open(vm, &vm->debugcon, "debugcon", debugcon_spec(&vm->cfg), MUX_CONSOLE, err);
    if (!status)
        status = ports_open(vm, err);
    if (!status)
        status = vm_open_root(vm, err);
    loop_unlock(vm->loop);
    return status;
}

int vm_start_consoles(struct vm *vm, struct error *err)
{
    loop_lock(vm->loop);
    int status = char_start(vm->serial, err);
    if (!status)
        status = char_start(vm->debugcon, err);
    for (unsigned n = 0; n < vm->cfg.port.count && !status; n++)
        status = char_start(vm->port[n], err);
    loop_unlock(vm->loop);
    return status;
}

void vm_close_consoles(struct vm *vm)
{
    loop_lock(vm->loop);
    char_destroy(vm->serial);
    char_destroy(vm->debugcon);
    for (unsigned n = 0; n < MACHINE_MAX_CONSOLES; n++)
        char_destroy(vm->port[n]);
    vm_close_root(vm);
    mux_destroy(vm->mux);
    loop_unlock(vm->loop);
}
