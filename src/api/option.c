/*
 * The table of options, and how their values are read (option.h).
 */
#include "api/option.h"

#include <stdlib.h>
#include <string.h>

#include "backend/char/open.h"
#include "base/bits.h"
#include "cpu/model.h"
#include "machine/boot/boot.h"
#include "machine/machine.h"

#define MEMORY_MIN MiB(1)
#define MEMORY_MAX GiB(512)

/* A decimal number; false if it is none or does not fit. Sets *rest to what follows. */
static bool number_read(const char *text, u64 *value, const char **rest)
{
    const char *p = text;
    u64 v = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (u64)(*p - '0'), &v))
            return false;
    *value = v;
    *rest = p;
    return p != text;
}

static int parse_size(const char *who, const char *value, void *place, struct error *err)
{
    static const char units[] = "kKmMgG";
    const char *rest;
    u64 size;
    bool good = number_read(value, &size, &rest);
    unsigned shift = 20; /* a bare number is MiB */
    if (good && *rest) {
        const char *unit = strchr(units, *rest);
        good = unit && !rest[1];
        shift = unit ? 10 * (unsigned)((unit - units) / 2 + 1) : 0;
    }
    if (!good)
        return error_set(err, -EINVAL, "%s: not a size; give a number with K, M or G, such as 512M", who);
    if (size > MEMORY_MAX >> shift || size << shift < MEMORY_MIN)
        return error_set(err, -EINVAL, "%s: out of range; give 1M to 512G", who);
    if (!is_aligned(size << shift, 4096))
        return error_set(err, -EINVAL, "%s: not a whole number of pages; give a multiple of 4K", who);
    *(u64 *)place = size << shift;
    return 0;
}

static int parse_cpus(const char *who, const char *value, void *place, struct error *err)
{
    const char *rest;
    u64 n;
    if (!number_read(value, &n, &rest) || *rest || n < 1 || n > MACHINE_MAX_CPUS)
        return error_set(err, -EINVAL, "%s: not a number of processors; give 1 to %d", who, MACHINE_MAX_CPUS);
    *(unsigned *)place = (unsigned)n;
    return 0;
}

static int parse_count(const char *who, const char *value, void *place, struct error *err)
{
    const char *rest;
    u64 n;
    if (!number_read(value, &n, &rest) || *rest || n > UINT8_MAX)
        return error_set(err, -EINVAL, "%s: not a count; give 0 to %d", who, UINT8_MAX);
    *(u8 *)place = (u8)n;
    return 0;
}

static int parse_text(const char *who, const char *value, void *place, struct error *err)
{
    *(const char **)place = value;
    return 0;
}

static int parse_path(const char *who, const char *value, void *place, struct error *err)
{
    if (!*value)
        return error_set(err, -EINVAL, "%s: the path is empty; give the path of a file", who);
    return parse_text(who, value, place, err);
}

static int parse_console(const char *who, const char *value, void *place, struct error *err)
{
    int status = char_spec_check(who, value, err);
    return status ? status : parse_text(who, value, place, err);
}

static int list_add(const char *who, const char *value, void *place, struct error *err)
{
    struct vm_list *list = place;
    if (list->count == VM_LIST_MAX)
        return error_set(err, -EINVAL, "%s: there are too many of them; give at most %d", who, VM_LIST_MAX);
    list->item[list->count++] = value;
    return 0;
}

static int parse_disk(const char *who, const char *value, void *place, struct error *err)
{
    int status = vm_disk_check(who, value, err);
    return status ? status : list_add(who, value, place, err);
}

static int parse_net(const char *who, const char *value, void *place, struct error *err)
{
    int status = vm_net_check(who, value, err);
    return status ? status : list_add(who, value, place, err);
}

static int parse_vsock(const char *who, const char *value, void *place, struct error *err)
{
    int status = vm_vsock_check(who, value, err);
    return status ? status : parse_text(who, value, place, err);
}

static int parse_share(const char *who, const char *value, void *place, struct error *err)
{
    int status = vm_share_check(who, value, err);
    return status ? status : list_add(who, value, place, err);
}

static int parse_cloud_init(const char *who, const char *value, void *place, struct error *err)
{
    int status = vm_seed_check(who, value, err);
    return status ? status : parse_text(who, value, place, err);
}

static int parse_port(const char *who, const char *value, void *place, struct error *err)
{
    int status = char_spec_check(who, value, err);
    return status ? status : list_add(who, value, place, err);
}

static int parse_switch(const char *who, const char *value, void *place, struct error *err)
{
    bool on = strcmp(value, "on") == 0;
    if (!on && strcmp(value, "off") != 0)
        return error_set(err, -EINVAL, "%s: not a switch; give on or off", who);
    *(bool *)place = on;
    return 0;
}

static int parse_sandbox(const char *who, const char *value, void *place, struct error *err)
{
    static const struct {
        const char *name;
        enum vm_sandbox sandbox;
    } values[] = {{"on", VM_SANDBOX_ON}, {"auto", VM_SANDBOX_AUTO}, {"off", VM_SANDBOX_OFF}};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (strcmp(values[i].name, value) == 0) {
            *(enum vm_sandbox *)place = values[i].sandbox;
            return 0;
        }
    return error_set(err, -EINVAL, "%s: not a way to confine the process; give on, auto or off", who);
}

static int parse_virtio(const char *who, const char *value, void *place, struct error *err)
{
    bool mmio = strcmp(value, "mmio") == 0;
    if (!mmio && strcmp(value, "pci") != 0)
        return error_set(err, -EINVAL, "%s: no such bus; give pci or mmio", who);
    *(bool *)place = mmio;
    return 0;
}

static int parse_unpack(const char *who, const char *value, void *place, struct error *err)
{
    static const char *const words[] = {
        [BOOT_UNPACK_KEEP] = "keep", [BOOT_UNPACK_HOST] = "host", [BOOT_UNPACK_GUEST] = "guest"};
    for (size_t n = 0; n < ARRAY_SIZE(words); n++) {
        if (strcmp(value, words[n]) == 0) {
            *(u8 *)place = (u8)n;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "%s: nobody who could unpack it; give keep, host or guest", who);
}

#define AT(member) offsetof(struct vm_config, member)

/* name, alias, value, preset, help, repeats */
static const struct option options[] = {
    {{"kernel", NULL, "PATH", NULL, "kernel: Linux bzImage, ELF with a PVH note, or multiboot 1"},
     parse_path,
     AT(kernel)},
    {{"initramfs", "initrd", "PATH", NULL, "initial file system; for multiboot modules: PATH ARGS,PATH ARGS"},
     parse_path,
     AT(initramfs)},
    {{"cmdline", "append", "TEXT", NULL, "command line of the kernel"}, parse_text, AT(cmdline)},
    {{"unpack", NULL, "WHO", "keep",
      "who unpacks a bzImage: host; keep, the same, and keeps it for the next time; guest"},
     parse_unpack,
     AT(unpack)},
    {{"firmware", "bios", "FILE", NULL, "firmware image, mapped to end at 4 GiB"}, parse_path, AT(firmware)},
    {{"memory", "m", "SIZE", "1G", "memory in K, M or G; a bare number is MiB"}, parse_size, AT(ram_size)},
    {{"cpus", "smp", "COUNT", "1", "processors, 1 to 64"}, parse_cpus, AT(cpus)},
    {{"cpu", NULL, "MODEL", "x86-64-v3", "processor model, see below"}, parse_text, AT(cpu_model)},
    {{"engine", NULL, "ENGINE", "auto", "what carries out guest code: auto, translate, kvm or interp"},
     parse_text,
     AT(engine)},
    {{"engine-memory", NULL, "SIZE", NULL,
      "host memory that translate may use beside the guest's; preset 448M and 64M for each processor"},
     parse_size,
     AT(engine_memory)},
    {{"translate-after", NULL, "COUNT", "2", "how often translate runs code by other means first; 0 to 255"},
     parse_count,
     AT(translate_after)},
    {{"serial", NULL, "WHERE", "stdio", "first serial port: stdio, file=PATH, pty or null"}, parse_console, AT(serial)},
    {{"debugcon", NULL, "WHERE", NULL, "debug console and firmware log, ports 0xe9 and 0x402: as --serial"},
     parse_console,
     AT(debugcon)},
    {{"disk", NULL, "IMAGE", NULL, "disk image (virtio-blk), see ring3(1) for more words; may be repeated", true},
     parse_disk,
     AT(disk)},
    {{"net", "nic", "NETWORK", NULL,
      "network (virtio-net): nat (the preset), tap:NAME, fd:N, switch:PATH or none; ring3(1) has its keys; may be "
      "repeated",
      true},
     parse_net,
     AT(net)},
    {{"vsock", NULL, "PATH[,cid=N]", NULL,
      "streams between ports of the guest (virtio-vsock) and Unix sockets at PATH"},
     parse_vsock,
     AT(vsock)},
    {{"share", NULL, "FOLDER", NULL, "share a folder of the host (9p), see ring3(1) for words; may be repeated", true},
     parse_share,
     AT(share)},
    {{"root", NULL, "host|FOLDER", NULL, "run a command on the host's root file system; writes go to memory"},
     parse_path,
     AT(root)},
    {{"modules", NULL, "FOLDER", NULL, "the kernel's modules for --root; without it those of its version"},
     parse_path,
     AT(modules)},
    {{"cloud-init", NULL, "USER-DATA", NULL, "configuration for cloud-init in the guest, see ring3(1) for more words"},
     parse_cloud_init,
     AT(cloud_init)},
    {{"console", NULL, "WHERE", NULL, "virtio console (hvc0, ...): as --serial; may be repeated", true},
     parse_port,
     AT(port)},
    {{"virtio", NULL, "BUS", "pci", "where virtio devices are: pci, or mmio for a guest without PCI"},
     parse_virtio,
     AT(virtio_mmio)},
    {{"balloon", NULL, "on|off", "on", "let the guest give memory back (virtio-balloon)"}, parse_switch, AT(balloon)},
    {{"rng", NULL, "on|off", "on", "random numbers of the host for the guest (virtio-rng)"}, parse_switch, AT(rng)},
    {{"debug-exit", NULL, NULL, "off", "a write of VALUE to port 0xf4 ends with status (VALUE << 1) | 1"},
     parse_switch,
     AT(debug_exit)},
    {{"testdev", NULL, NULL, "off", "the test devices that kvm-unit-tests is written against"},
     parse_switch,
     AT(testdev)},
    {{"sandbox", NULL, "WHEN", NULL, "confine the process: on (what `ring3 run` does), auto (if the host can) or off"},
     parse_sandbox,
     AT(sandbox)},
    {{"check", NULL, NULL, "off", "hold translated code against the interpreter; end at the first difference"},
     parse_switch,
     AT(check)},
    {{"perf-map", NULL, NULL, "off", "name translated code for Linux perf, in /tmp/perf-PID.map, which stays"},
     parse_switch,
     AT(perf_map)},
    {{"timing", NULL, NULL, "off", "measure where an engine's time goes, for its counters; --stats does so"},
     parse_switch,
     AT(timing)},
    {{"no-reboot", NULL, NULL, "off", "end instead of resetting the machine"}, parse_switch, AT(no_reboot)},
};
_Static_assert(ARRAY_SIZE(options) <= OPTION_MAX, "OPTION_MAX");

const struct option *option_at(unsigned n)
{
    return n < ARRAY_SIZE(options) ? &options[n] : NULL;
}

const struct option *option_find(const char *name, unsigned *index)
{
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
        if (strcmp(options[i].public.name, name) == 0) {
            *index = i;
            return &options[i];
        }
    return NULL;
}

const struct ring3_option *ring3_option_at(unsigned n)
{
    return n < ARRAY_SIZE(options) ? &options[n].public : NULL;
}
