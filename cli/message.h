/*
 * Lines to standard error.
 */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

/* "ring3: ..." as one line, whatever the arguments contain. Any thread. */
void message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
