/*
 * What else there is on disks: known by its mark, so that a message can name it, and not read.
 */
#ifndef VOLUME_OTHER_H
#define VOLUME_OTHER_H

#include "volume/volume.h"

/* Such as "XFS"; NULL for what is not known. */
const char *other_find(const struct volume *v);

#endif
