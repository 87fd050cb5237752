/*
 * Implements tests/unit/own_signals.h.
 */
#include "own_signals.h"

#include <signal.h>
#include <stddef.h>

#define COUNT (sizeof(signals) / sizeof(signals[0]))

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction handlers[COUNT];

void own_signals_keep(void)
{
    for (size_t n = 0; n < COUNT; n++)
        (void)sigaction(signals[n], NULL, &handlers[n]);
}

void own_signals_put(void)
{
    for (size_t n = 0; n < COUNT; n++)
        (void)sigaction(signals[n], &handlers[n], NULL);
}
