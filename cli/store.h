/*
 * Images by name: a folder each, XDG_DATA_HOME/ring3/images/NAME, with the disk and a description of what a machine of
 * it needs. An image appears under its name when it is complete.
 *
 * Functions return 0 or an exit status (verb.h) after a message that begins with `who`.
 */
#ifndef CLI_STORE_H
#define CLI_STORE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define STORE_NAME_MAX 63

struct store_image {
    char name[STORE_NAME_MAX + 1];
    char disk[PATH_MAX];
    char format[16];          /* "raw", "qcow2" */
    char origin[200];         /* where it came from, for people */
    char made[40];            /* when, ISO 8601 */
    char memory[24], cpus[8]; /* for the options of these names; "" if nothing is said */
    char cmdline[2048];       /* likewise */
};

/* Letters, digits, '.', '_' and '-', the first a letter or digit. */
bool store_name_good(const char *name);

/* The images, in order of name, until `each` returns false. Those that cannot be read are told of and left out. */
int store_each(const char *who, bool (*each)(void *opaque, const struct store_image *image), void *opaque);
/* Names the one that is nearest if there is none of this name. */
int store_find(const char *who, const char *name, struct store_image *out);
bool store_has(const char *name);

/* Does a machine have the disk open, ours or QEMU's? */
bool store_is_used(const struct store_image *image);
int store_remove(const char *who, const char *name);

/* A new one. */
struct store_new {
    struct store_image image; /* `disk` is where the disk goes */
    char folder[PATH_MAX];    /* without a name that anybody sees */
    int lock;
};

/* Refuses a name that is taken, or that another process is making. What an earlier try left is taken away. */
int store_begin(const char *who, const char *name, struct store_new *out);
/* Writes the description and gives the image its name. Ends it, also on failure. */
int store_finish(const char *who, struct store_new *n);
void store_cancel(struct store_new *n);

/* XDG_CACHE_HOME/ring3/NAME, made if it is not there. */
int store_cache(const char *who, const char *name, char path[PATH_MAX]);

/* Files of a flat folder, and the folder. */
void store_clear_folder(const char *path);

#endif
