/*
 * The PC: board wiring, firmware tables and boot protocols around memory, processors and devices. i440FX and PIIX3
 * compatible.
 *
 * machine_create builds everything and loads the guest; the machine is at its power-on state and not running. vm/ gives
 * it threads. Owner: whoever created it; it owns everything inside but the back ends and the log.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/error.h"
#include "base/log.h"
#include "base/types.h"

struct block;
struct chardev;
struct cpu;
struct cpu_model;
struct dev;
struct loop;
struct machine;
struct mem_space;
struct net;
struct share;
struct world;

enum machine_event {
    MACHINE_POWER_OFF,
    MACHINE_RESET,      /* the guest asked for a reset (i8042, port 0xcf9, ACPI, triple fault by way of vm/) */
    MACHINE_DEBUG_EXIT, /* value is the exit status (value << 1) | 1 */
};

#define MACHINE_MAX_CPUS     64
#define MACHINE_MAX_DISKS    24
#define MACHINE_MAX_CONSOLES 7
#define MACHINE_MAX_NETS     8
#define MACHINE_MAX_SHARES   16
#define MACHINE_STREAMS      3

/* A virtio-blk. */
struct machine_disk {
    struct block *block; /* the machine does not own it; drained before machine_reset and machine_destroy */
    unsigned queues;     /* 1 to MACHINE_DISK_QUEUES */
    bool packed;         /* offer packed rings */
    const char *serial;  /* NULL: none; needed while the machine is made */
};
#define MACHINE_DISK_QUEUES 8

/* A virtio-net. */
#define MACHINE_MAC 6
struct machine_net {
    struct net *net; /* the machine does not own it */
    u8 mac[MACHINE_MAC];
    u16 mtu;     /* 0: the guest is told none */
    bool packed; /* offer packed rings */
};

/* A kernel that was read already, in place of a path. What the machine takes is NULL afterwards. */
struct machine_loaded {
    char *origin;                       /* for messages: "--disk PATH:" */
    char *kernel_path, *initramfs_path; /* inside it; initramfs_path NULL: there is none */
    u8 *kernel, *initramfs;
    u64 kernel_size, initramfs_size;
};

struct machine_config {
    u64 ram_size;  /* bytes, 4 KiB multiple, at least 1 MiB */
    unsigned cpus; /* 1 to MACHINE_MAX_CPUS */
    const struct cpu_model *model;
    const char *kernel;    /* paths; NULL where not given. bzImage, ELF with PVH note, multiboot 1: told by content */
    const char *initramfs; /* also the multiboot modules: "path args,path args" as QEMU takes them */
    const char *cmdline;   /* "" if NULL */
    struct machine_loaded *loaded; /* NULL: none; only without `kernel`. `initramfs` goes before its own */
    const char *firmware; /* raw image that ends at 4 GiB; without kernel and firmware the built-in guest runs */
    u8 unpack;            /* enum boot_unpack */
    bool debug_exit, testdev;
    bool rng;         /* a virtio-rng */
    bool virtio_mmio; /* the virtio devices are not on the PCI bus */
    bool balloon;     /* a virtio-balloon */
    struct machine_disk disk[MACHINE_MAX_DISKS];
    unsigned disks;
    struct machine_net net[MACHINE_MAX_NETS];
    unsigned nets;
    struct net *vsock; /* of a virtio-vsock; NULL: none */
    u32 vsock_cid;
    struct share *share[MACHINE_MAX_SHARES]; /* as `block` of a disk */
    unsigned shares;
    struct chardev *port[MACHINE_MAX_CONSOLES]; /* of a virtio-console */
    unsigned ports;
    struct chardev *stream[MACHINE_STREAMS]; /* of a virtio-console of their own; NULL: none */
    const u8 *archive;                       /* one more for a Linux kernel, behind that of --initramfs */
    size_t archive_size;                     /* 0: none; needed while the machine is made */
    struct chardev *serial;                  /* NULL: the port is there, bytes go nowhere */
    struct chardev *console;                 /* debug console, ports 0xe9 and 0x402; may be NULL */
    bool no_firmware_log;                    /* leave port 0x402 out */
    struct loop *loop;
    const struct log *log;
    /* Called with the machine lock held, on whatever thread it happened; must only note it and wake the owner. */
    void (*event)(void *opaque, enum machine_event ev, unsigned value);
    void *opaque;
};

/* NULL with a message that names the option at fault. */
struct machine *machine_create(const struct machine_config *cfg, struct error *err);
void machine_destroy(struct machine *m);

/* Back to power-on, guest loaded again. Inside an exclusive section, machine lock held. */
int machine_reset(struct machine *m, struct error *err) MUST_CHECK;

struct world *machine_world(struct machine *m);
struct mem_space *machine_mem(struct machine *m);
/* Devices in a fixed order, for saving and the monitor; NULL after the last. */
struct dev *machine_dev(struct machine *m, unsigned n);

/* How much memory the guest should keep, and what became of it. -ENODEV without a balloon. Machine lock held. */
struct virtio_balloon_info;
int machine_balloon_set(struct machine *m, u64 bytes) MUST_CHECK;
int machine_balloon_info(struct machine *m, struct virtio_balloon_info *out) MUST_CHECK;
u64 machine_ram_size(const struct machine *m);

#endif
