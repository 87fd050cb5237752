/*
 * Monitor commands for the memory that the guest has: the balloon.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/command.h"
#include "dev/virtio/balloon.h"
#include "event/loop.h"
#include "machine/machine.h"
#include "vm/vm.h"

static void no_balloon(struct command_call *call)
{
    fprintf(call->out, "there is no balloon; --balloon on makes one\n");
}

/* A number with K, M or G; a bare one is MiB. */
static bool size_read(const char *text, u64 *size)
{
    static const char units[] = "kKmMgG";
    char *end;
    errno = 0;
    u64 n = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)((unit - units) / 2 + 1) : 20;
    if (errno || *text < '0' || *text > '9' || (*end && (!unit || end[1])) || n > UINT64_MAX >> shift)
        return false;
    *size = n << shift;
    return true;
}

static void run_balloon(struct command_call *call)
{
    struct machine *m = vm_machine(call->vm);
    u64 size;
    if (!call->argc || !size_read(call->argv[0], &size) || !size || size > machine_ram_size(m)) {
        fprintf(call->out, "balloon: give the memory that the guest is to keep, such as 256M; it was made with %lluM\n",
                (unsigned long long)(machine_ram_size(m) >> 20));
        return;
    }
    loop_lock(vm_loop(call->vm));
    int status = machine_balloon_set(m, size);
    loop_unlock(vm_loop(call->vm));
    if (status)
        no_balloon(call);
}

static unsigned long long kib(u64 bytes)
{
    return bytes >> 10;
}

/* The guest says what it does without, and may say anything. */
static unsigned long long kept_kib(const struct machine *m, u64 away)
{
    u64 all = machine_ram_size(m);
    return kib(away < all ? all - away : 0);
}

static void run_info_balloon(struct command_call *call)
{
    static const struct {
        unsigned tag;
        const char *text;
    } stats[] = {{VIRTIO_BALLOON_TOTAL, "total"},
                 {VIRTIO_BALLOON_FREE, "free"},
                 {VIRTIO_BALLOON_AVAILABLE, "available"},
                 {VIRTIO_BALLOON_CACHES, "caches"}};
    struct machine *m = vm_machine(call->vm);
    struct virtio_balloon_info info;
    loop_lock(vm_loop(call->vm));
    int status = machine_balloon_info(m, &info);
    loop_unlock(vm_loop(call->vm));
    if (status) {
        no_balloon(call);
        return;
    }
    if (!info.driver)
        fprintf(call->out, "the guest has no driver for the balloon\n");
    fprintf(call->out, "memory %llu KiB, wanted %llu KiB, now %llu KiB; free pages reported %llu KiB\n",
            kib(machine_ram_size(m)), kept_kib(m, info.wanted), kept_kib(m, info.actual), kib(info.reported));
    for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
        if (info.known[stats[i].tag])
            fprintf(call->out, "guest: %-9s %llu KiB\n", stats[i].text, kib(info.stat[stats[i].tag]));
}

const struct command commands_memory[] = {
    {"balloon", "SIZE", "ask the guest to make do with SIZE of its memory", false, run_balloon},
    {"info balloon", "", "what the guest gave back, and what it says of its memory", false, run_info_balloon},
    {0},
};
