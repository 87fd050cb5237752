/*
 * The monitor's terminal: a line editor with echo, backspace, Ctrl-u and Ctrl-c.
 *
 * While a command runs (busy) the receiver has no room, so keys wait in the mux.
 */
#include "debug/monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/char/mux.h"
#include "debug/command.h"
#include "event/loop.h"
#include "vm/vm.h"

#define LINE_SIZE 256
#define CTRL(c)   ((c)&0x1f)
#define PROMPT    "(ring3) "

struct monitor {
    struct vm *vm;
    struct chardev *port; /* NULL without a terminal */
    struct vm_work work;
    char line[LINE_SIZE];
    size_t len;
    bool busy, welcomed;
};

/* Lock held. The terminal is in raw mode: a new line needs its carriage return. */
static void show(struct monitor *m, const char *text, size_t len)
{
    while (len) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;
        char_write(m->port, (const u8 *)text, n);
        if (!end)
            return;
        char_write(m->port, (const u8 *)"\r\n", 2);
        text += n + 1;
        len -= n + 1;
    }
}

static void show_text(struct monitor *m, const char *text)
{
    show(m, text, strlen(text));
}

/* Dispatcher's thread, no lock held. */
static void line_run(void *opaque)
{
    struct monitor *m = opaque;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out) {
        command_run(m->vm, m->line, out);
        (void)fclose(out);
    }
    loop_lock(vm_loop(m->vm));
    if (text)
        show(m, text, size);
    show_text(m, PROMPT);
    m->len = 0;
    m->busy = false;
    char_kick(m->port);
    loop_unlock(vm_loop(m->vm));
    free(text);
}

static void line_erase(struct monitor *m, size_t count)
{
    for (; count && m->len; count--, m->len--)
        show_text(m, "\b \b");
}

static void line_enter(struct monitor *m)
{
    show_text(m, "\n");
    m->line[m->len] = '\0';
    m->busy = true;
    vm_post(m->vm, &m->work);
}

static void key_take(struct monitor *m, u8 key)
{
    if (key == '\r' || key == '\n') {
        line_enter(m);
    } else if (key == 0x7f || key == '\b') {
        line_erase(m, 1);
    } else if (key == CTRL('u')) {
        line_erase(m, m->len);
    } else if (key == CTRL('c')) {
        m->len = 0;
        show_text(m, "^C\n" PROMPT);
    } else if (key >= ' ' && m->len < LINE_SIZE - 1) {
        m->line[m->len++] = (char)key;
        char_write(m->port, &key, 1);
    }
}

/* One key at a time: the key after Enter must find the command done. */
static size_t monitor_room(void *opaque)
{
    const struct monitor *m = opaque;
    return m->busy ? 0 : 1;
}

static void monitor_receive(void *opaque, const u8 *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        key_take(opaque, buf[i]);
}

static void monitor_focus(void *opaque, bool focused)
{
    struct monitor *m = opaque;
    if (!focused) {
        show_text(m, "\n");
        return;
    }
    if (!m->welcomed)
        show_text(m, "\nring3 monitor: `help` lists the commands, Ctrl-a c goes back to the guest\n");
    else
        show_text(m, "\n");
    m->welcomed = true;
    if (!m->busy) {
        show_text(m, PROMPT);
        show(m, m->line, m->len);
    }
}

struct monitor *monitor_create(struct vm *vm)
{
    struct monitor *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->vm = vm;
    m->work = (struct vm_work){.run = line_run, .opaque = m};
    struct mux *mux = vm_mux(vm);
    if (!mux)
        return m;
    const struct char_receiver rx = {.room = monitor_room, .receive = monitor_receive, .opaque = m};
    loop_lock(vm_loop(vm));
    m->port = mux_port(mux, MUX_MONITOR);
    char_attach(m->port, &rx);
    mux_on_focus(mux, monitor_focus, m);
    loop_unlock(vm_loop(vm));
    return m;
}

void monitor_destroy(struct monitor *m)
{
    if (m && m->port) {
        loop_lock(vm_loop(m->vm));
        mux_on_focus(vm_mux(m->vm), NULL, NULL);
        char_attach(m->port, NULL);
        loop_unlock(vm_loop(m->vm));
    }
    free(m);
}
