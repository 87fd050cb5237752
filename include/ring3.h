/*
 * ring3: whole operating systems on a Linux x86-64 host. This is the one public header.
 *
 *     struct ring3_error err;
 *     struct ring3_vm *vm;
 *     struct ring3_end end;
 *     struct ring3_config *cfg = ring3_config_create();
 *     if (ring3_config_set(cfg, "kernel", "vmlinuz", &err) || ring3_config_set(cfg, "memory", "512M", &err) ||
 *         ring3_vm_create(cfg, &vm, &err))
 *         return complain(err.text);
 *     int status = ring3_vm_run(vm, &end, &err);    // until the guest powers off
 *     ring3_vm_destroy(vm);
 *     ring3_config_destroy(cfg);
 *
 * Errors. Functions that can fail return 0 or a negative enum ring3_status and put one line into *err, which may be
 * NULL: what is wrong with which option, and what would be right. Options are named as the ring3 command spells them
 * (--memory). The library never prints, exits, or changes the mode of a terminal, signal handlers or the working
 * directory.
 *
 * Threads. A configuration belongs to one thread at a time. A machine is created, run and destroyed by one thread; the
 * functions marked "any thread" may be called from others at the same time, also from the callbacks.
 *
 * Processes. Some networks and the vsock are processes that ring3_vm_create forks and ring3_vm_destroy waits for. They
 * end with the thread that created the machine.
 *
 * Machines are independent: a process may run several. Only one of them can use standard input and output.
 *
 * Sandbox. The option "sandbox" (on, auto) makes ring3_vm_run confine the whole process for good to the system calls
 * that a running machine needs; a forbidden one ends it with a line on standard error and SIGSYS. The command does so;
 * for a library it is not the preset. It is for a process whose one work is one machine, and which opens files and
 * starts threads before ring3_vm_run only.
 */
#ifndef RING3_H
#define RING3_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0" */
const char *ring3_version(void);

enum ring3_status {
    RING3_OK = 0,
    RING3_BAD_INPUT = -1, /* an option, its value, or a file that it names */
    RING3_FAILED = -2,    /* the host has no more memory, threads or descriptors */
};

struct ring3_error {
    char text[512]; /* one line without newline */
};

/*
 * Configuration: options by name, with values as text. The list below is what the command, its help and the library
 * share.
 */
struct ring3_option {
    const char *name;  /* "memory": the command's --memory */
    const char *alias; /* how QEMU calls it ("m"), NULL if it is the same or there is none */
    const char
        *value; /* what the value is, as help shows it ("SIZE"); NULL for a switch, whose value is "on" or "off" */
    const char *preset; /* value if it is not set; NULL: not there */
    const char *text;   /* one line of help */
    bool repeats;       /* may be given several times, and each counts */
};

/* The n-th option; NULL after the last. */
const struct ring3_option *ring3_option_at(unsigned n);

/* Names that --cpu and --engine take, with a line about each; NULL after the last. */
const char *ring3_cpu_at(unsigned n, const char **text);
const char *ring3_engine_at(unsigned n, const char **text);

struct ring3_config;

/* NULL when out of memory. Free it with ring3_config_destroy; machines made from it keep what they need. */
struct ring3_config *ring3_config_create(void);
void ring3_config_destroy(struct ring3_config *cfg);

/* Checks the value and keeps a copy. Files are looked at when the machine is made. The last value given counts, but of
 * an option that repeats all do. */
int ring3_config_set(struct ring3_config *cfg, const char *name, const char *value, struct ring3_error *err);

/* The command that a guest with the option "root" runs: its words, which are copied. None: a shell. */
int ring3_config_command(struct ring3_config *cfg, unsigned count, const char *const *words, struct ring3_error *err);

enum ring3_level { RING3_ERROR, RING3_WARN, RING3_INFO, RING3_DEBUG };

/* Where messages go: one line each, up to `level`. Any thread, at any time until ring3_vm_destroy; must not call back.
 */
typedef void ring3_log_fn(void *opaque, enum ring3_level level, const char *text);
void ring3_config_log(struct ring3_config *cfg, enum ring3_level level, ring3_log_fn *log, void *opaque);

enum ring3_event {
    RING3_EVENT_RUNNING, /* started, or continued */
    RING3_EVENT_PAUSED,
    RING3_EVENT_RESET,
};

/* Called on the thread inside ring3_vm_run after it happened. */
typedef void ring3_event_fn(void *opaque, enum ring3_event event);
void ring3_config_events(struct ring3_config *cfg, ring3_event_fn *event, void *opaque);

struct ring3_vm;

/* Builds the machine and loads the guest. On failure nothing is left behind, *out is not changed. */
int ring3_vm_create(const struct ring3_config *cfg, struct ring3_vm **out, struct ring3_error *err);
void ring3_vm_destroy(struct ring3_vm *vm);

enum ring3_reason {
    RING3_POWER_OFF,    /* the guest switched itself off */
    RING3_DEBUG_EXIT,   /* the guest wrote to the debug exit device */
    RING3_RESET,        /* the guest asked for a reset under no-reboot */
    RING3_SHUTDOWN,     /* the guest ran into a triple fault under no-reboot */
    RING3_STOPPED,      /* ring3_vm_stop, or Ctrl-a x on the terminal */
    RING3_CHECK_FAILED, /* the option "check" found a difference, or the engine itself wrong; it was logged */
};

struct ring3_end {
    enum ring3_reason reason;
    /* What a command should return: with the option "root" the status of what ran there, 128 + n if it died of signal
     * n, 125 if the guest's kernel did not get so far, or gave up. Else: 0; (value << 1) | 1 after a debug exit; 3
     * after a triple fault; 4 after a failed check. 0 to 255. */
    int exit_status;
};

/* Runs the machine until it ends; once for each machine. */
int ring3_vm_run(struct ring3_vm *vm, struct ring3_end *end, struct ring3_error *err);

/*
 * Requests, from any thread: noted at once, done soon by the thread inside ring3_vm_run. Also before it: stop makes it
 * return at once, pause makes it start paused. Pausing a machine that is paused, and so on, does nothing.
 */
void ring3_vm_pause(struct ring3_vm *vm);
void ring3_vm_continue(struct ring3_vm *vm);
void ring3_vm_reset(struct ring3_vm *vm);
void ring3_vm_stop(struct ring3_vm *vm);

struct ring3_info {
    const char *engine;        /* these two live as long as the machine */
    const char *engine_reason; /* why this one */
    const char *state;         /* "paused", "running", "ended" */
    uint64_t memory;           /* bytes */
    unsigned cpus;
    bool uses_stdio; /* a serial port or debug console leads to standard input and output */
};

/* Any thread. */
void ring3_vm_info(struct ring3_vm *vm, struct ring3_info *out);

/* Counters of each processor's engine. Not while another thread destroys the machine; not from the callbacks. */
typedef void ring3_stats_fn(void *opaque, unsigned cpu, const char *name, uint64_t value);
void ring3_vm_stats(struct ring3_vm *vm, ring3_stats_fn *emit, void *opaque);

/*
 * Disk images: raw, and qcow2 (versions 2 and 3). Independent of machines; any thread. An image that a machine writes
 * to is refused, and so is writing to one that a machine reads.
 *
 * "Format" is "raw" or "qcow2"; NULL lets the file's first bytes decide, or where a file is made is "qcow2". Files that
 * are made appear under their name when they are complete: a call that fails leaves nothing behind.
 *
 * The name of a backing file in an image is never followed. Where the contents of an image count, the files below it
 * have to be named, from the top down.
 */
#define RING3_DISK_BACKING_MAX 15

struct ring3_disk_image {
    const char *path;
    const char *format;
    const char *const *backing; /* `backings` paths */
    unsigned backings;
};

struct ring3_disk_new {
    const char *path;
    const char *format;
    uint64_t size;         /* bytes, a multiple of 512 */
    bool size_of_backing;  /* as large as the image below; `size` does not count */
    const char *backing;   /* qcow2: the image below, which has to be there; NULL: none */
    uint32_t cluster_size; /* qcow2: a power of two, 512 to 2097152; 0: 65536 */
    bool force;            /* replace a file that is there */
};

int ring3_disk_create(const struct ring3_disk_new *how, struct ring3_error *err);

struct ring3_disk_info {
    const char *format;
    uint64_t size;      /* of the disk that a guest sees */
    uint64_t allocated; /* what the file takes on the host's disk */
    /* qcow2 only, else 0 */
    unsigned version;
    uint32_t cluster_size;
    unsigned refcount_bits;
    const char *compression; /* "zlib", "zstd" */
    unsigned snapshots, bitmaps;
    bool dirty;   /* was not closed by its writer: its refcounts may be behind */
    bool corrupt; /* somebody found it damaged */
    bool lazy_refcounts;
    char backing[1024]; /* what its header names, "" if nothing */
    char backing_format[16];
};

int ring3_disk_info(const struct ring3_disk_image *image, struct ring3_disk_info *out, struct ring3_error *err);

enum ring3_disk_repair {
    RING3_REPAIR_NONE,
    RING3_REPAIR_LEAKS, /* clusters that count as used and are not */
    RING3_REPAIR_ALL,   /* refcounts are made anew from the tables */
};

/* qcow2 only. What is left after the repair. */
struct ring3_disk_check {
    uint64_t errors; /* data is lost, or will be when the image is written to */
    uint64_t leaks;  /* clusters that are lost to the file and else harmless */
    uint64_t repaired;
    uint64_t used, compressed; /* clusters of the disk that have data */
};

/* A line about each thing that is wrong goes to `report`, which may be NULL. */
typedef void ring3_line_fn(void *opaque, const char *line);
int ring3_disk_check(const struct ring3_disk_image *image, enum ring3_disk_repair repair, ring3_line_fn *report,
                     void *opaque, struct ring3_disk_check *out, struct ring3_error *err);

/* Called now and then with bytes of the disk; false: give up, which leaves nothing behind. */
typedef bool ring3_progress_fn(void *opaque, uint64_t done, uint64_t total);

struct ring3_disk_copy {
    struct ring3_disk_image from;
    const char *to;
    const char *format;
    uint32_t cluster_size; /* as in ring3_disk_new */
    bool compress;         /* qcow2 */
    bool force;
    ring3_progress_fn *progress; /* may be NULL */
    void *opaque;
};

/* The copy stands alone: it has all that is in `from` and the files below it. Zeroes take no space. */
int ring3_disk_convert(const struct ring3_disk_copy *how, struct ring3_error *err);

struct ring3_disk_size {
    struct ring3_disk_image image;
    uint64_t size;
    bool grow_by; /* `size` more bytes than now */
    bool shrink;  /* what lies behind the new end may be lost */
};

int ring3_disk_resize(const struct ring3_disk_size *how, struct ring3_error *err);

#ifdef __cplusplus
}
#endif

#endif
