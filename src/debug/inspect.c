/*
 * Monitor commands that show processors, devices and maps. What they show of devices comes from the declared state.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/world.h"
#include "debug/command.h"
#include "dev/dev.h"
#include "event/clock.h"
#include "event/loop.h"
#include "machine/machine.h"
#include "vm/vm.h"

static const char *activity_name(unsigned activity)
{
    static const char *const names[] = {[CPU_ACTIVE] = "active",
                                        [CPU_HALTED] = "halted",
                                        [CPU_WAIT_SIPI] = "waits for SIPI",
                                        [CPU_SHUTDOWN] = "shut down"};
    return activity < ARRAY_SIZE(names) ? names[activity] : "?";
}

static void show_segment(FILE *out, const char *name, const struct cpu_seg *s)
{
    fprintf(out, "%-4s %04x base=%016llx limit=%08x attr=%06x\n", name, s->sel, (unsigned long long)s->base, s->limit,
            s->attr);
}

static void show_general(FILE *out, const struct cpu *c)
{
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        fprintf(out, "%-3s=%016llx%c", names[i], (unsigned long long)c->gpr[i], i % 4 == 3 ? '\n' : ' ');
    fprintf(out, "rip=%016llx rflags=%08llx cpl=%u mode=%u-bit %s\n", (unsigned long long)cpu_rip(c),
            (unsigned long long)cpu_rflags(c), c->cpl, c->mode * 8u, activity_name(c->activity));
}

static void run_registers(struct command_call *call)
{
    static const char segments[6][3] = {"es", "cs", "ss", "ds", "fs", "gs"};
    const struct cpu *c = command_cpu(call, 0);
    FILE *out = call->out;
    if (!c)
        return;
    fprintf(out, "processor %u\n", c->id);
    show_general(out, c);
    for (unsigned i = 0; i < ARRAY_SIZE(segments); i++)
        show_segment(out, segments[i], &c->seg[i]);
    show_segment(out, "ldtr", &c->ldtr[0]);
    show_segment(out, "tr", &c->tr[0]);
    show_segment(out, "gdtr", &c->gdtr[0]);
    show_segment(out, "idtr", &c->idtr[0]);
    fprintf(out, "cr0=%08llx cr2=%016llx cr3=%016llx cr4=%08llx efer=%04llx xcr0=%llx\n", (unsigned long long)c->cr0,
            (unsigned long long)c->cr2, (unsigned long long)c->cr3, (unsigned long long)c->cr4,
            (unsigned long long)c->efer, (unsigned long long)c->xcr0);
    fprintf(out, "dr0=%llx dr1=%llx dr2=%llx dr3=%llx dr6=%llx dr7=%llx\n", (unsigned long long)c->dr[0],
            (unsigned long long)c->dr[1], (unsigned long long)c->dr[2], (unsigned long long)c->dr[3],
            (unsigned long long)c->dr[6], (unsigned long long)c->dr[7]);
}

static void show_line(void *opaque, const char *line)
{
    fprintf(opaque, "%s\n", line);
}

static void run_state(struct command_call *call)
{
    const struct cpu *c = command_cpu(call, 0);
    if (c)
        state_show(&cpu_class, c, show_line, call->out);
}

static void run_cpus(struct command_call *call)
{
    struct world *world = machine_world(vm_machine(call->vm));
    for (unsigned i = 0; i < world_count(world); i++) {
        const struct cpu *c = world_cpu(world, i);
        fprintf(call->out, "%u: %s at %04x:%016llx, cpl %u, %llu instructions\n", i, activity_name(c->activity),
                c->seg[SEG_CS].sel, (unsigned long long)cpu_rip(c), c->cpl, (unsigned long long)c->insns);
    }
}

static void run_status(struct command_call *call)
{
    u64 ms = vclock_now(loop_clock(vm_loop(call->vm))) / 1000000;
    fprintf(call->out, "%s, engine %s (%s), virtual time %llu.%03llu s\n", vm_state_name(vm_state(call->vm)),
            vm_engine_name(call->vm), vm_engine_reason(call->vm), (unsigned long long)(ms / 1000),
            (unsigned long long)(ms % 1000));
}

static void run_devices(struct command_call *call)
{
    const struct dev *d;
    for (unsigned n = 0; (d = machine_dev(vm_machine(call->vm), n)); n++)
        fprintf(call->out, "%s.%u\n", d->cls->name, d->instance);
}

/* "uart" or "uart.1". */
static bool dev_matches(const struct dev *d, const char *name)
{
    size_t len = strlen(d->cls->name);
    if (strncmp(name, d->cls->name, len) != 0)
        return false;
    return name[len] == '\0' || (name[len] == '.' && strtoul(name + len + 1, NULL, 10) == d->instance);
}

static void dev_show(struct command_call *call, struct dev *d)
{
    fprintf(call->out, "%s.%u\n", d->cls->name, d->instance);
    if (!d->cls->state)
        return;
    loop_lock(vm_loop(call->vm));
    if (d->cls->saving)
        d->cls->saving(d);
    state_show(d->cls->state, d->cls->get_state(d), show_line, call->out);
    loop_unlock(vm_loop(call->vm));
}

static void run_device(struct command_call *call)
{
    bool found = false;
    struct dev *d;
    for (unsigned n = 0; call->argc && (d = machine_dev(vm_machine(call->vm), n)); n++)
        if (dev_matches(d, call->argv[0])) {
            dev_show(call, d);
            found = true;
        }
    if (!found)
        fprintf(call->out, "%s: no such device; `info devices` lists them, `help` the rest\n",
                call->argc ? call->argv[0] : "info");
}

static void show_range(void *opaque, u64 base, u64 last, enum mem_kind read, enum mem_kind write, const char *name)
{
    static const char *const kinds[] = {
        [MEM_NONE] = "-", [MEM_RAM] = "RAM", [MEM_ROM] = "ROM", [MEM_WINDOW] = "window"};
    fprintf(opaque, "%016llx-%016llx %-6s %-6s %s\n", (unsigned long long)base, (unsigned long long)last, kinds[read],
            kinds[write], name ? name : "");
}

static void show_port(void *opaque, u64 base, u64 last, enum mem_kind read, enum mem_kind write, const char *name)
{
    fprintf(opaque, "%04llx-%04llx %s\n", (unsigned long long)base, (unsigned long long)last, name ? name : "");
}

static void run_mem(struct command_call *call)
{
    fprintf(call->out, "%-33s %-6s %-6s\n", "addresses", "reads", "writes");
    mem_show(machine_mem(vm_machine(call->vm)), false, show_range, call->out);
}

static void run_ports(struct command_call *call)
{
    mem_show(machine_mem(vm_machine(call->vm)), true, show_port, call->out);
}

static void run_network(struct command_call *call)
{
    vm_show_nets(call->vm, show_line, call->out);
}

static void show_stat(void *opaque, unsigned cpu, const char *name, u64 value)
{
    fprintf(opaque, "processor %u: %-24s %llu\n", cpu, name, (unsigned long long)value);
}

static void run_stats(struct command_call *call)
{
    vm_stats(call->vm, show_stat, call->out);
}

const struct command commands_inspect[] = {
    {"info status", "", "running or paused, engine, virtual time", false, run_status},
    {"info cpus", "", "what each processor does", true, run_cpus},
    {"info registers", "[CPU]", "registers of a processor", true, run_registers},
    {"info state", "[CPU]", "everything that a processor's saved state has", true, run_state},
    {"info mem", "", "map of the physical addresses", false, run_mem},
    {"info ports", "", "map of the ports", false, run_ports},
    {"info network", "", "networks and the vsock: where they lead, what went through", false, run_network},
    {"info devices", "", "list of the devices", false, run_devices},
    {"info", "DEVICE", "state of a device, such as uart or uart.0", true, run_device},
    {"stats", "", "counters of the engine", false, run_stats},
    {0},
};
