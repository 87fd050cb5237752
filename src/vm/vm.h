/*
 * A virtual machine that runs: the machine (machine/machine.h), an engine, a thread for each processor, one for the
 * event loop, and the dispatcher, which is the thread that calls vm_run and decides what happens when the processors
 * stop.
 *
 * Threads: vm_create, vm_run and vm_destroy belong to one thread, the owner's. The requests may come from any thread,
 * from callbacks of the event loop, and before vm_run; they only note what is wanted, and the dispatcher does it.
 *
 * Locks, in the order in which they may be taken: the machine lock (event/loop.h), then vm's own mutex, then those
 * inside cpu/world.c. The dispatcher holds none of them while it calls out.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "base/types.h"

struct cpu;
struct loop;
struct machine;
struct mux;
struct vm;

enum vm_state { VM_PAUSED, VM_RUNNING, VM_ENDED };

enum vm_end_reason {
    VM_END_POWER_OFF,  /* by the guest */
    VM_END_DEBUG_EXIT, /* by the guest, with a status */
    VM_END_RESET,      /* by the guest, with no_reboot */
    VM_END_SHUTDOWN,   /* triple fault, with no_reboot */
    VM_END_STOPPED,    /* vm_stop, or Ctrl-a x */
    VM_END_FAILED,     /* `check` found a difference, or the engine itself wrong */
};

struct vm_end {
    enum vm_end_reason reason;
    unsigned status; /* for VM_END_DEBUG_EXIT: the exit status, (value << 1) | 1 */
};

enum vm_event { VM_EVENT_RUNNING, VM_EVENT_PAUSED, VM_EVENT_RESET };

/*
 * Of the whole process, for good (host/sandbox.h), so whoever has more to do with it than this one machine leaves it
 * alone. Auto: if the host can.
 */
enum vm_sandbox { VM_SANDBOX_NONE, VM_SANDBOX_OFF /* the same, and says so */, VM_SANDBOX_AUTO, VM_SANDBOX_ON };

/* The values of an option that may be given several times. */
#define VM_LIST_MAX 24
struct vm_list {
    const char *item[VM_LIST_MAX];
    unsigned count;
};

struct vm_words {
    const char *const *item;
    unsigned count;
};

/* Strings are borrowed until vm_destroy. */
struct vm_config {
    u64 ram_size;
    unsigned cpus;
    const char *cpu_model; /* a name of cpu/model.h */
    const char *engine;    /* a name of engine/engine.h, or "auto" */
    const char *kernel, *initramfs, *cmdline, *firmware;
    struct vm_list disk;     /* see vm_disk_check */
    struct vm_list net;      /* see vm_net_check; none given: nat for a guest that was given */
    const char *vsock;       /* see vm_vsock_check; NULL: none */
    struct vm_list share;    /* shared folders, as share_open takes them (backend/share/open.h) */
    struct vm_list port;     /* virtio consoles, as `serial` */
    const char *root;        /* "host", or a folder: see vm/root.c; NULL: the guest brings its own */
    const char *modules;     /* a folder with modules for `root`; NULL: by the kernel's version */
    struct vm_words command; /* to run there; empty: a shell */
    const char *serial;      /* as char_open takes it (backend/char/open.h) */
    const char *cloud_init;  /* see vm_seed_check; NULL: none */
    const char
        *debugcon; /* the same; NULL: port 0xe9 joins the serial port on stdio, firmware's port 0x402 is not there */
    bool debug_exit, testdev, no_reboot, rng, balloon, virtio_mmio;
    u8 unpack; /* enum boot_unpack */
    u64 engine_memory;
    u8 translate_after;
    bool check, timing, perf_map; /* as engine_config has them (engine/engine.h) */
    enum vm_sandbox sandbox;
    const struct log *log;                         /* outlives the vm */
    void (*event)(void *opaque, enum vm_event ev); /* on the dispatcher's thread, no lock held; may be NULL */
    void *opaque;
};

/*
 * Nothing runs yet, and the virtual time stands still. Fails with -EINVAL, -ENOTSUP and the like and a message that
 * names the option at fault, or with -ENOMEM, -EMFILE or -ENFILE when the host has no more to give.
 */
int vm_create(const struct vm_config *cfg, struct vm **out, struct error *err) MUST_CHECK;
void vm_destroy(struct vm *vm);

/*
 * A disk: what block_open takes (backend/block/open.h), and among its words behind the path those of the device:
 * packed=on|off, queues=COUNT, serial=TEXT. Refuses bad values of these with a message; the file is not looked at.
 */
int vm_disk_check(const char *who, const char *spec, struct error *err) MUST_CHECK;

/* A network, as backend/net/spec.h has it. Refuses bad text with a message; nothing is opened. */
int vm_net_check(const char *who, const char *spec, struct error *err) MUST_CHECK;

/* A vsock, as backend/vsock/vsock.h has it. */
int vm_vsock_check(const char *who, const char *spec, struct error *err) MUST_CHECK;

/* A line for each network and the vsock: which card it is, where it leads, what went through. */
void vm_show_nets(struct vm *vm, void (*line)(void *opaque, const char *text), void *opaque);
/* As vm_disk_check, for a shared folder. */
int vm_share_check(const char *who, const char *spec, struct error *err) MUST_CHECK;

/* USER-DATA[,meta-data=PATH][,network-config=PATH][,vendor-data=PATH], with the same rules for commas. */
int vm_seed_check(const char *who, const char *spec, struct error *err) MUST_CHECK;

/* Runs the machine until it ends; once. */
int vm_run(struct vm *vm, struct vm_end *end, struct error *err) MUST_CHECK;

/* Requests. */
void vm_pause(struct vm *vm);
void vm_continue(struct vm *vm);
void vm_reset(struct vm *vm);
void vm_stop(struct vm *vm);

/*
 * Work for the dispatcher: `run` is called on its thread with no lock held, where it may pause the world. Embed it;
 * posting one that is already waiting does nothing. What is still waiting when the machine ends is not done.
 */
struct vm_work {
    struct list node;
    void (*run)(void *opaque);
    void *opaque;
    bool waiting;
};
void vm_post(struct vm *vm, struct vm_work *work);

/* Any thread. */
enum vm_state vm_state(struct vm *vm);
const char *vm_state_name(enum vm_state state);

/* Fixed after vm_create. */
struct machine *vm_machine(struct vm *vm);
struct loop *vm_loop(struct vm *vm);
/* The shared terminal, or NULL if nothing is connected to standard input and output. */
struct mux *vm_mux(struct vm *vm);
const char *vm_engine_name(const struct vm *vm);
/* Why it was chosen. */
const char *vm_engine_reason(const struct vm *vm);

/* Counters of the engine as (processor, name, value). Dispatcher's thread, or after vm_run. */
void vm_stats(struct vm *vm, void (*emit)(void *opaque, unsigned cpu, const char *name, u64 value), void *opaque);

/* What the engine of processor `cpu` made of the guest code at a linear address. False if it makes nothing. In an
 * exclusive section. */
bool vm_show_code(struct vm *vm, unsigned cpu, u64 rip, void (*line)(void *opaque, const char *text), void *opaque);

#endif
