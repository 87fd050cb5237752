/*
 * Finding and running monitor commands, their arguments, and the commands that steer the machine.
 */
#include "debug/command.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/world.h"
#include "machine/machine.h"
#include "vm/vm.h"

static const struct command *const tables[] = {commands_control, commands_memory, commands_inspect, commands_examine};

struct cpu *command_cpu(struct command_call *call, int n)
{
    struct world *world = machine_world(vm_machine(call->vm));
    unsigned long number = 0;
    char *end = NULL;
    if (n < call->argc) {
        number = strtoul(call->argv[n], &end, 10);
        if (*end || end == call->argv[n])
            number = world_count(world);
    }
    if (number < world_count(world))
        return world_cpu(world, (unsigned)number);
    fprintf(call->out, "%s: no such processor; there are 0 to %u\n", call->argv[n], world_count(world) - 1);
    return NULL;
}

static bool register_value(const struct cpu *c, const char *name, size_t len, u64 *value)
{
    static const char names[18][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "",    "rip"};
    static const char segments[6][3] = {"es", "cs", "ss", "ds", "fs", "gs"}; /* their bases */
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (len && strlen(names[i]) == len && strncmp(names[i], name, len) == 0) {
            *value = i == REG_RIP ? cpu_rip(c) : c->gpr[i];
            return true;
        }
    for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
        if (len == 2 && strncmp(segments[i], name, 2) == 0) {
            *value = c->seg[i].base;
            return true;
        }
    return false;
}

/* One number or register; *text moves behind it. */
static bool term_value(const struct cpu *c, const char **text, u64 *value)
{
    char *end;
    if (**text == '$') {
        size_t len = strcspn(*text + 1, "+-");
        if (!register_value(c, *text + 1, len, value))
            return false;
        *text += 1 + len;
        return true;
    }
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *value = strtoull(*text, &end, strncmp(*text, "0x", 2) == 0 ? 16 : 10);
    if (errno)
        return false;
    *text = end;
    return true;
}

bool command_value(struct command_call *call, const struct cpu *c, const char *text, u64 *value)
{
    const char *p = text;
    u64 term;
    bool good = term_value(c, &p, value);
    while (good && (*p == '+' || *p == '-')) {
        char sign = *p++;
        good = term_value(c, &p, &term);
        if (good)
            *value = sign == '+' ? *value + term : *value - term;
    }
    if (good && !*p)
        return true;
    fprintf(call->out, "%s: not a value; give a number, 0x and hexadecimal digits, or $rip, $rsp+8 and the like\n",
            text);
    return false;
}

/* How many of the words the command's name takes; 0 if it is another command. */
static int command_match(const struct command *c, int words, char **word)
{
    const char *space = strchr(c->name, ' ');
    size_t len = space ? (size_t)(space - c->name) : strlen(c->name);
    if (strlen(word[0]) != len || strncmp(word[0], c->name, len) != 0)
        return 0;
    if (!space)
        return 1;
    return words > 1 && strcmp(word[1], space + 1) == 0 ? 2 : 0;
}

static const struct command *command_find(int words, char **word, int *taken)
{
    for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
        for (const struct command *c = tables[t]; c->name; c++) {
            *taken = command_match(c, words, word);
            if (*taken)
                return c;
        }
    return NULL;
}

void command_run(struct vm *vm, char *line, FILE *out)
{
    char *word[COMMAND_ARGS + 2], *save = NULL;
    int words = 0, taken = 0;
    for (char *w = strtok_r(line, " \t", &save); w && words < (int)ARRAY_SIZE(word); w = strtok_r(NULL, " \t", &save))
        word[words++] = w;
    if (!words)
        return;
    const struct command *c = command_find(words, word, &taken);
    if (!c) {
        fprintf(out, "%s: no such command; `help` lists them\n", word[0]);
        return;
    }
    struct command_call call = {.vm = vm, .out = out};
    for (int i = taken; i < words && call.argc < COMMAND_ARGS; i++)
        call.argv[call.argc++] = word[i];

    struct world *world = machine_world(vm_machine(vm));
    if (c->still)
        world_exclusive(world, NULL);
    c->run(&call);
    if (c->still)
        world_exclusive_end(world, NULL);
}

static void run_help(struct command_call *call)
{
    for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
        for (const struct command *c = tables[t]; c->name; c++) {
            int used = fprintf(call->out, "%s %s", c->name, c->args);
            fprintf(call->out, "%*s%s\n", used < 26 ? 26 - used : 1, "", c->text);
        }
}

static void run_pause(struct command_call *call)
{
    vm_pause(call->vm);
}

static void run_continue(struct command_call *call)
{
    vm_continue(call->vm);
}

static void run_reset(struct command_call *call)
{
    vm_reset(call->vm);
}

static void run_quit(struct command_call *call)
{
    vm_stop(call->vm);
}

static void run_nmi(struct command_call *call)
{
    struct cpu *c = command_cpu(call, 0);
    if (!c)
        return;
    c->nmi_pending = true; /* the processors stand still */
    cpu_request(c, REQ_NMI);
}

const struct command commands_control[] = {
    {"help", "", "this list", false, run_help},
    {"pause", "", "stop the processors and the virtual time", false, run_pause},
    {"continue", "", "go on", false, run_continue},
    {"reset", "", "as the reset button does", false, run_reset},
    {"nmi", "[CPU]", "send a non-maskable interrupt", true, run_nmi},
    {"quit", "", "end the machine", false, run_quit},
    {0},
};
