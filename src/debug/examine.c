/*
 * Monitor commands that show guest memory as numbers or instructions. Windows of devices are not touched: they show as
 * ones.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/mmu.h"
#include "debug/command.h"
#include "machine/machine.h"
#include "vm/vm.h"

#define COUNT_MAX 4096u
#define INSN_MAX  15

/* How to show: "/8xg", in any order after the count, as gdb and QEMU write it. */
struct format {
    unsigned long count;
    char letter;   /* x d u c i */
    unsigned size; /* bytes */
};

struct reader {
    struct mem_space *mem;
    struct cpu *cpu;
    bool physical;
};

/* Returns how many of the bytes are mapped. */
static unsigned guest_read(const struct reader *r, u64 addr, u8 *buf, unsigned len)
{
    unsigned done = 0;
    while (done < len) {
        u64 pa = addr + done;
        unsigned n = MEM_PAGE_SIZE - (unsigned)(pa & (MEM_PAGE_SIZE - 1));
        n = n < len - done ? n : len - done;
        if (!r->physical && !mmu_debug_translate(r->cpu, addr + done, &pa))
            break;
        mem_dma_read(r->mem, pa, buf + done, n);
        done += n;
    }
    return done;
}

static bool format_read(const char *text, struct format *f)
{
    char *p;
    *f = (struct format){.count = 1, .letter = 'x', .size = 4};
    if (*text >= '0' && *text <= '9')
        f->count = strtoul(text, &p, 10);
    else
        p = (char *)(uintptr_t)text;
    for (; *p; p++) {
        static const char sizes[] = "bhwg";
        const char *size = strchr(sizes, *p);
        if (size)
            f->size = 1u << (size - sizes);
        else if (strchr("xduci", *p))
            f->letter = *p;
        else
            return false;
    }
    if (f->letter == 'c')
        f->size = 1;
    return f->count >= 1 && f->count <= COUNT_MAX;
}

static void show_item(FILE *out, const struct format *f, u64 v)
{
    unsigned width = f->size * 8;
    if (f->letter == 'x')
        fprintf(out, " %0*llx", (int)f->size * 2, (unsigned long long)v);
    else if (f->letter == 'd')
        fprintf(out, " %lld", (long long)sign_extend(v, width));
    else if (f->letter == 'u')
        fprintf(out, " %llu", (unsigned long long)v);
    else
        fprintf(out, " %c", v >= ' ' && v < 0x7f ? (int)v : '.');
}

static void show_data(FILE *out, const struct reader *r, u64 addr, const struct format *f)
{
    for (unsigned long i = 0; i < f->count; i++, addr += f->size) {
        u64 v = 0;
        if (i * f->size % 16 == 0)
            fprintf(out, "%s%016llx:", i ? "\n" : "", (unsigned long long)addr);
        if (guest_read(r, addr, (u8 *)&v, f->size) < f->size) {
            fprintf(out, " not mapped");
            break;
        }
        show_item(out, f, v);
    }
    fprintf(out, "\n");
}

static void show_insns(FILE *out, const struct reader *r, u64 addr, unsigned long count)
{
    const struct cpu *c = r->cpu;
    for (; count; count--) {
        u8 bytes[INSN_MAX];
        char text[128] = "(bad)";
        struct insn insn;
        unsigned got = guest_read(r, addr, bytes, sizeof(bytes)), len = 1;
        fprintf(out, "%016llx:", (unsigned long long)addr);
        if (!got) {
            fprintf(out, " not mapped\n");
            return;
        }
        if (insn_decode(bytes, got, c->mode, &c->features, &insn) == INSN_OK) {
            (void)insn_format(&insn, addr, text, sizeof(text));
            len = insn.len;
        }
        for (unsigned i = 0; i < len; i++)
            fprintf(out, " %02x", bytes[i]);
        fprintf(out, "%*s%s\n", len < 10 ? (int)(30 - 3 * len) : 1, "", text);
        addr += len;
    }
}

/* Words: [/FORMAT] ADDRESS [CPU]. */
static void examine(struct command_call *call, bool physical)
{
    struct format f;
    bool given = call->argc && call->argv[0][0] == '/';
    if (!format_read(given ? call->argv[0] + 1 : "", &f)) {
        fprintf(call->out, "%s: no such format; give / count (1 to %u), one of x d u c i, one of b h w g\n",
                call->argv[0], COUNT_MAX);
        return;
    }
    if (call->argc <= given) {
        fprintf(call->out, "which address?\n");
        return;
    }
    u64 addr;
    struct cpu *c = command_cpu(call, given + 1);
    if (!c || !command_value(call, c, call->argv[given], &addr))
        return;
    const struct reader r = {.mem = c->mem, .cpu = c, .physical = physical};
    if (f.letter == 'i')
        show_insns(call->out, &r, addr, f.count);
    else
        show_data(call->out, &r, addr, &f);
}

static void run_x(struct command_call *call)
{
    examine(call, false);
}

static void run_xp(struct command_call *call)
{
    examine(call, true);
}

/* Linear address of the next instruction, or the one given. */
static void run_disassemble(struct command_call *call)
{
    struct cpu *c = command_cpu(call, 2);
    u64 addr, count = 10;
    if (!c)
        return;
    addr = c->mode == ISA_64 ? cpu_rip(c) : (u32)(c->seg[SEG_CS].base + cpu_rip(c));
    if (call->argc > 0 && !command_value(call, c, call->argv[0], &addr))
        return;
    if (call->argc > 1 && !command_value(call, c, call->argv[1], &count))
        return;
    const struct reader r = {.mem = c->mem, .cpu = c};
    show_insns(call->out, &r, addr, count < COUNT_MAX ? count : COUNT_MAX);
}

static void show_line(void *opaque, const char *line)
{
    fprintf(opaque, "%s\n", line);
}

/* The same address as `disassemble`. */
static void run_code(struct command_call *call)
{
    const struct cpu *c = command_cpu(call, 1);
    u64 addr;
    if (!c)
        return;
    addr = cpu_rip(c);
    if (call->argc > 0 && !command_value(call, c, call->argv[0], &addr))
        return;
    if (!vm_show_code(call->vm, c->id, addr, show_line, call->out))
        fprintf(call->out, "engine %s makes no code\n", vm_engine_name(call->vm));
}

const struct command commands_examine[] = {
    {"x", "/FORMAT ADDRESS [CPU]", "guest memory at a linear address: x /8xg $rsp", true, run_x},
    {"xp", "/FORMAT ADDRESS [CPU]", "the same at a physical address", true, run_xp},
    {"disassemble", "[ADDRESS [COUNT [CPU]]]", "instructions, from the next one on", true, run_disassemble},
    {"code", "[ADDRESS [CPU]]", "translated blocks with the address: guest and host code", true, run_code},
    {0},
};
