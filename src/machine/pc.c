/* Life of a machine: making it, loading the guest, reset. See machine.h. */
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/model.h"
#include "cpu/world.h"
#include "dev/pc/apic.h"
#include "dev/pc/ferr.h"
#include "dev/virtio/console.h"
#include "event/door.h"
#include "event/loop.h"
#include "machine/board.h"
#include "machine/boot/entry.h"
#include "machine/boot/firmware.h"
#include "machine/builtin.h"
#include "machine/pc.h"

#define RAM_MIN MiB(1)

/* --- configuration and files ------------------------------------------------------------------------------------ */

static int check_config(const struct machine_config *cfg, struct error *err)
{
    if (cfg->ram_size < RAM_MIN || !is_aligned(cfg->ram_size, MEM_PAGE_SIZE))
        return error_set(err, -EINVAL, "--memory: give at least 1M, in steps of 4K");
    if (cfg->cpus < 1 || cfg->cpus > MACHINE_MAX_CPUS)
        return error_set(err, -EINVAL, "--cpus %u: give 1 to %u", cfg->cpus, MACHINE_MAX_CPUS);
    if (cfg->initramfs && !cfg->kernel && !cfg->loaded)
        return error_set(err, -EINVAL, "--initramfs %s: it needs a --kernel that takes it", cfg->initramfs);
    return 0;
}

static char *copy(const char *text, bool *failed)
{
    char *c = text ? strdup(text) : NULL;

    if (text && !c)
        *failed = true;
    return c;
}

static int copy_strings(struct machine *m, struct error *err)
{
    const struct machine_config *cfg = &m->cfg;
    bool failed = false;

    m->kernel_path = copy(cfg->kernel, &failed);
    m->firmware_path = copy(cfg->firmware, &failed);
    m->initramfs = copy(cfg->initramfs, &failed);
    m->cmdline = copy(cfg->cmdline ? cfg->cmdline : "", &failed);
    m->cfg.kernel = m->kernel_path;
    m->cfg.firmware = m->firmware_path;
    m->cfg.initramfs = m->initramfs;
    m->cfg.cmdline = m->cmdline;
    m->kernel = (struct boot_file){.option = "--kernel", .path = m->kernel_path};
    m->firmware = (struct boot_file){.option = "--firmware", .path = m->firmware_path};
    return failed ? error_set(err, -ENOMEM, "out of memory") : 0;
}

/* The pointers become the machine's, so that a reset finds them too. */
static void take_loaded(struct machine *m, struct machine_loaded *l)
{
    m->loaded = *l;
    *l = (struct machine_loaded){0};
    m->cfg.loaded = NULL;
    l = &m->loaded;
    m->kernel =
        (struct boot_file){.option = l->origin, .path = l->kernel_path, .data = l->kernel, .size = l->kernel_size};
    if (!m->initramfs && l->initramfs) {
        m->modules.item[0] = (struct boot_module){
            .text = l->initramfs_path,
            .file = {.option = l->origin, .path = l->initramfs_path, .data = l->initramfs, .size = l->initramfs_size}};
        m->modules.count = 1;
        l->initramfs_path = NULL; /* freed with the modules, as the kernel is with its file */
        l->initramfs = NULL;
    }
}

/* The built-in guest, when there is nothing else to run. */
static int take_builtin(struct machine *m, struct error *err)
{
    m->kernel.path = "(built-in guest)";
    m->kernel.data = malloc(builtin_guest_size);
    if (!m->kernel.data)
        return error_set(err, -ENOMEM, "out of memory");
    memcpy(m->kernel.data, builtin_guest, builtin_guest_size);
    m->kernel.size = builtin_guest_size;
    return 0;
}

/* A file that is larger than all of memory cannot be of use, but its own loader says that better. */
static u64 file_limit(const struct machine *m)
{
    return m->cfg.ram_size < GiB(1) ? GiB(1) : m->cfg.ram_size;
}

static int read_files(struct machine *m, struct error *err)
{
    int status = boot_file_read(&m->firmware, FIRMWARE_MAX, err);

    if (!status)
        status = boot_file_read(&m->kernel, file_limit(m), err);
    if (!status && m->cfg.loaded)
        take_loaded(m, m->cfg.loaded);
    if (!status && !m->firmware.path && !m->kernel.path)
        status = take_builtin(m, err);
    if (status)
        return status;
    bool list = m->kernel.path && boot_identify(&m->kernel) == BOOT_MULTIBOOT;
    status = boot_modules_read(&m->modules, m->initramfs, list, file_limit(m), err);
    return status ? status : boot_modules_append(&m->modules, m->cfg.archive, m->cfg.archive_size, err);
}

/* --- processors ------------------------------------------------------------------------------------------------- */

/* FERR# of the bootstrap processor, on its own thread, without the lock. */
static void processor_ferr(struct cpu *c, bool level)
{
    struct machine *m = c->ferr_opaque;

    loop_lock(m->cfg.loop);
    ferr_set(m->ferr, level);
    loop_unlock(m->cfg.loop);
}

#define CPUID1_ECX_X2APIC       BIT(21)
#define CPUID1_ECX_TSC_DEADLINE BIT(24)

static int add_processor(struct machine *m, unsigned id, struct error *err)
{
    u32 cpuid[4];
    struct cpu *c = m->cpu[id] = cpu_create(&(struct cpu_config){.id = id,
                                                                 .count = m->cfg.cpus,
                                                                 .model = m->cfg.model,
                                                                 .mem = m->mem,
                                                                 .loop = m->cfg.loop,
                                                                 .world = m->world,
                                                                 .log = m->cfg.log,
                                                                 .tsc_hz = BOARD_TSC_HZ});
    if (!c)
        return error_set(err, -ENOMEM, "--cpus %u: out of memory", m->cfg.cpus);
    cpu_cpuid(c, 1, 0, cpuid);
    m->apic[id] = apic_create(&(struct apic_config){.bus = m->apic_bus,
                                                    .loop = m->cfg.loop,
                                                    .id = id,
                                                    .hz = CPU_CRYSTAL_HZ,
                                                    .phys_bits = m->cfg.model->physical_bits,
                                                    .x2apic = cpuid[2] & CPUID1_ECX_X2APIC,
                                                    .tsc_deadline = cpuid[2] & CPUID1_ECX_TSC_DEADLINE});
    if (!m->apic[id])
        return error_set(err, -ENOMEM, "--cpus %u: out of memory", m->cfg.cpus);
    m->dev[m->devs++] = (struct dev *)m->apic[id];
    apic_connect_cpu(m->apic[id], cpu_connect_apic(c, &apic_ops, m->apic[id]), c);
    return 0;
}

static int add_processors(struct machine *m, struct error *err)
{
    m->world = world_create(m->cfg.cpus);
    m->apic_bus = apic_bus_create();
    if (!m->world || !m->apic_bus)
        return error_set(err, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < m->cfg.cpus; i++) {
        int status = add_processor(m, i, err);
        if (status)
            return status;
    }
    m->cpu[0]->ferr = processor_ferr;
    m->cpu[0]->ferr_opaque = m;
    return 0;
}

/* --- loading ---------------------------------------------------------------------------------------------------- */

static int load_guest(struct machine *m, struct error *err)
{
    struct boot b;
    int status;

    if (m->firmware.path) /* it starts at the reset vector, in ROM */
        return 0;
    boot_init(&b, m->mem);
    b.kernel = &m->kernel;
    b.modules = &m->modules;
    b.cmdline = m->cmdline;
    b.err = err;
    b.unpack = m->cfg.unpack != BOOT_UNPACK_GUEST;
    b.keep = m->cfg.unpack == BOOT_UNPACK_KEEP && !m->ran;
    door_random(m->cfg.loop, &b.random, sizeof(b.random));
    status = machine_without_firmware(m, &b.rsdp, err);
    if (status)
        return status;
    status = boot_start(&b);
    m->ran = true;
    if (status)
        return status;
    boot_enter(m->cpu[0], &b.entry);
    return 0;
}

/* Requests that reached a processor before the reset are void; those of its thread's owner are not ours. */
static void drop_requests(struct cpu *c)
{
    u32 keep = ~(u32)(REQ_INTR | REQ_NMI | REQ_INIT | REQ_SIPI | REQ_SMI | REQ_DEBUG);

    c->request &= keep;
}

int machine_reset(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < m->devs; i++)
        m->dev[i]->cls->reset(m->dev[i]);
    for (unsigned i = 0; i < m->cfg.cpus; i++) {
        cpu_reset(m->cpu[i], true);
        drop_requests(m->cpu[i]);
    }
    return load_guest(m, err);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static int build(struct machine *m, struct error *err)
{
    struct msi_sink msi;
    int status;

    m->mem = mem_space_create(m->cfg.loop, m->cfg.ram_size, BOARD_RAM_BELOW_4G, err);
    if (!m->mem)
        return -ENOMEM;
    status = add_processors(m, err);
    if (status)
        return status;
    msi = apic_bus_msi(m->apic_bus);
    pci_bus_init(&m->pci, m->mem, &msi);
    status = machine_add_devices(m, err);
    if (!status && m->firmware.path)
        status = firmware_map(m->mem, &m->firmware, err);
    if (!status)
        status = machine_fill_fw_cfg(m, err);
    if (status)
        return status;
    machine_fill_cmos(m);
    return machine_reset(m, err);
}

struct machine *machine_create(const struct machine_config *cfg, struct error *err)
{
    struct machine *m;
    int status = check_config(cfg, err);

    if (status)
        return NULL;
    m = calloc(1, sizeof(*m));
    if (!m) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    m->cfg = *cfg;
    status = copy_strings(m, err);
    if (!status)
        status = read_files(m, err);
    if (!status) {
        loop_lock(cfg->loop);
        status = build(m, err);
        loop_unlock(cfg->loop);
    }
    if (status) {
        machine_destroy(m);
        return NULL;
    }
    return m;
}

static void destroy_devices(struct machine *m)
{
    loop_lock(m->cfg.loop);
    if (m->stream)
        virtio_console_finish(m->stream);
    while (m->devs) {
        struct dev *d = m->dev[--m->devs];
        d->cls->destroy(d);
    }
    apic_bus_destroy(m->apic_bus);
    loop_unlock(m->cfg.loop);
}

static void free_files(struct machine *m)
{
    boot_file_free(&m->kernel);
    boot_file_free(&m->firmware);
    boot_modules_free(&m->modules);
    free(m->loaded.origin);
    free(m->loaded.kernel_path);
    free(m->loaded.initramfs_path);
    free(m->loaded.initramfs);
    free(m->kernel_path);
    free(m->firmware_path);
    free(m->initramfs);
    free(m->cmdline);
    acpi_free(&m->acpi);
    bytes_free(&m->acpi_script);
    bytes_free(&m->smbios_anchor);
    bytes_free(&m->smbios_tables);
    bytes_free(&m->e820);
    firmware_kernel_free(&m->offered);
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    destroy_devices(m);
    for (unsigned i = 0; i < ARRAY_SIZE(m->cpu); i++) {
        if (m->cpu[i])
            cpu_destroy(m->cpu[i]);
    }
    if (m->world)
        world_destroy(m->world);
    mem_space_destroy(m->mem);
    free_files(m);
    free(m);
}

struct world *machine_world(struct machine *m)
{
    return m->world;
}

struct mem_space *machine_mem(struct machine *m)
{
    return m->mem;
}

struct dev *machine_dev(struct machine *m, unsigned n)
{
    return n < m->devs ? m->dev[n] : NULL;
}
