/*
 * Implements words.h.
 */
#include "backend/words.h"

#include <string.h>

char *words_cut(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++) {
        if (*from == ',' && from[1] != ',') {
            *to = '\0';
            return from + 1;
        }
        if (*from == ',')
            from++;
        *to++ = *from;
    }
    *to = '\0';
    return NULL;
}

bool words_switch(const char *value, bool *on)
{
    *on = strcmp(value, "on") == 0;
    return *on || strcmp(value, "off") == 0;
}
