/*
 * Host stubs: the cache, and the lowering of a row to host code. See stub.h.
 *
 * Registers of a stub: the guest's ModRM.reg is vector or MMX register 1 or EAX, r/m is 2 or R10D or [R8], VEX.vvvv is
 * 3, is4 is 4, and what the instruction names itself (XMM0, EAX, EDX, ECX) stays. The arguments arrive in RDI (struct
 * cpu), RSI, RDX, RCX, R8, R9D. MXCSR is exchanged through the red zone.
 */
#include "cpu/sem/stub.h"

#include <cpuid.h>
#include <stdlib.h>

#include "cpu/fault.h"
#include "host/code.h"
#include "isa/encode.h"
#include "isa/operand.h"

#define STUB_SLOTS 4096 /* of the hash table; at most half are used */
#define STUB_AREA  KiB(256)
#define STUB_MAX   256 /* bytes of one stub */

struct vec_stubs {
    struct code_area *area;
    unsigned count;
    struct isa_features host; /* of those that vec_host_has knows */
    struct vec_stub slot[STUB_SLOTS];
};

enum { H_AX = 0, H_CX = 1, H_DX = 2, H_SP = 4, H_SI = 6, H_DI = 7, H_R8 = 8, H_R9 = 9, H_R10 = 10 };
enum { RED_MXCSR = -8, RED_HOST_MXCSR = -16 }; /* places below RSP */

/* Code of one stub as it grows. */
struct emitter {
    u8 code[STUB_MAX];
    unsigned len;
    bool ok;
};

static void emit(struct emitter *e, struct insn i)
{
    u8 bytes[INSN_MAX_BYTES];
    unsigned len = insn_encode(&i, bytes);
    if (!len || e->len + len > sizeof(e->code)) {
        e->ok = false;
        return;
    }
    __builtin_memcpy(e->code + e->len, bytes, len);
    e->len += len;
}

/* An operand of the instruction and where it lives: canonical register, register that holds the guest's number times
 * four. */
struct place {
    u8 file;  /* FILE_XMM, FILE_YMM, FILE_MMX, FILE_GPR */
    u8 reg;   /* canonical */
    u8 index; /* host register, or REG_ZERO where the guest's register is fixed */
};

static bool find_place(const struct insn *i, unsigned kind, struct place *p)
{
    static const struct {
        u8 vec, gpr, index;
    } canonical[] = {
        [SLOT_REG] = {1, H_AX, H_SI},
        [SLOT_RM] = {2, H_R10, H_R8},
        [SLOT_VVVV] = {3, 0, H_DX},
        [SLOT_IS4] = {4, 0, H_CX},
    };
    const struct isa_kind *k = &isa_kinds[kind];
    p->file = k->file == FILE_VEC ? (i->vl ? FILE_YMM : FILE_XMM) : k->file;
    bool gpr = k->file == FILE_GPR;
    switch (k->slot) {
    case SLOT_RM:
        if (i->mem)
            return false;
        break;
    case SLOT_REG:
    case SLOT_VVVV:
    case SLOT_IS4:
        break;
    case SLOT_FIXED:
        p->reg = k->flags;
        p->index = REG_ZERO;
        return k->file != FILE_NONE;
    default:
        return false;
    }
    p->reg = gpr ? canonical[k->slot].gpr : canonical[k->slot].vec;
    p->index = canonical[k->slot].index;
    return true;
}

/* Where the guest keeps the register: struct cpu at RDI, elements of 32, 16 or 8 bytes, index times four already. */
static struct insn_ea place_ea(const struct place *p)
{
    static const struct {
        u32 offset;
        u8 scale, size;
    } files[] = {
        [FILE_GPR] = {offsetof(struct cpu, gpr), 1, 8},
        [FILE_MMX] = {offsetof(struct cpu, st), 2, 16},
        [FILE_XMM] = {offsetof(struct cpu, ymm), 3, 32},
        [FILE_YMM] = {offsetof(struct cpu, ymm), 3, 32},
    };
    struct insn_ea ea = {.base = H_DI, .index = p->index, .scale = files[p->file].scale};
    ea.disp = (i32)files[p->file].offset;
    if (p->index == REG_ZERO) {
        ea.disp += files[p->file].size * p->reg;
        ea.scale = 0;
    }
    return ea;
}

static struct insn ymm_insn(struct insn i)
{
    i.vl = 1;
    return i;
}

static void emit_load(struct emitter *e, const struct place *p, bool vex)
{
    struct insn_ea ea = place_ea(p);
    if (p->file == FILE_GPR)
        emit(e, insn_mem(INSN_MOV_Gv_Ev, p->reg, ea, true));
    else if (p->file == FILE_MMX)
        emit(e, insn_mem(INSN_MOVQ_Pq_Qq, p->reg, ea, false));
    else if (!vex)
        emit(e, insn_mem(INSN_MOVUPS_Vdq_Wdq, p->reg, ea, false));
    else if (p->file == FILE_XMM)
        emit(e, insn_mem(INSN_VMOVUPS_Vx_Wx, p->reg, ea, false));
    else
        emit(e, ymm_insn(insn_mem(INSN_VMOVUPS_Vx_Wx, p->reg, ea, false)));
}

/* A VEX instruction has cleared what is above its result: all 256 bits are stored. A legacy one leaves the guest's
 * upper half alone. */
static void emit_store(struct emitter *e, const struct place *p, bool vex)
{
    struct insn_ea ea = place_ea(p);
    if (p->file == FILE_GPR)
        emit(e, insn_mem(INSN_MOV_Ev_Gv, p->reg, ea, true));
    else if (p->file == FILE_MMX)
        emit(e, insn_mem(INSN_MOVQ_Qq_Pq, p->reg, ea, false));
    else if (!vex)
        emit(e, insn_mem(INSN_MOVUPS_Wdq_Vdq, p->reg, ea, false));
    else
        emit(e, ymm_insn(insn_mem(INSN_VMOVUPS_Wx_Vx, p->reg, ea, false)));
}

static void emit_mxcsr_guest(struct emitter *e)
{
    emit(e, insn_mem(INSN_MOV_Ev_Gv, H_R9, (struct insn_ea){H_SP, REG_ZERO, 0, RED_MXCSR}, false));
    emit(e, insn_mem(INSN_STMXCSR_Md, 0, (struct insn_ea){H_SP, REG_ZERO, 0, RED_HOST_MXCSR}, false));
    emit(e, insn_mem(INSN_LDMXCSR_Md, 0, (struct insn_ea){H_SP, REG_ZERO, 0, RED_MXCSR}, false));
}

static void emit_mxcsr_host(struct emitter *e)
{
    emit(e, insn_mem(INSN_STMXCSR_Md, 0, (struct insn_ea){H_SP, REG_ZERO, 0, RED_MXCSR}, false));
    emit(e, insn_mem(INSN_LDMXCSR_Md, 0, (struct insn_ea){H_SP, REG_ZERO, 0, RED_HOST_MXCSR}, false));
    emit(e, insn_mem(INSN_MOV_Gv_Ev, H_AX, (struct insn_ea){H_SP, REG_ZERO, 0, RED_MXCSR}, false));
}

/* Flags in the form of c->ax_flags. No row writes both flags and EAX. */
static void emit_flags(struct emitter *e)
{
    struct insn_ea flags = {H_DI, REG_ZERO, 0, offsetof(struct cpu, ax_flags)};
    emit(e, insn_reg(INSN_LAHF_64, 0, 0, false));
    emit(e, insn_reg(INSN_SETO_Eb, 0, H_AX, false));
    emit(e, insn_reg(INSN_MOVZX_Gv_Ew, H_AX, H_AX, false));
    emit(e, insn_mem(INSN_MOV_Ev_Gv, H_AX, flags, false));
}

/* The guest's instruction with canonical registers, in 64-bit code. */
static struct insn canonical_insn(const struct insn *i)
{
    struct insn k = *i;
    k.mode = ISA_64;
    k.ashift = 0;
    k.seg = SEG_DS;
    k.prefix66 = 0;
    k.lock = false;
    k.rep = 0;
    k.rex_w = i->mode == ISA_64 && i->rex_w;
    for (unsigned n = 0; n < isa_rows[i->row].operands; n++) {
        unsigned kind = isa_rows[i->row].operand[n].kind;
        struct place p;
        if (!find_place(i, kind, &p))
            continue;
        switch (isa_kinds[kind].slot) {
        case SLOT_REG:
            k.reg = p.reg;
            break;
        case SLOT_RM:
            k.rm = p.reg;
            break;
        case SLOT_VVVV:
            k.vvvv = p.reg;
            break;
        case SLOT_IS4:
            k.imm = (u64)p.reg << 4;
            break;
        default:
            break;
        }
    }
    if (k.mem) {
        k.base = H_R8;
        k.index = REG_ZERO;
        k.scale = 0;
        k.disp = 0;
    }
    /* VEX.W does not count outside 64-bit code, where these two stand for the W0 form. */
    if (k.row == INSN_VPEXTRD_Ed_Vdq_Ib_n64)
        k.row = INSN_VPEXTRD_Ed_Vdq_Ib;
    if (k.row == INSN_VPINSRD_Vdq_Hdq_Ed_Ib_n64)
        k.row = INSN_VPINSRD_Vdq_Hdq_Ed_Ib;
    return k;
}

static void lower(struct emitter *e, const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    bool vex = row->attrs & A_AVX, mmx = false;
    struct place p;
    if (row->attrs & A_FPEXC)
        emit_mxcsr_guest(e);
    for (unsigned n = 0; n < row->operands; n++) {
        if (!find_place(i, row->operand[n].kind, &p))
            continue;
        mmx |= p.file == FILE_MMX;
        if (row->operand[n].access & ACC_R)
            emit_load(e, &p, vex);
    }
    emit(e, canonical_insn(i));
    if (row->flags_written | row->flags_cleared)
        emit_flags(e);
    for (unsigned n = 0; n < row->operands; n++)
        if (row->operand[n].access & ACC_W && find_place(i, row->operand[n].kind, &p))
            emit_store(e, &p, vex);
    if (row->attrs & A_FPEXC)
        emit_mxcsr_host(e);
    if (vex)
        emit(e, insn_reg(INSN_VZEROUPPER, 0, 0, false));
    if (mmx)
        emit(e, insn_reg(INSN_EMMS, 0, 0, false));
    emit(e, insn_reg(INSN_RET, 0, 0, false));
}

static void describe(struct vec_stub *s, const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    s->mem_size = i->mem ? (u8)insn_mem_size(i) : 0;
    s->dest = SLOT_NONE;
    struct place p;
    if (row->operands && row->operand[0].access & ACC_W && find_place(i, row->operand[0].kind, &p)) {
        s->dest = isa_kinds[row->operand[0].kind].slot;
        s->dest_file = p.file;
    }
}

/* What makes two instructions need different stubs. Register numbers (is4 in the immediate) do not. */
static u64 stub_key(const struct insn *i)
{
    u64 imm = i->imm & 0xff;
    return i->row | imm << 16 | (u64)i->rex_w << 24 | (u64)i->vl << 25 | (u64)i->mem << 26 | (u64)i->mode << 27 |
           BIT64(32);
}

static void ask_host(struct isa_features *host)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    if (b & BIT(29))
        isa_set(host, FEAT_SHA);
    if (c & BIT(9))
        isa_set(host, FEAT_VAES);
    if (c & BIT(10))
        isa_set(host, FEAT_VPCLMUL);
}

bool vec_stubs_create(struct cpu *c)
{
    struct error err;
    struct vec_stubs *s = calloc(1, sizeof(*s));
    if (s)
        s->area = code_create(STUB_AREA, &err);
    if (!s || !s->area) {
        log_msg(c->log, LOG_ERROR, "vector instructions cannot run: %s", s ? err.text : "out of memory");
        free(s);
        return false;
    }
    ask_host(&s->host);
    c->stubs = s;
    return true;
}

static struct vec_stubs *stubs_of(struct cpu *c)
{
    if (unlikely(!c->stubs) && !vec_stubs_create(c))
        cpu_ud(c);
    return c->stubs;
}

bool vec_host_has(struct cpu *c, enum isa_feature f)
{
    return isa_has(&stubs_of(c)->host, f);
}

void vec_stubs_free(struct cpu *c)
{
    if (!c->stubs)
        return;
    code_destroy(c->stubs->area);
    free(c->stubs);
    c->stubs = NULL;
}

static void forget_all(struct vec_stubs *s)
{
    code_reset(s->area, 0);
    s->count = 0;
    __builtin_memset(s->slot, 0, sizeof(s->slot));
}

static NOINLINE const struct vec_stub *stub_make(struct cpu *c, const struct insn *i, u64 key, unsigned at)
{
    struct vec_stubs *s = stubs_of(c);
    struct emitter e = {.ok = isa_rows[i->row].attrs & A_HOST};
    if (e.ok)
        lower(&e, i);
    if (!e.ok) { /* the table and the encoder disagree */
        log_msg(c->log, LOG_ERROR, "no host code for %s", isa_rows[i->row].name);
        cpu_ud(c);
    }
    const void *run = s->count < STUB_SLOTS / 2 ? code_add(s->area, e.code, e.len) : NULL;
    if (!run) {
        forget_all(s);
        run = code_add(s->area, e.code, e.len);
    }
    s->count++;
    struct vec_stub *stub = &s->slot[at];
    stub->key = key;
    stub->run = (vec_stub_fn *)(uintptr_t)run;
    describe(stub, i);
    return stub;
}

const struct vec_stub *vec_stub_find(struct cpu *c, const struct insn *i)
{
    const struct vec_stubs *stubs = stubs_of(c);
    u64 key = stub_key(i);
    unsigned at = (unsigned)(key * 0x9e3779b97f4a7c15ull >> 52);
    _Static_assert(STUB_SLOTS == 1 << 12, "hash takes the top twelve bits");
    for (;; at = (at + 1) % STUB_SLOTS) {
        const struct vec_stub *s = &stubs->slot[at];
        if (likely(s->key == key))
            return s;
        if (!s->key)
            return stub_make(c, i, key, at);
    }
}
