/* pci-testdev. See testdev.h. */
#include <stdlib.h>
#include <string.h>

#include "dev/pc/testdev.h"

#define TESTS       3 /* in each BAR */
#define NO_TEST     0xff
#define MEMORY_SIZE 0x1000
#define PORTS_SIZE  0x100

#define PCI_TESTDEV_STATE(F, A, S)                                                                                     \
    S(pci_func_state, pci, 1, 1)                                                                                       \
    F(u8, current, 1) /* test under way: BAR * TESTS + number, or NO_TEST */                                           \
    F(u32, count, 1)
STATE_DECLARE(pci_testdev_state, PCI_TESTDEV_STATE)
STATE_DEFINE(pci_testdev_state, PCI_TESTDEV_STATE, 1)

struct header {
    u8 test;
    u8 width;
    u8 pad0[2];
    u32 offset;
    u8 data;
    u8 pad1[3];
    u32 count;
    char name[28];
};

/* A test counts the bytes written at `offset`; with `match` only those equal to `data`. Targets lie in the BAR's upper
 * half. */
static const struct test {
    const char *name;
    u16 offset;
    u8 data;
    bool match;
} tests[2 * TESTS] = {
    {"mmio-no-eventfd", 0x800, 0xfa, true},         {"mmio-wildcard-eventfd", 0x801, 0xce, false},
    {"mmio-datamatch-eventfd", 0x802, 0xfa, true},  {"portio-no-eventfd", 0x83, 0xfa, true},
    {"portio-wildcard-eventfd", 0x84, 0xce, false}, {"portio-datamatch-eventfd", 0x85, 0xfa, true},
};

struct pci_testdev {
    struct dev dev;
    struct pci_testdev_state s;
    struct pci_func func;
    struct mem_window memory, ports;
};

static u64 header_read(void *opaque, u64 off, unsigned size)
{
    const struct pci_testdev *t = opaque;
    struct header h = {.width = 1};

    if (t->s.current >= ARRAY_SIZE(tests) || off >= sizeof(h))
        return 0;
    const struct test *test = &tests[t->s.current];
    h.test = t->s.current;
    h.offset = test->offset;
    h.data = test->data;
    h.count = t->s.count;
    memcpy(h.name, test->name, strlen(test->name));
    return ((const u8 *)&h)[off];
}

static void byte_write(struct pci_testdev *t, unsigned bar, u64 off, u8 value)
{
    if (off == 0) {
        t->s.current = value < TESTS ? (u8)(bar * TESTS + value) : NO_TEST;
        t->s.count = 0;
        return;
    }
    if (t->s.current >= ARRAY_SIZE(tests))
        return;
    const struct test *test = &tests[t->s.current];
    if (off == test->offset && (!test->match || value == test->data))
        t->s.count++;
}

static void memory_write(void *opaque, u64 off, u64 value, unsigned size)
{
    byte_write(opaque, 0, off, (u8)value);
}

static void ports_write(void *opaque, u64 off, u64 value, unsigned size)
{
    byte_write(opaque, 1, off, (u8)value);
}

static const struct mem_window_ops memory_ops = {header_read, memory_write, 1, 1};
static const struct mem_window_ops ports_ops = {header_read, ports_write, 1, 1};

static void *pci_testdev_get_state(struct dev *d)
{
    return &((struct pci_testdev *)d)->s;
}

static void pci_testdev_reset(struct dev *d)
{
    struct pci_testdev *t = (struct pci_testdev *)d;

    pci_func_reset(&t->func);
    t->s.current = NO_TEST;
    t->s.count = 0;
}

static void pci_testdev_loaded(struct dev *d)
{
    pci_func_loaded(&((struct pci_testdev *)d)->func);
}

static void pci_testdev_destroy(struct dev *d)
{
    struct pci_testdev *t = (struct pci_testdev *)d;

    pci_func_remove(&t->func);
    free(t);
}

static const struct dev_class pci_testdev_class = {
    .name = "pci-testdev",
    .state = &pci_testdev_state_class,
    .get_state = pci_testdev_get_state,
    .reset = pci_testdev_reset,
    .loaded = pci_testdev_loaded,
    .destroy = pci_testdev_destroy,
};

struct pci_testdev *pci_testdev_create(const struct pci_testdev_config *cfg, struct error *err)
{
    static const struct pci_ident ident = {
        .vendor = 0x1b36, .device = 0x0005, .subsys_vendor = 0x1af4, .subsys = 0x1100, .class = 0xff0000};
    struct pci_testdev *t = calloc(1, sizeof(*t));

    if (!t) {
        error_set(err, -ENOMEM, "pci-testdev: out of memory");
        return NULL;
    }
    t->dev.cls = &pci_testdev_class;
    if (pci_func_init(&t->func, cfg->bus, cfg->devfn, &ident, t->s.pci)) {
        error_set(err, -EBUSY, "pci-testdev: PCI slot %u is taken", cfg->devfn >> 3);
        free(t);
        return NULL;
    }
    t->memory = (struct mem_window){.ops = &memory_ops, .opaque = t, .name = "pci-testdev-memory", .size = MEMORY_SIZE};
    t->ports = (struct mem_window){.ops = &ports_ops, .opaque = t, .name = "pci-testdev-ports", .size = PORTS_SIZE};
    pci_func_bar(&t->func, 0, PCI_BAR_MEM32, &t->memory);
    pci_func_bar(&t->func, 1, PCI_BAR_IO, &t->ports);
    pci_testdev_reset(&t->dev);
    return t;
}
