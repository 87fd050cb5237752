/*
 * Two local APICs, the I/O APIC and the 8259s as they are wired in a PC: register accesses in both modes, messages,
 * lines, acknowledges and time in any order. A processor that is told of an interrupt gets one.
 */
#include "dev_fuzz.h"

#include "dev/pc/apic.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/pic.h"

#define CPUS 2

struct fake_cpu {
    struct loop *loop;
    bool intr;
    u64 tsc_offset;
};

static void cpu_intr(void *cpu, bool level)
{
    ((struct fake_cpu *)cpu)->intr = level;
}

static void cpu_signal(void *cpu)
{
    (void)cpu;
}

static void cpu_sipi(void *cpu, u8 vector)
{
    (void)cpu;
    (void)vector;
}

static void cpu_base(void *cpu, u64 base)
{
    (void)cpu;
    if ((base & 0xc00) == 0x400)
        abort(); /* x2APIC mode of a disabled APIC: the base register must not take that */
}

static u64 cpu_tsc(void *cpu)
{
    struct fake_cpu *c = cpu;
    return door_time(c->loop) + c->tsc_offset;
}

static u64 cpu_tsc_to_ns(void *cpu, u64 tsc)
{
    struct fake_cpu *c = cpu;
    return tsc > c->tsc_offset ? tsc - c->tsc_offset : 0;
}

static const struct apic_cpu_ops fake_ops = {
    .set_intr = cpu_intr,
    .nmi = cpu_signal,
    .smi = cpu_signal,
    .init = cpu_signal,
    .sipi = cpu_sipi,
    .base_changed = cpu_base,
    .tsc_now = cpu_tsc,
    .tsc_to_ns = cpu_tsc_to_ns,
};

struct board {
    struct loop *loop;
    struct apic_bus *bus;
    struct pic *pic;
    struct ioapic *ioapic;
    struct apic *apic[CPUS];
    struct fake_cpu cpu[CPUS];
};

static void board_make(struct board *b)
{
    b->loop = loop_create();
    loop_set_manual(b->loop, 0);
    b->bus = apic_bus_create();
    b->pic = pic_create(&(struct pic_config){.intr = apic_bus_lint(b->bus, 0)});
    b->ioapic = ioapic_create(&(struct ioapic_config){.msi = apic_bus_msi(b->bus)});
    apic_bus_connect_pic(b->bus, b->pic);
    apic_bus_on_eoi(b->bus, ioapic_eoi, b->ioapic);
    for (unsigned n = 0; n < CPUS; n++) {
        b->cpu[n].loop = b->loop;
        b->apic[n] = apic_create(&(struct apic_config){.bus = b->bus,
                                                       .loop = b->loop,
                                                       .id = n,
                                                       .hz = APIC_HZ_DEFAULT,
                                                       .phys_bits = 40,
                                                       .x2apic = true,
                                                       .tsc_deadline = true});
        apic_connect_cpu(b->apic[n], &fake_ops, &b->cpu[n]);
        apic_virtual_wire(b->apic[n]);
    }
}

static void destroy(void *dev)
{
    struct dev *d = dev;
    d->cls->destroy(d);
}

static void board_free(struct board *b)
{
    for (unsigned n = 0; n < CPUS; n++)
        destroy(b->apic[n]);
    destroy(b->pic);
    destroy(b->ioapic);
    apic_bus_destroy(b->bus);
    loop_destroy(b->loop);
}

static void step_apic(struct board *b, struct script *s, u8 op)
{
    unsigned n = op >> 3 & 1;
    struct apic *a = b->apic[n];
    static const u32 base[4] = {0x1b, 0x6e0, 0x800, 0x830};
    u64 value;
    switch (op >> 4 & 7) {
    case 0:
        (void)apic_ops.mmio_read(a, (u32)script_take(s, 2) & 0xfff);
        break;
    case 1:
        apic_ops.mmio_write(a, (u32)script_take(s, 1) << 4, (u32)script_value(s));
        break;
    case 2:
        (void)apic_ops.msr_read(a, 0x800 + (u32)script_take(s, 1), &value);
        break;
    case 3: {
        u8 which = (u8)script_take(s, 1);
        u32 msr = base[which & 3] + (which & 2 ? which >> 2 : 0);
        (void)apic_ops.msr_write(a, msr, script_value(s));
        break;
    }
    case 4: { /* base register: the states in between */
        u64 flags = script_take(s, 1) & 3;
        (void)apic_ops.msr_write(a, 0x1b, 0xfee00000 | flags << 10);
        break;
    }
    case 5:
        apic_ops.set_cr8(a, (u8)script_take(s, 1));
        break;
    case 6:
        b->cpu[n].tsc_offset = script_value(s);
        if (op & 0x80)
            apic_ops.tsc_changed(a);
        break;
    case 7:
        apic_ops.reset(a, op & 0x80);
        break;
    }
}

static void step(struct board *b, struct script *s, u8 op)
{
    unsigned n = op >> 3 & 1;
    struct msi_sink msi = apic_bus_msi(b->bus);
    struct irq_line line = op & 0x80 ? ioapic_line(b->ioapic, op >> 3 & 15) : pic_line(b->pic, op >> 3);
    switch (op & 7) {
    case 0:
    case 1:
        step_apic(b, s, op);
        break;
    case 2:
        ioapic_write(b->ioapic, 0, op >> 4 | 0x10);
        ioapic_write(b->ioapic, 0x10, (u32)script_value(s));
        break;
    case 3:
        irq_set(&line, script_take(s, 1) & 1);
        break;
    case 4:
        for (unsigned i = 0; i < CPUS; i++)
            if (b->cpu[i].intr && apic_ops.accept(b->apic[i]) < 0)
                abort(); /* told of an interrupt that is not there */
        break;
    case 5:
        msi_send(&msi, 0xfee00000 | script_take(s, 3), (u32)script_take(s, 2));
        break;
    case 6:
        script_time(s, b->loop);
        break;
    case 7:
        script_state(s, (struct dev *)b->apic[n]);
        script_state(s, (struct dev *)b->ioapic);
        break;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct script s = {.data = data, .size = size};
    struct board b = {0};
    board_make(&b);
    while (script_more(&s))
        step(&b, &s, (u8)script_take(&s, 1));
    board_free(&b);
    return 0;
}
