/*
 * What a Debian image of ours is made of: packages, and what is set up in it (docs/image.md).
 */
#ifndef CLI_RECIPE_H
#define CLI_RECIPE_H

#include <stdbool.h>

/* Goes up when an archive of the version before is not what this one would make. */
#define RECIPE_VERSION 2
#define RECIPE_MAX     8192

extern const char recipe_packages[]; /* with commas between them */
extern const char recipe_setup[];    /* mmdebstrap's --setup-hook=... */

/* --customize-hook=... False if it does not fit. None of the texts has a quote in it. */
bool recipe_customize(char out[RECIPE_MAX], const char *host, const char *uuid, const char *suite);

#endif
