/* Configuration space, BARs, interrupt routing, shadow RAM, MSI and MSI-X, and pci-testdev on the bus. */
#include "ports.h"

#include "bus/msi.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/piix3.h"
#include "dev/pc/piix4pm.h"
#include "dev/pc/testdev.h"

struct fixture {
    struct board b;
    struct pci_bus bus;
    struct i440fx *host;
    struct piix3 *isa;
    struct pci_testdev *test;
    struct probe line[16];
    u64 msi_address;
    u32 msi_data;
    unsigned msi_count;
};

static void msi_record(void *opaque, u64 address, u32 data)
{
    struct fixture *f = opaque;

    f->msi_address = address;
    f->msi_data = data;
    f->msi_count++;
}

static void setup(struct fixture *f)
{
    struct piix3_config isa = {.bus = &f->bus};

    memset(f, 0, sizeof(*f));
    board_open(&f->b);
    loop_lock(f->b.loop);
    pci_bus_init(&f->bus, f->b.mem, &(struct msi_sink){msi_record, f});
    f->host = i440fx_create(&(struct i440fx_config){&f->bus, board_count_reset, &f->b}, NULL);
    for (unsigned i = 0; i < 16; i++)
        isa.isa[i] = probe_line(&f->line[i]);
    f->isa = piix3_create(&isa, NULL);
    f->test = pci_testdev_create(&(struct pci_testdev_config){&f->bus, PCI_DEVFN(4, 0)}, NULL);
    loop_unlock(f->b.loop);
    assert_true(f->host && f->isa && f->test);
}

static void teardown(struct fixture *f)
{
    board_destroy_dev(&f->b, f->test);
    board_destroy_dev(&f->b, f->isa);
    board_destroy_dev(&f->b, f->host);
    board_close(&f->b);
}

static u32 cfg_address(unsigned device, unsigned off)
{
    return 0x80000000u | device << 11 | (off & 0xfc);
}

static u32 cfg_read(struct fixture *f, unsigned device, unsigned off, unsigned size)
{
    outl(&f->b, 0xcf8, cfg_address(device, off));
    return mem_port_read(f->b.mem, (u16)(0xcfc + (off & 3)), size);
}

static void cfg_write(struct fixture *f, unsigned device, unsigned off, u32 value, unsigned size)
{
    outl(&f->b, 0xcf8, cfg_address(device, off));
    mem_port_write(f->b.mem, (u16)(0xcfc + (off & 3)), value, size);
}

static void test_config_access(void **state)
{
    struct fixture f;
    setup(&f);

    assert_int_equal(cfg_read(&f, 0, 0, 4), 0x12378086);
    assert_int_equal(cfg_read(&f, 0, 2, 2), 0x1237);
    assert_int_equal(cfg_read(&f, 0, 3, 1), 0x12);
    assert_int_equal(cfg_read(&f, 1, 0, 4), 0x70008086);
    assert_int_equal(cfg_read(&f, 1, 0x0e, 1), 0x80);
    assert_int_equal(cfg_read(&f, 2, 0, 4), 0xffffffff);
    assert_int_equal(inl(&f.b, 0xcf8), cfg_address(2, 0));

    /* Without the enable bit, and on another bus, nobody answers. */
    outl(&f.b, 0xcf8, 0);
    assert_int_equal(inl(&f.b, 0xcfc), 0xffffffff);
    outl(&f.b, 0xcf8, 0x80010000);
    assert_int_equal(inl(&f.b, 0xcfc), 0xffffffff);
    /* Bytes and words do not reach the address register. */
    outl(&f.b, 0xcf8, 0x80000000);
    outb(&f.b, 0xcf8, 0x10);
    outw(&f.b, 0xcfa, 0x1234);
    assert_int_equal(inl(&f.b, 0xcf8), 0x80000000);

    /* Read-only bits stay, IDs too; an access across the dword's end does not reach the next one. */
    cfg_write(&f, 4, 0, 0, 4);
    assert_int_equal(cfg_read(&f, 4, 0, 4), 0x00051b36);
    cfg_write(&f, 4, PCI_COMMAND, 0xffff, 2);
    assert_int_equal(cfg_read(&f, 4, PCI_COMMAND, 2), 0x547);
    cfg_write(&f, 4, PCI_COMMAND, 0, 2);
    teardown(&f);
}

static void test_reset_port(void **state)
{
    struct fixture f;
    setup(&f);
    outb(&f.b, 0xcf9, 0x02);
    assert_int_equal(f.b.resets, 0);
    assert_int_equal(inb(&f.b, 0xcf9), 0x02);
    outb(&f.b, 0xcf9, 0x06);
    assert_int_equal(f.b.resets, 1);
    teardown(&f);
}

static void test_bars(void **state)
{
    struct fixture f;
    setup(&f);

    cfg_write(&f, 4, PCI_BAR0, 0xffffffff, 4);
    cfg_write(&f, 4, PCI_BAR0 + 4, 0xffffffff, 4);
    assert_int_equal(cfg_read(&f, 4, PCI_BAR0, 4), 0xfffff000);
    assert_int_equal(cfg_read(&f, 4, PCI_BAR0 + 4, 4), 0xffffff01);
    assert_int_equal(cfg_read(&f, 4, PCI_BAR0 + 8, 4), 0);

    /* With decoding on, the sizing pattern maps nothing. */
    cfg_write(&f, 4, PCI_COMMAND, 3, 2);
    assert_int_equal(mem_io_read(f.b.mem, 0xfffff000, 4), 0xffffffff);

    cfg_write(&f, 4, PCI_BAR0, 0xe0000000, 4);
    cfg_write(&f, 4, PCI_BAR0 + 4, 0xc000, 4);
    assert_int_equal(cfg_read(&f, 4, PCI_BAR0 + 4, 4), 0xc001);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0000000, 4), 0);
    assert_int_equal(inl(&f.b, 0xc000), 0);

    /* Moved, switched off, over RAM, beyond the ports. */
    cfg_write(&f, 4, PCI_BAR0, 0xe0100000, 4);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0000000, 4), 0xffffffff);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0100000, 4), 0);
    cfg_write(&f, 4, PCI_COMMAND, 1, 2);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0100000, 4), 0xffffffff);
    cfg_write(&f, 4, PCI_COMMAND, 3, 2);
    mem_io_write(f.b.mem, 0x100000, 0x11223344, 4);
    cfg_write(&f, 4, PCI_BAR0, 0x100000, 4);
    assert_int_equal(mem_io_read(f.b.mem, 0x100000, 4), 0x11223344);
    cfg_write(&f, 4, PCI_BAR0 + 4, 0x1c000, 4);
    assert_int_equal(inl(&f.b, 0xc000), 0xffffffff);

    board_reset_dev(&f.b, f.test);
    assert_int_equal(cfg_read(&f, 4, PCI_COMMAND, 2), 0);
    teardown(&f);
}

/* The protocol of pci-testdev: start a test, write its byte to its place, see the count. */
static void test_testdev(void **state)
{
    static const char *const names[] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};
    struct fixture f;
    setup(&f);
    cfg_write(&f, 4, PCI_BAR0, 0xe0000000, 4);
    cfg_write(&f, 4, PCI_BAR0 + 4, 0xc000, 4);
    cfg_write(&f, 4, PCI_COMMAND, 3, 2);

    for (u8 n = 0; n < 3; n++) {
        u64 base = 0xe0000000;
        char name[32] = {0};
        mem_io_write(f.b.mem, base, n, 1);
        for (unsigned i = 0; i < sizeof(name) - 1; i++)
            name[i] = (char)mem_io_read(f.b.mem, base + 16 + i, 1);
        assert_memory_equal(name, "mmio-", 5);
        assert_string_equal(name + 5, names[n]);
        u32 off = (u32)mem_io_read(f.b.mem, base + 4, 4);
        u8 data = (u8)mem_io_read(f.b.mem, base + 8, 1);
        assert_in_range(off, 0x800, 0xfff);
        for (unsigned i = 0; i < 16; i++)
            mem_io_write(f.b.mem, base + off, data, 1);
        mem_io_write(f.b.mem, base + off, (u8)~data, 1);
        assert_int_equal(mem_io_read(f.b.mem, base + 12, 4), n == 1 ? 17 : 16);
    }
    mem_io_write(f.b.mem, 0xe0000000, 3, 1);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0000000 + 16, 4), 0);

    outb(&f.b, 0xc000, 2);
    assert_int_equal(inb(&f.b, 0xc000 + 1), 1);
    u32 off = inl(&f.b, 0xc004);
    outb(&f.b, (u16)(0xc000 + off), inb(&f.b, 0xc008));
    assert_int_equal(inl(&f.b, 0xc00c), 1);
    teardown(&f);
}

static const struct pci_ident wired = {.vendor = 0x1234, .device = 0x5678, .class = 0xff0000, .pin = 1};

static void test_interrupts(void **state)
{
    struct fixture f;
    struct pci_func a, c;
    struct pci_func_state sa, sc;
    setup(&f);
    assert_int_equal(pci_func_init(&a, &f.bus, PCI_DEVFN(5, 0), &wired, &sa), 0);
    assert_int_equal(pci_func_init(&c, &f.bus, PCI_DEVFN(9, 0), &wired, &sc), 0);
    assert_int_equal(pci_func_init(&c, &f.bus, PCI_DEVFN(5, 0), &wired, &sc), -EBUSY);

    /* Slots 5 and 9 share a wire: pin A of slot n goes to wire (n - 1) & 3. */
    assert_int_equal(pci_pirq(a.devfn, 0), 0);
    assert_int_equal(pci_pirq(PCI_DEVFN(1, 0), 1), 1);

    pci_set_intx(&a, true);
    assert_false(f.line[10].level); /* not routed yet */
    assert_int_equal(cfg_read(&f, 5, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    cfg_write(&f, 1, PIIX3_PIRQRC, 10, 1);
    assert_true(f.line[10].level);
    pci_set_intx(&c, true);
    pci_set_intx(&a, false);
    assert_true(f.line[10].level);
    cfg_write(&f, 1, PIIX3_PIRQRC, 11, 1);
    assert_false(f.line[10].level);
    assert_true(f.line[11].level);
    cfg_write(&f, 9, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    assert_false(f.line[11].level);
    cfg_write(&f, 9, PCI_COMMAND, 0, 2);
    assert_true(f.line[11].level);
    /* Reserved lines are nowhere. */
    cfg_write(&f, 1, PIIX3_PIRQRC, 13, 1);
    assert_false(f.line[11].level);
    assert_false(f.line[13].level);
    cfg_write(&f, 1, PIIX3_PIRQRC, 0xffffffff, 1);
    assert_int_equal(cfg_read(&f, 1, PIIX3_PIRQRC, 1), 0x8f);
    pci_func_reset(&c);
    pci_func_remove(&a);
    pci_func_remove(&c);
    teardown(&f);
}

static void test_shadow(void **state)
{
    static const u8 rom[4096] = {[0] = 0x55, [1] = 0xaa};
    struct fixture f;
    setup(&f);
    assert_non_null(mem_rom_add(f.b.mem, 0xf0000, rom, sizeof(rom)));

    assert_int_equal(mem_io_read(f.b.mem, 0xf0000, 2), 0xaa55);
    mem_io_write(f.b.mem, 0xf0000, 0x1234, 2);
    assert_int_equal(mem_io_read(f.b.mem, 0xf0000, 2), 0xaa55);
    /* Write to RAM, read from ROM; then the other way round. */
    cfg_write(&f, 0, 0x59, 0x20, 1);
    mem_io_write(f.b.mem, 0xf0000, 0x1234, 2);
    assert_int_equal(mem_io_read(f.b.mem, 0xf0000, 2), 0xaa55);
    cfg_write(&f, 0, 0x59, 0x10, 1);
    mem_io_write(f.b.mem, 0xf0000, 0x4321, 2);
    assert_int_equal(mem_io_read(f.b.mem, 0xf0000, 2), 0x1234);
    cfg_write(&f, 0, 0x59, 0xff, 1);
    assert_int_equal(cfg_read(&f, 0, 0x59, 1), 0x30);

    /* Each of the other fields governs 16 KiB. */
    for (u32 base = 0xc0000; base < 0xf0000; base += 0x4000) {
        unsigned field = (base - 0xc0000) / 0x4000, reg = 0x5a + field / 2, shift = field % 2 * 4;
        mem_io_write(f.b.mem, base, 0x77, 1);
        assert_int_equal(mem_io_read(f.b.mem, base, 1), 0xff);
        cfg_write(&f, 0, reg, 3u << shift, 1);
        mem_io_write(f.b.mem, base, 0x77, 1);
        assert_int_equal(mem_io_read(f.b.mem, base, 1), 0x77);
        assert_int_equal(mem_io_read(f.b.mem, base + 0x3fff, 1), 0);
        cfg_write(&f, 0, reg, 0, 1);
    }
    board_reset_dev(&f.b, f.host);
    assert_int_equal(mem_io_read(f.b.mem, 0xf0000, 2), 0xaa55);
    loop_lock(f.b.loop);
    i440fx_shadow_all(f.host);
    loop_unlock(f.b.loop);
    assert_int_equal(mem_io_read(f.b.mem, 0xf0000, 2), 0x1234);
    teardown(&f);
}

static void test_smram(void **state)
{
    struct fixture f;
    setup(&f);
    mem_io_write(f.b.mem, 0xa0000, 0x55, 1);
    assert_int_equal(mem_io_read(f.b.mem, 0xa0000, 1), 0xff);
    cfg_write(&f, 0, 0x72, 0x48, 1);
    mem_io_write(f.b.mem, 0xa0000, 0x55, 1);
    assert_int_equal(mem_io_read(f.b.mem, 0xa0000, 1), 0x55);
    /* Locked: closed until reset. */
    cfg_write(&f, 0, 0x72, 0x58, 1);
    assert_int_equal(mem_io_read(f.b.mem, 0xa0000, 1), 0xff);
    cfg_write(&f, 0, 0x72, 0x48, 1);
    assert_int_equal(cfg_read(&f, 0, 0x72, 1), 0x1a);
    board_reset_dev(&f.b, f.host);
    assert_int_equal(cfg_read(&f, 0, 0x72, 1), 0x02);
    teardown(&f);
}

static void test_msi(void **state)
{
    struct fixture f;
    struct pci_func func;
    struct pci_func_state s;
    struct pci_msi msi;
    setup(&f);
    assert_int_equal(pci_func_init(&func, &f.bus, PCI_DEVFN(6, 0), &wired, &s), 0);
    assert_int_equal(pci_msi_init(&msi, &func, 4), 0);
    unsigned cap = (unsigned)cfg_read(&f, 6, PCI_CAPABILITIES, 1);
    assert_int_equal(cfg_read(&f, 6, cap, 1), 0x05);
    assert_int_equal(cfg_read(&f, 6, cap + 2, 2), 0x184);

    pci_msi_notify(&msi, 0);
    assert_int_equal(f.msi_count, 0);
    cfg_write(&f, 6, cap + 4, 0xfee01000, 4);
    cfg_write(&f, 6, cap + 12, 0x4051, 2);
    cfg_write(&f, 6, cap + 2, 0x21, 2); /* on, four vectors */
    pci_msi_notify(&msi, 2);
    assert_int_equal(f.msi_count, 0); /* no bus master: pending */
    cfg_write(&f, 6, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    pci_msi_written(&msi, PCI_COMMAND, 2);
    assert_int_equal(f.msi_count, 1);
    assert_int_equal(f.msi_address, 0xfee01000);
    assert_int_equal(f.msi_data, 0x4052);
    /* Masked, then unmasked. */
    cfg_write(&f, 6, cap + 16, 0xff, 4);
    assert_int_equal(cfg_read(&f, 6, cap + 16, 4), 0x0f);
    pci_msi_notify(&msi, 3);
    assert_int_equal(cfg_read(&f, 6, cap + 20, 4), 0x08);
    cfg_write(&f, 6, cap + 16, 0, 4);
    pci_msi_written(&msi, cap + 16, 4);
    assert_int_equal(f.msi_count, 2);
    assert_int_equal(f.msi_data, 0x4053);
    pci_func_remove(&func);
    teardown(&f);
}

static void test_msix(void **state)
{
    struct fixture f;
    struct pci_func func;
    struct pci_func_state s;
    struct pci_msix_state xs;
    struct pci_msix msix;
    setup(&f);
    assert_int_equal(pci_func_init(&func, &f.bus, PCI_DEVFN(7, 0), &wired, &s), 0);
    assert_int_equal(pci_msix_init(&msix, &func, &xs, 3, 1), 0);
    unsigned cap = (unsigned)cfg_read(&f, 7, PCI_CAPABILITIES, 1);
    assert_int_equal(cfg_read(&f, 7, cap + 2, 2), 2);
    cfg_write(&f, 7, PCI_BAR0 + 4, 0xe0200000, 4);
    cfg_write(&f, 7, PCI_COMMAND, 6, 2);
    cfg_write(&f, 7, cap + 2, 0x8000, 2);

    u64 entry = 0xe0200000 + 2 * 16;
    assert_int_equal(mem_io_read(f.b.mem, entry + 12, 4), 1);
    mem_io_write(f.b.mem, entry, 0xfee02000, 4);
    mem_io_write(f.b.mem, entry + 8, 0x33, 4);
    pci_msix_notify(&msix, 2);
    assert_int_equal(f.msi_count, 0);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0200800, 8), 4);
    mem_io_write(f.b.mem, entry + 12, 0, 4);
    assert_int_equal(f.msi_count, 1);
    assert_int_equal(f.msi_address, 0xfee02000);
    assert_int_equal(f.msi_data, 0x33);
    assert_int_equal(mem_io_read(f.b.mem, 0xe0200800, 8), 0);
    pci_msix_notify(&msix, 3); /* there is none */
    assert_int_equal(f.msi_count, 1);
    pci_func_remove(&func);
    teardown(&f);
}

static void pm_note(void *opaque, u16 base, bool on)
{
    *(u16 *)opaque = on ? base : 0;
}

static void mode_note(void *opaque, bool acpi)
{
    ((u16 *)opaque)[1] = acpi;
}

static void test_piix4(void **state)
{
    struct fixture f;
    u16 seen[2] = {1, 7};
    setup(&f);
    struct piix4pm *pm = piix4pm_create(&(struct piix4pm_config){&f.bus, pm_note, mode_note, seen}, NULL);
    u32 at = 0x80000000u | PIIX4PM_DEVFN << 8;
    assert_non_null(pm);
    assert_int_equal(seen[0], 0);

    outl(&f.b, 0xcf8, at | PIIX4PM_PMBA);
    outl(&f.b, 0xcfc, 0xb0ff);
    assert_int_equal(inl(&f.b, 0xcfc), 0xb0c1);
    assert_int_equal(seen[0], 0);
    outl(&f.b, 0xcf8, at | PIIX4PM_PMREGMISC);
    outb(&f.b, 0xcfc, 1);
    assert_int_equal(seen[0], 0xb0c0);
    assert_int_equal(piix4pm_base(pm), 0xb0c0);
    outl(&f.b, 0xcf8, at | 0x58);
    assert_true(inl(&f.b, 0xcfc) & BIT(25)); /* firmware: SMIs are set up */
    outb(&f.b, APM_CONTROL_PORT, APM_ACPI_ENABLE);
    assert_int_equal(seen[1], 1);
    outb(&f.b, APM_CONTROL_PORT, APM_ACPI_DISABLE);
    assert_int_equal(seen[1], 0);
    outb(&f.b, APM_CONTROL_PORT + 1, 0x42);
    assert_int_equal(inw(&f.b, APM_CONTROL_PORT), 0x42f0);
    board_destroy_dev(&f.b, pm);
    teardown(&f);
}

static void test_state_copy(void **state)
{
    struct fixture from, to;
    setup(&from);
    setup(&to);
    cfg_write(&from, 4, PCI_BAR0, 0xe0000000, 4);
    cfg_write(&from, 4, PCI_COMMAND, 2, 2);
    mem_io_write(from.b.mem, 0xe0000000, 1, 1);
    cfg_write(&from, 0, 0x59, 0x30, 1);
    bench_copy_state((struct dev *)from.host, (struct dev *)to.host);
    bench_copy_state((struct dev *)from.isa, (struct dev *)to.isa);
    bench_copy_state((struct dev *)from.test, (struct dev *)to.test);
    assert_int_equal(mem_io_read(to.b.mem, 0xe0000000, 1), 1);
    mem_io_write(to.b.mem, 0xf0000, 0x99, 1);
    assert_int_equal(mem_io_read(to.b.mem, 0xf0000, 1), 0x99);
    assert_int_equal(inl(&to.b, 0xcf8), inl(&from.b, 0xcf8));
    teardown(&from);
    teardown(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_access), cmocka_unit_test(test_reset_port), cmocka_unit_test(test_bars),
        cmocka_unit_test(test_testdev),       cmocka_unit_test(test_interrupts), cmocka_unit_test(test_shadow),
        cmocka_unit_test(test_smram),         cmocka_unit_test(test_msi),        cmocka_unit_test(test_msix),
        cmocka_unit_test(test_piix4),         cmocka_unit_test(test_state_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
