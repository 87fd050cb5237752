#include "message.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "term.h"

/* What came in with an argument or file name must not break the line or reach the terminal as a command. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

void message(const char *fmt, ...)
{
    char text[1024], line[1100];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    make_printable(text);
    int len = snprintf(line, sizeof(line), "ring3: %s%s\n", text, term_is_raw() && isatty(STDERR_FILENO) ? "\r" : "");
    ssize_t n = write(STDERR_FILENO, line, (size_t)len); /* one piece; there is nobody to tell if it fails */
    (void)n;
}
