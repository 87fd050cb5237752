#include "status.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "message.h"

#define WAIT 1.0 /* seconds before the line appears */
#define EACH 0.2 /* and between two of them */

static volatile sig_atomic_t caught;

/* There is one terminal. */
static struct {
    char step[200];
    struct timespec begin, last;
    bool terminal, shown;
} line;

static void on_signal(int sig)
{
    caught = sig;
}

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

/* Without SA_RESTART: waiting ends when a signal comes. */
static void catch (void (*handler)(int))
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction act = {.sa_handler = handler};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &act, NULL);
}

void status_begin(void)
{
    memset(&line, 0, sizeof(line));
    line.terminal = isatty(STDERR_FILENO);
    (void)clock_gettime(CLOCK_MONOTONIC, &line.begin);
    catch (on_signal);
}

void status_end(void)
{
    status_clear();
    catch (SIG_DFL);
    if (caught)
        (void)raise(caught);
}

void status_clear(void)
{
    if (line.shown)
        fprintf(stderr, "\r\033[K");
    (void)fflush(stderr);
    line.shown = false;
}

void status_step(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line.step, sizeof(line.step), fmt, ap);
    va_end(ap);
    (void)clock_gettime(CLOCK_MONOTONIC, &line.begin);
    line.last = (struct timespec){0};
    if (!line.terminal)
        message("%s", line.step);
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

void status_show(const char *detail)
{
    char text[400];
    double seconds = seconds_since(&line.begin);
    if (!line.terminal || seconds < WAIT || seconds_since(&line.last) < EACH)
        return;
    (void)clock_gettime(CLOCK_MONOTONIC, &line.last);
    (void)snprintf(text, sizeof(text), "%s, %.0f s%s%s", line.step, seconds, detail ? ": " : "", detail ? detail : "");
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    fprintf(stderr, "\r%.*s\033[K", columns() - 1, text);
    (void)fflush(stderr);
    line.shown = true;
}

bool status_progress(void *unused, uint64_t done, uint64_t total)
{
    char text[20];
    (void)unused;
    (void)snprintf(text, sizeof(text), "%.1f %%", total ? 100.0 * (double)done / (double)total : 100.0);
    status_show(text);
    return !caught;
}

int status_signal(void)
{
    return caught;
}
