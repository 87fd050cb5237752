/* See fw_cfg.h. */
#include "dev/pc/fw_cfg.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#define FW_CFG_STATE(F, A, S)                                                                                          \
    F(u16, key, 1)                                                                                                     \
    F(u32, offset, 1)                                                                                                  \
    F(u32, dma_high, 1) /* first half of the address register */
STATE_DECLARE(fw_cfg_state, FW_CFG_STATE)
STATE_DEFINE(fw_cfg_state, FW_CFG_STATE, 1)

#define ITEMS_MAX   64
#define FILES_MAX   32
#define KEY_INVALID 0xffff
#define KEY_WRITE   0x4000 /* the old write channel: the same item */

#define ID_TRADITIONAL BIT(0)
#define ID_DMA         BIT(1)

#define DMA_ERROR  BIT(0)
#define DMA_READ   BIT(1)
#define DMA_SKIP   BIT(2)
#define DMA_SELECT BIT(3)
#define DMA_WRITE  BIT(4)

/* Offsets from FW_CFG_PORT. */
enum { PORT_SELECT = 0, PORT_DATA = 1, PORT_DMA = 4 };

/* The control structure in guest memory; all big-endian. */
struct dma_access {
    u32 control;
    u32 length;
    u64 address;
} __attribute__((packed));

/* FW_CFG_FILE_DIR as the guest reads it; big-endian. */
struct dir_entry {
    u32 size;
    u16 key;
    u16 reserved;
    char name[FW_CFG_NAME_SIZE];
} __attribute__((packed));

struct dir {
    u32 count;
    struct dir_entry entry[FILES_MAX];
} __attribute__((packed));

struct item {
    u16 key;
    u32 size;
    const u8 *data; /* NULL: the integer */
    u8 integer[8];
};

struct fw_cfg {
    struct dev dev;
    struct fw_cfg_state s;
    struct fw_cfg_config cfg;
    struct mem_window ports;
    struct item items[ITEMS_MAX];
    unsigned item_count, file_count;
    struct dir dir;
    const char *hook_prefix;
    void (*hook)(void *opaque);
    void *hook_opaque;
};

/* --- items ------------------------------------------------------------------------------------------------------ */

static struct item *item_find(struct fw_cfg *f, u16 key)
{
    for (unsigned i = 0; i < f->item_count; i++) {
        if (f->items[i].key == key)
            return &f->items[i];
    }
    return NULL;
}

static const u8 *item_data(const struct item *it)
{
    return it->data ? it->data : it->integer;
}

static struct item *item_make(struct fw_cfg *f, u16 key)
{
    struct item *it = item_find(f, key);

    if (it || f->item_count == ITEMS_MAX)
        return it;
    it = &f->items[f->item_count++];
    *it = (struct item){.key = key};
    return it;
}

int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u64 size)
{
    if (size > UINT32_MAX)
        return -EFBIG;
    struct item *it = item_make(f, key);
    if (!it)
        return -ENOSPC;
    it->data = data;
    it->size = data ? (u32)size : 0;
    return 0;
}

int fw_cfg_add_int(struct fw_cfg *f, u16 key, u64 value, unsigned size)
{
    struct item *it = size <= sizeof(it->integer) ? item_make(f, key) : NULL;

    if (!it)
        return -ENOSPC;
    it->data = NULL;
    it->size = size;
    put_u64(it->integer, value);
    return 0;
}

static struct dir_entry *file_find(struct fw_cfg *f, const char *name)
{
    for (unsigned i = 0; i < f->file_count; i++) {
        if (!strcmp(f->dir.entry[i].name, name))
            return &f->dir.entry[i];
    }
    return NULL;
}

/* The key of a file: of the one that is there, or a new one. Negative status on failure. */
static int file_key(struct fw_cfg *f, const char *name, u32 size)
{
    struct dir_entry *e = file_find(f, name);

    if (!e) {
        if (strlen(name) >= FW_CFG_NAME_SIZE)
            return -EINVAL;
        if (f->file_count == FILES_MAX)
            return -ENOSPC;
        e = &f->dir.entry[f->file_count];
        memcpy(e->name, name, strlen(name) + 1);
        e->key = __builtin_bswap16((u16)(FW_CFG_FILE_FIRST + f->file_count));
        f->dir.count = __builtin_bswap32(++f->file_count);
    }
    e->size = __builtin_bswap32(size);
    return __builtin_bswap16(e->key);
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u64 size)
{
    if (size > UINT32_MAX)
        return -EFBIG;
    int key = file_key(f, name, data ? (u32)size : 0);
    return key < 0 ? key : fw_cfg_add(f, (u16)key, data, size);
}

int fw_cfg_add_file_int(struct fw_cfg *f, const char *name, u64 value, unsigned size)
{
    int key = file_key(f, name, size);
    return key < 0 ? key : fw_cfg_add_int(f, (u16)key, value, size);
}

void fw_cfg_on_select(struct fw_cfg *f, const char *prefix, void (*fn)(void *opaque), void *opaque)
{
    f->hook_prefix = prefix;
    f->hook = fn;
    f->hook_opaque = opaque;
}

/* --- the guest's side ------------------------------------------------------------------------------------------- */

static void item_select(struct fw_cfg *f, u16 key)
{
    f->s.key = key & (u16)~KEY_WRITE;
    f->s.offset = 0;

    unsigned file = f->s.key - FW_CFG_FILE_FIRST;
    if (f->hook && f->s.key >= FW_CFG_FILE_FIRST && file < f->file_count &&
        !strncmp(f->dir.entry[file].name, f->hook_prefix, strlen(f->hook_prefix)))
        f->hook(f->hook_opaque);
}

/* What is left of the selected item; 0 if there is none. */
static u32 item_left(struct fw_cfg *f, const u8 **data)
{
    const struct item *it = item_find(f, f->s.key);

    if (!it || f->s.offset >= it->size)
        return 0;
    *data = item_data(it) + f->s.offset;
    return it->size - f->s.offset;
}

static u8 item_read_byte(struct fw_cfg *f)
{
    const u8 *data;

    if (!item_left(f, &data))
        return 0;
    f->s.offset++;
    return *data;
}

/* Moving on past the end stays at the end. */
static void item_skip(struct fw_cfg *f, u32 length)
{
    const u8 *data;
    u32 left = item_left(f, &data);

    f->s.offset += length < left ? length : left;
}

/* How much of a transfer to `address` can reach RAM at all: what lies above it is not worth the time. */
static u32 dma_clip(const struct fw_cfg *f, u64 address, u32 length)
{
    u64 ram = mem_space_ram(f->cfg.mem)->size, below = mem_space_below_4g(f->cfg.mem);
    u64 end = ram > below ? GiB(4) + (ram - below) : below;

    if (address >= end)
        return 0;
    return length < end - address ? length : (u32)(end - address);
}

static void dma_fill_zero(struct fw_cfg *f, u64 address, u32 length)
{
    static const u8 zeros[4096];

    for (u32 done = 0, n; done < length; done += n) {
        n = length - done < sizeof(zeros) ? length - done : (u32)sizeof(zeros);
        mem_dma_write(f->cfg.mem, address + done, zeros, n);
    }
}

static void dma_read(struct fw_cfg *f, u64 address, u32 length)
{
    const u8 *data = NULL;
    u32 left = item_left(f, &data);
    u32 reach = dma_clip(f, address, length);
    u32 copy = left < reach ? left : reach;

    if (copy)
        mem_dma_write(f->cfg.mem, address, data, copy);
    dma_fill_zero(f, address + copy, reach - copy);
    item_skip(f, length);
}

static void dma_run(struct fw_cfg *f, u64 descriptor)
{
    struct dma_access a;
    u32 result = 0;

    mem_dma_read(f->cfg.mem, descriptor, &a, sizeof(a));
    u32 control = __builtin_bswap32(a.control);
    u32 length = __builtin_bswap32(a.length);

    if (control & DMA_SELECT)
        item_select(f, (u16)(control >> 16));
    if (control & DMA_READ)
        dma_read(f, __builtin_bswap64(a.address), length);
    else if (control & DMA_WRITE)
        result = length ? DMA_ERROR : 0; /* nothing is writable */
    else if (control & DMA_SKIP)
        item_skip(f, length);

    result = __builtin_bswap32(result);
    mem_dma_write(f->cfg.mem, descriptor, &result, sizeof(result));
}

static u64 ports_read(void *opaque, u64 off, unsigned size)
{
    static const char signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};
    struct fw_cfg *f = opaque;
    u64 value = 0;

    if (off >= PORT_DMA && range_inside(off - PORT_DMA, size, sizeof(signature)))
        memcpy(&value, signature + (off - PORT_DMA), size); /* big-endian: in order of address */
    else if (off <= PORT_DATA && size == 1)
        value = item_read_byte(f);
    return value;
}

static void ports_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct fw_cfg *f = opaque;

    if (off == PORT_SELECT && size == 2) {
        item_select(f, (u16)value);
    } else if (off == PORT_DMA && size == 4) {
        f->s.dma_high = __builtin_bswap32((u32)value);
    } else if (off == PORT_DMA + 4 && size == 4) {
        u64 descriptor = (u64)f->s.dma_high << 32 | __builtin_bswap32((u32)value);
        f->s.dma_high = 0;
        dma_run(f, descriptor);
    }
}

static const struct mem_window_ops ports_ops = {ports_read, ports_write, 1, 4};

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *fw_cfg_get_state(struct dev *d)
{
    return &((struct fw_cfg *)d)->s;
}

static void fw_cfg_reset(struct dev *d)
{
    ((struct fw_cfg *)d)->s = (struct fw_cfg_state){.key = KEY_INVALID};
}

static void fw_cfg_destroy(struct dev *d)
{
    struct fw_cfg *f = (struct fw_cfg *)d;

    if (f->ports.mapped)
        mem_port_unmap(f->cfg.mem, &f->ports);
    free(f);
}

static const struct dev_class fw_cfg_class = {
    .name = "fw_cfg",
    .state = &fw_cfg_state_class,
    .get_state = fw_cfg_get_state,
    .reset = fw_cfg_reset,
    .destroy = fw_cfg_destroy,
};

struct fw_cfg *fw_cfg_create(const struct fw_cfg_config *cfg, struct error *err)
{
    struct fw_cfg *f = calloc(1, sizeof(*f));

    if (!f) {
        error_set(err, -ENOMEM, "fw_cfg: out of memory");
        return NULL;
    }
    f->dev.cls = &fw_cfg_class;
    f->cfg = *cfg;
    f->ports = (struct mem_window){.ops = &ports_ops, .opaque = f, .name = "fw_cfg", .size = FW_CFG_PORTS};
    if (mem_port_map(cfg->mem, &f->ports, FW_CFG_PORT) || fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4) ||
        fw_cfg_add_int(f, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4) ||
        fw_cfg_add(f, FW_CFG_FILE_DIR, &f->dir, sizeof(f->dir))) {
        error_set(err, -ENOMEM, "fw_cfg: cannot set up its ports and items");
        fw_cfg_destroy(&f->dev);
        return NULL;
    }
    fw_cfg_reset(&f->dev);
    return f;
}
