#include <stdio.h>

#include "message.h"
#include "verb.h"

static void list(void)
{
    printf("ring3 runs whole operating systems on a Linux host.\n\n");
    const struct verb *c;
    for (unsigned i = 0; (c = verb_at(i)); i++)
        printf("  ring3 %-8s %-20s %s\n", c->name, c->args, c->text);
    printf("\n`ring3 help VERB` tells more; `man ring3` everything.\n");
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        list();
        return EXIT_GOOD;
    }
    const struct verb *c = verb_find(argv[1]);
    if (!c || argc > 2) {
        message("help: %s: no such command; `ring3 help` lists them", argv[c ? 2 : 1]);
        return EXIT_USAGE;
    }
    printf("ring3 %s %s\n    %s\n", c->name, c->args, c->text);
    if (c->help)
        c->help();
    return EXIT_GOOD;
}

const struct verb verb_help = {
    .name = "help", .args = "[VERB]", .text = "list the commands, or explain one", .run = run};
