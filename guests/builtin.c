/*
 * The guest that runs when ring3 is given none: says what machine it found, then answers keys. Built into the program
 * (docs/architecture.md), so it needs no network and no file.
 */
#include "lib/guest.h"

struct multiboot {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
};

struct memory_range {
    u32 size;
    u64 base, length;
    u32 type;
} __attribute__((packed));

extern u64 multiboot_info;
static volatile u64 ticks;

static void show_processor(void)
{
    u32 r[4], brand[13] = {0}, vendor[4] = {0};
    cpuid(0, 0, r);
    vendor[0] = r[1], vendor[1] = r[3], vendor[2] = r[2];
    for (u32 n = 0; n < 3; n++)
        cpuid(0x80000002 + n, 0, brand + 4 * n);
    print("  processor  %u x %s (%s)\n", cpu_count(), (const char *)brand, (const char *)vendor);
}

static void show_memory(void)
{
    const struct multiboot *mb = (void *)multiboot_info;
    u64 total = 0;
    for (u32 at = 0; at < mb->mmap_length;) {
        const struct memory_range *m = (void *)(u64)(mb->mmap_addr + at);
        if (m->type == 1)
            total += m->length;
        at += m->size + 4;
    }
    print("  memory     %lu MiB\n", (total + (1 << 19)) >> 20);
}

static void show_map(void)
{
    static const char *const type[] = {"?", "usable", "reserved", "ACPI", "ACPI NVS", "bad"};
    const struct multiboot *mb = (void *)multiboot_info;
    for (u32 at = 0; at < mb->mmap_length;) {
        const struct memory_range *m = (void *)(u64)(mb->mmap_addr + at);
        print("  %016lx - %016lx %s\n", m->base, m->base + m->length - 1, type[m->type < 6 ? m->type : 0]);
        at += m->size + 4;
    }
}

static u32 pci_read(unsigned device, unsigned function, unsigned reg)
{
    outl(0xcf8, 0x80000000u | device << 11 | function << 8 | (reg & 0xfc));
    return inl(0xcfc);
}

static void show_pci(void)
{
    static const struct {
        u16 class;
        const char *name;
    } names[] = {{0x0600, "host bridge"}, {0x0601, "ISA bridge"}, {0x0680, "bridge"},
                 {0x0101, "IDE"},         {0x0200, "Ethernet"},   {0x0300, "VGA"}};
    for (unsigned d = 0; d < 32; d++)
        for (unsigned f = 0; f < 8; f++) {
            u32 id = pci_read(d, f, 0), class = pci_read(d, f, 8) >> 16;
            if ((u16)id == 0xffff)
                continue;
            const char *name = "device";
            for (unsigned n = 0; n < sizeof(names) / sizeof(names[0]); n++)
                if (names[n].class == class)
                    name = names[n].name;
            print("  00:%02x.%u %04x:%04x %s\n", d, f, id & 0xffff, id >> 16, name);
        }
}

static void tick(struct regs *r)
{
    ticks++;
    apic_write(0xb0, 0);
}

/* The local APIC's timer at about 10 Hz wakes the processor; between ticks it halts. */
static void start_timer(void)
{
    u32 r[4];
    cpuid(0x15, 0, r);
    on_vector(0x40, tick);
    apic_enable();
    apic_write(0x3e0, 0xb);
    apic_write(0x320, 0x20040);
    apic_write(0x380, (r[2] ? r[2] : 1000000000u) / 10);
}

static _Noreturn void power_off(void)
{
    print("Good-bye.\n");
    u32 base = pci_read(1, 3, 0x40) & 0xffc0; /* PIIX4 power management: PMBA */
    outw((u16)(base + 4), 0x2000);            /* SLP_EN, S5 */
    for (;;)
        asm volatile("cli; hlt");
}

static void help(void)
{
    print("\n  m memory map   p PCI devices   t time   o power off\n"
          "  Ctrl-a x ends ring3; ring3 help run shows how to start a kernel of yours.\n\n");
}

static void key(char ch)
{
    switch (ch) {
    case 'm':
        show_map();
        break;
    case 'p':
        show_pci();
        break;
    case 't':
        print("  up %lu.%lu s, TSC %lu\n", ticks / 10, ticks % 10, rdtsc());
        break;
    case 'o':
        power_off();
    default:
        help();
    }
}

void test(void)
{
    print("\nring3: this is the built-in guest, in 64-bit mode on its own machine.\n\n");
    show_processor();
    show_memory();
    show_pci();
    help();
    start_timer();
    for (;;) {
        sti();
        asm volatile("hlt");
        while (inb(0x3fd) & 1)
            key((char)inb(0x3f8));
    }
}
