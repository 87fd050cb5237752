/* See native.h. Signal frames: the kernel's arch/x86 ABI, as in <asm/sigcontext.h>. */

/* The C library's register numbers and ours share a name. */
#define REG_RIP HOST_REG_RIP
#include <signal.h>
#include <ucontext.h>
#undef REG_RIP

#include "native.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { XSAVE_HEADER = 512, XSAVE_YMM = 576, XSAVE_MAX = 16384 };
enum { SW_RESERVED = 464, SW_MAGIC1 = 0x46505853 };

#define USER_CS64 0x33
#define USER_CS32 0x23
#define USER_DS   0x2b
/* LDT entries: code of 32 and 16 bits, data with a big and a small stack pointer. */
enum { LDT_CODE32, LDT_CODE16, LDT_DATA32, LDT_DATA16 };
#define LDT_SELECTOR(n) ((u16)((n) << 3 | 7))

#define RFLAGS_LOADED (FL_OSZAPC | FL_DF | RF_AC)

/* One at a time, and signal handlers have no argument: the only file of the project with such a thing. */
static struct {
    u8 *memory;
    bool has_ldt;
    bool running;
    struct test_case *t;
    gregset_t host;
    u8 host_fp[XSAVE_MAX];
    u32 fp_size;
    unsigned ranges;
    struct {
        u64 first, end;
    } range[512]; /* what is mapped besides the arena */
} native;

static const u8 greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* Bytes of FP state in the frame: 512, or what the kernel says in the reserved part. */
static u32 frame_fp_size(const u8 *fp)
{
    u32 magic, size;
    memcpy(&magic, fp + SW_RESERVED, 4);
    memcpy(&size, fp + SW_RESERVED + 4, 4);
    return magic == SW_MAGIC1 && size <= XSAVE_MAX ? size : 512;
}

static void set_segments(gregset_t g, u16 cs, u16 ss)
{
    g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000ll) | cs | (long long)((u64)ss << 48);
}

static void load_state(ucontext_t *uc, const struct test_case *t)
{
    greg_t *g = uc->uc_mcontext.gregs;
    u8 *fp = (u8 *)uc->uc_mcontext.fpregs;
    struct selectors s = native_selectors(t->kind);

    for (unsigned n = 0; n < 16; n++)
        g[greg_of[n]] = (greg_t)t->before.gpr[n];
    g[HOST_REG_RIP] = (greg_t)t->before.rip;
    g[REG_EFL] = (greg_t)((g[REG_EFL] & ~(u64)RFLAGS_LOADED) | (t->before.rflags & RFLAGS_LOADED));
    set_segments(g, s.cs, s.ss);
    memcpy(fp, &t->before.fx, 28); /* not mxcsr_mask */
    memcpy(fp + 32, t->before.fx.st, sizeof(t->before.fx.st) + sizeof(t->before.fx.xmm));
    if (native.fp_size > XSAVE_YMM) {
        memcpy(fp + XSAVE_YMM, t->before.ymm_high, sizeof(t->before.ymm_high));
        fp[XSAVE_HEADER] |= 7;
    }
}

static void store_state(const ucontext_t *uc, const struct test_case *t, struct user_state *out)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    const u8 *fp = (const u8 *)uc->uc_mcontext.fpregs;

    for (unsigned n = 0; n < 16; n++)
        out->gpr[n] = (u64)g[greg_of[n]];
    out->rflags = (u64)g[REG_EFL];
    memcpy(&out->fx, fp, sizeof(out->fx));
    out->fx.mxcsr_mask = 0;
    memset(out->ymm_high, 0, sizeof(out->ymm_high));
    if (native.fp_size > XSAVE_YMM && (fp[XSAVE_HEADER] & 4))
        memcpy(out->ymm_high, fp + XSAVE_YMM, sizeof(out->ymm_high));

    /* INT3 behind the instruction, or a fault at the target of a branch: it was carried out. */
    u64 trap = (u64)g[REG_TRAPNO], rip = (u64)g[HOST_REG_RIP];
    bool bp = trap == 3;
    out->rip = bp ? rip - 1 : rip;
    out->vector = NO_FAULT;
    out->error = 0;
    out->cr2 = 0;
    if (!bp && rip == t->before.rip) {
        out->vector = (u8)trap;
        out->error = (u32)g[REG_ERR];
        out->cr2 = trap == 14 ? (u64)g[REG_CR2] : 0;
    }
}

static void die(const char *why)
{
    static const char hex[] = "0123456789abcdef";
    char text[128] = "insn_host: ";
    size_t n = strlen(text), len = strlen(why);

    memcpy(text + n, why, len);
    n += len;
    for (unsigned k = 0; native.t && k < native.t->len; k++) {
        text[n++] = ' ';
        text[n++] = hex[native.t->bytes[k] >> 4];
        text[n++] = hex[native.t->bytes[k] & 15];
    }
    text[n++] = '\n';
    if (write(2, text, n) < 0)
        _exit(4);
    _exit(3);
}

/* Called by the trampoline. */
void native_signal(int sig, siginfo_t *info, void *context);
void native_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    u8 *fp = (u8 *)uc->uc_mcontext.fpregs;

    if (sig == SIGALRM)
        die("the host does not come back from");
    if (!native.t)
        die("a signal outside a test");
    if (!native.running) {
        native.running = true;
        native.fp_size = frame_fp_size(fp);
        memcpy(native.host, uc->uc_mcontext.gregs, sizeof(native.host));
        memcpy(native.host_fp, fp, native.fp_size);
        load_state(uc, native.t);
        return;
    }
    native.running = false;
    store_state(uc, native.t, &native.t->native);
    memcpy(uc->uc_mcontext.gregs, native.host, sizeof(native.host));
    memcpy(fp, native.host_fp, native.fp_size);
}

/* The instruction's flags are still in force: alignment checks would hit the compiler's code. */
void native_trampoline(int sig, siginfo_t *info, void *context);
__asm__(".text\n"
        ".globl native_trampoline\n"
        "native_trampoline:\n\t"
        "pushq $0x202\n\t"
        "popfq\n\t"
        "cld\n\t"
        "jmp native_signal\n");

static bool take_signals(void)
{
    static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    static u8 stack[65536];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction sa = {.sa_sigaction = native_trampoline, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    if (sigaltstack(&alt, NULL))
        return false;
    for (unsigned n = 0; n < ARRAY_SIZE(signals); n++)
        if (sigaction(signals[n], &sa, NULL))
            return false;
    return true;
}

/* One file, seen twice: at ARENA with the rights of its pages, and elsewhere writable as a whole. */
static bool map_arena(void)
{
    static const int rights[] = {
        [USE_CODE] = PROT_READ | PROT_EXEC, [USE_RW] = PROT_READ | PROT_WRITE, [USE_RO] = PROT_READ};
    int fd = memfd_create("arena", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, ARENA_PAGES * PAGE))
        return false;
    native.memory = mmap(NULL, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (native.memory == MAP_FAILED)
        return false;
    for (unsigned n = 0; n < ARENA_PAGES; n++) {
        enum page_use use = arena_use(n);
        void *at = (void *)(uintptr_t)(ARENA + n * PAGE);
        if (use != USE_NONE &&
            mmap(at, PAGE, rights[use], MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, (off_t)n * PAGE) != at)
            return false;
    }
    return true;
}

static bool list_ranges(void)
{
    unsigned long first, end;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");

    if (!maps)
        return false;
    while (native.ranges < ARRAY_SIZE(native.range) && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx", &first, &end) != 2 || ranges_overlap(first, end - first, ARENA, ARENA_PAGES * PAGE))
            continue;
        native.range[native.ranges].first = first;
        native.range[native.ranges++].end = end;
    }
    fclose(maps);
    return true;
}

bool native_owns(u64 linear)
{
    for (unsigned n = 0; n < native.ranges; n++)
        if (linear >= native.range[n].first && linear < native.range[n].end)
            return true;
    return false;
}

static bool set_ldt(unsigned entry, unsigned contents, bool big)
{
    struct user_desc d = {
        .entry_number = entry,
        .base_addr = ARENA,
        .limit = LDT_LIMIT,
        .seg_32bit = big,
        .contents = contents,
        .useable = 1,
    };
    return syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)) == 0;
}

bool native_init(void)
{
    if (!map_arena() || !take_signals() || !list_ranges()) {
        perror("insn_host");
        return false;
    }
    native.has_ldt =
        set_ldt(LDT_CODE32, MODIFY_LDT_CONTENTS_CODE, true) && set_ldt(LDT_CODE16, MODIFY_LDT_CONTENTS_CODE, false) &&
        set_ldt(LDT_DATA32, MODIFY_LDT_CONTENTS_DATA, true) && set_ldt(LDT_DATA16, MODIFY_LDT_CONTENTS_DATA, false);
    return syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE) == 0;
}

bool native_has(enum code_kind k)
{
    return !code_is_ldt(k) || native.has_ldt;
}

u8 *native_memory(void)
{
    return native.memory;
}

struct selectors native_selectors(enum code_kind k)
{
    static const struct selectors of[CODE_KINDS] = {
        [CODE_64] = {USER_CS64, USER_DS, USER_DS},
        [CODE_32_FLAT] = {USER_CS32, USER_DS, USER_DS},
        [CODE_32_LDT] = {LDT_SELECTOR(LDT_CODE32), LDT_SELECTOR(LDT_DATA32), LDT_SELECTOR(LDT_DATA32)},
        [CODE_16_LDT] = {LDT_SELECTOR(LDT_CODE16), LDT_SELECTOR(LDT_DATA16), LDT_SELECTOR(LDT_DATA16)},
    };
    return of[k];
}

/* DS and ES are not in the frame; 64-bit code does not care what they hold. */
void native_run(struct test_case *t)
{
    u16 data = native_selectors(t->kind).data;

    native.t = t;
    alarm(5);
    __asm__ volatile("movw %0, %%ds\n\tmovw %0, %%es\n\tint3" : : "r"(data) : "memory");
    alarm(0);
    native.t = NULL;
}
