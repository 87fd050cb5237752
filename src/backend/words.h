/*
 * The text of an option that names a file and has more to say about it: PATH[,key=value]... A comma inside a word is
 * written twice.
 */
#ifndef BACKEND_WORDS_H
#define BACKEND_WORDS_H

#include "base/types.h"

/* Ends the first word of `text` at its comma and undoubles those before it; what follows, or NULL. */
char *words_cut(char *text);

/* "on" or "off"; false if it is neither. */
bool words_switch(const char *value, bool *on);

#endif
