/*
 * The verbs of the ring3 command: one row and one file each.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

enum {
    EXIT_GOOD = 0,
    EXIT_HOST = 1,  /* the host refused something */
    EXIT_USAGE = 2, /* bad arguments or input */
};

struct verb {
    const char *name;
    const char *args; /* for help */
    const char *text;
    /* argv[0] is the verb. Returns the exit status. */
    int (*run)(int argc, char **argv);
    /* The rest of `help VERB`; may be NULL. */
    void (*help)(void);
};

extern const struct verb verb_run, verb_image, verb_disk, verb_help, verb_version;

/* The n-th verb; NULL after the last. */
const struct verb *verb_at(unsigned n);
const struct verb *verb_find(const char *name);

#endif
