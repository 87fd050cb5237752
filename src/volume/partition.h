/*
 * Partition tables: GPT (UEFI specification, chapter 5) and MBR with logical partitions.
 */
#ifndef VOLUME_PARTITION_H
#define VOLUME_PARTITION_H

#include "volume/volume.h"

#define PARTITION_MAX 64

struct partition {
    struct volume volume;
    char uuid[40]; /* Linux's PARTUUID; "" if the table has none */
};

/* How many there are, at most `max`; 0 if there is no table. Those that are empty or outside the disk are left out. */
unsigned partition_list(const struct volume *disk, struct partition *out, unsigned max);

#endif
