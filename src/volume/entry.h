/*
 * What boot loaders read: which kernel, which initial file systems, which command line. The files are the disk's and
 * hostile; their texts are cut apart in place.
 *
 *     BLS         The Boot Loader Specification's type #1 entries, a file each
 *     extlinux    SYSLINUX's: the label that DEFAULT names, or the first
 *     grub        grub.cfg: the first menu entry. Not a program that is run: what depends on variables is left out
 */
#ifndef VOLUME_ENTRY_H
#define VOLUME_ENTRY_H

#include "base/types.h"

#define ENTRY_INITRDS 4
#define ENTRY_PATH    512

struct entry {
    char kernel[ENTRY_PATH]; /* "" if there is none */
    char initrd[ENTRY_INITRDS][ENTRY_PATH];
    unsigned initrds;
    char options[2048]; /* as for the kernel */
};

/* False if there is no kernel in it, or what is there does not fit. */
bool entry_read_bls(char *text, struct entry *out);
bool entry_read_extlinux(char *text, struct entry *out);
bool entry_read_grub(char *text, struct entry *out);

/* Is the word in a command line, by itself or with more behind a comma? What ends with '=' is the beginning of one. */
bool entry_has_word(const char *options, const char *word);
/* Adds a word; false if it does not fit. */
bool entry_add_word(struct entry *e, const char *word);

#endif
