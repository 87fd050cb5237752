/*
 * What the files of vm/ share. See vm.h for threads and locks.
 */
#ifndef VM_INTERNAL_H
#define VM_INTERNAL_H

#include <pthread.h>

#include "engine/engine.h"
#include "machine/bytes.h"
#include "machine/machine.h"
#include "vm/vm.h"

struct block;
struct block_reader;
struct chardev;
struct net;
struct share;

#define VM_DISK_SERIAL 20

/* What the dispatcher has to look at, in the order in which it does. */
enum {
    TODO_DEBUG_EXIT = 1 << 0,
    TODO_POWER_OFF = 1 << 1,
    TODO_STOP = 1 << 2,
    TODO_SHUTDOWN = 1 << 3,
    TODO_RESET = 1 << 4,
    TODO_OWNER_RESET = 1 << 5, /* asked for by vm_reset: also with no_reboot */
    TODO_PAUSE = 1 << 6,
    TODO_CONTINUE = 1 << 7,
    TODO_WORK = 1 << 8,
    TODO_FAILED = 1 << 9,
};

struct processor {
    struct vm *vm;
    struct cpu *cpu;
    pthread_t thread;
    bool attached; /* the engine knows it */
    bool started;  /* the thread exists */
};

/* Which processor gave up, and where it stood. */
struct vm_shutdown {
    unsigned cpu;
    u16 cs;
    u64 rip;
    u64 cr2;
};

/* One of cfg.disk. */
struct vm_disk {
    struct block *block;
    char serial[VM_DISK_SERIAL + 1];
    unsigned queues; /* 0: as many as there are processors, within reason */
    bool packed;
};

/* One of cfg.net that leads somewhere. */
struct vm_net {
    struct net *net;
    const char *spec;
    u8 mac[MACHINE_MAC];
    u16 mtu;
    bool packed;
};

/* What cfg.root adds. */
struct vm_root {
    bool terminal; /* the command has one; else the streams */
    bool errors;   /* the serial port leads to standard error */
    char *share, *cmdline;
    struct bytes archive;
    struct chardev *stream[MACHINE_STREAMS]; /* standard input, output, error */
};

struct vm {
    struct vm_config cfg;
    struct loop *loop;
    struct mux *mux;
    struct chardev *serial, *debugcon;          /* ports of the mux, or on their own */
    struct chardev *port[MACHINE_MAX_CONSOLES]; /* of cfg.port */
    struct vm_disk disk[VM_LIST_MAX];
    unsigned disks;
    struct machine_loaded loaded; /* until the machine has it */
    char *found_cmdline;          /* of the kernel on the first disk */
    struct vm_net net[MACHINE_MAX_NETS];
    unsigned nets;
    struct net *vsock; /* NULL: not asked for */
    u32 vsock_cid;
    struct share *share[MACHINE_MAX_SHARES]; /* of cfg.share */
    struct vm_root root;
    struct machine *machine;
    const struct engine_ops *engine;
    char engine_reason[160];
    struct perf_map *perf_map; /* NULL: not asked for */
    struct processor *processors;
    unsigned cpus;
    pthread_t loop_thread;
    bool loop_started;
    struct log_limit reset_limit;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* any of the following */
    u32 todo;
    bool go;         /* processors may run */
    bool quit;       /* processor threads end */
    unsigned inside; /* processors that run or are about to */
    enum vm_state state;
    unsigned exit_status; /* of TODO_DEBUG_EXIT */
    struct vm_shutdown shutdown;
    struct list work;
};

/* Chooses cfg.engine; sets engine and engine_reason. */
int vm_choose_engine(struct vm *vm, struct error *err) MUST_CHECK;

/* Opens the back ends of cfg.serial and cfg.debugcon. */
int vm_open_consoles(struct vm *vm, struct error *err) MUST_CHECK;
/* Makes the files, when the machine is made. */
int vm_start_consoles(struct vm *vm, struct error *err) MUST_CHECK;
void vm_close_consoles(struct vm *vm);

/* disks.c: cfg.disk. Drained: nothing of the host writes to guest memory any more, and what was asked of it is done. No
 * lock held; the processors stand still, or are gone. */
int vm_open_disks(struct vm *vm, struct error *err) MUST_CHECK;
void vm_drain_disks(struct vm *vm);
void vm_close_disks(struct vm *vm);
/* Number n of cfg.disk, before vm_open_disks. */
int vm_look_into_disk(struct vm *vm, unsigned n, struct block_reader **out, struct error *err) MUST_CHECK;

/* kernel.c: without cfg.kernel and cfg.firmware, the kernel on the first disk. Before vm_open_disks. */
int vm_load_kernel(struct vm *vm, struct error *err) MUST_CHECK;
void vm_free_kernel(struct vm *vm);

/* seed.c: cfg.cloud_init, the disk behind those of cfg.disk. */
int vm_open_seed(struct vm *vm, struct error *err) MUST_CHECK;

/* nets.c: cfg.net and cfg.vsock. Opened before there is any memory of a guest, as processes are forked; started when
 * the machine is made. */
int vm_open_nets(struct vm *vm, struct error *err) MUST_CHECK;
int vm_start_nets(struct vm *vm, struct error *err) MUST_CHECK;
void vm_close_nets(struct vm *vm);
/* shares.c: cfg.share, in the same way. */
int vm_open_shares(struct vm *vm, struct error *err) MUST_CHECK;
void vm_drain_shares(struct vm *vm);
void vm_close_shares(struct vm *vm);

/* root.c, in this order: changes cfg; opens consoles of its own, with the machine lock; makes the archive, when the
 * shares are open. */
int vm_prepare_root(struct vm *vm, struct error *err) MUST_CHECK;
int vm_open_root(struct vm *vm, struct error *err) MUST_CHECK;
int vm_build_root(struct vm *vm, struct error *err) MUST_CHECK;
void vm_close_root(struct vm *vm);

/* Notes what is to be done; halt: the processors come out of the engine first. Any thread, mutex not held. */
void vm_todo(struct vm *vm, u32 todo, bool halt);

/* Enters cfg.sandbox. All threads and files are there, nothing of the guest has run. */
int vm_confine(struct vm *vm, struct error *err) MUST_CHECK;

/* Starts the threads, which wait for `go`. */
int processors_start(struct vm *vm, struct error *err) MUST_CHECK;
/* Returns when none runs. */
void processors_halt(struct vm *vm);
void processors_halt_locked(struct vm *vm);
void processors_join(struct vm *vm);

#endif
