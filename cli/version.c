#include <stdio.h>

#include "message.h"
#include "ring3.h"
#include "verb.h"

static int run(int argc, char **argv)
{
    if (argc > 1) {
        message("version: %s: no argument is taken here", argv[1]);
        return EXIT_USAGE;
    }
    printf("ring3 %s\n", ring3_version());
    return EXIT_GOOD;
}

const struct verb verb_version = {.name = "version", .args = "", .text = "print the version", .run = run};
