/*
 * ring3 image: what its actions share. Each returns the exit status.
 */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct image_args {
    const char *word[2]; /* those that are no options */
    unsigned words;
    const char *suite, *include, *mirror, *format;
    uint64_t size; /* 0: not given */
    bool json, help;
};

int image_debian(const struct image_args *a);
int image_import(const struct image_args *a);

#endif
