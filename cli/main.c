/*
 * ring3: the command. Finds the verb and hands the arguments on.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "verb.h"

static const struct verb *const verbs[] = {&verb_run, &verb_image, &verb_disk, &verb_help, &verb_version};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

const struct verb *verb_at(unsigned n)
{
    return n < VERBS ? verbs[n] : NULL;
}

const struct verb *verb_find(const char *name)
{
    for (unsigned i = 0; i < VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

/* What people type by habit. */
static const char *habit_of(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return "help";
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return "version";
    return word;
}

/* A program that is started with one of them closed must not take a file of the machine for its standard output. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    if (argc < 2) {
        message("no command given; `ring3 help` lists them, `ring3 run` starts the built-in guest");
        return EXIT_USAGE;
    }
    const struct verb *c = verb_find(habit_of(argv[1]));
    if (!c) {
        message("%s: no such command; `ring3 help` lists them", argv[1]);
        return EXIT_USAGE;
    }
    return c->run(argc - 1, argv + 1);
}
