/*
 * `--check` on a bare processor: right code passes, code that was tampered with is caught and told of; and the listing
 * of a block. White box: the test changes bytes in the code cache.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/mmu.h"
#include "engine/translate/check.h"
#include "engine/translate/listing.h"
#include "own_signals.h"
#include "vcpu.h"

#define RAM MiB(8)

struct lines {
    unsigned count;
    char text[400][200];
};

struct fixture {
    struct vm v;
    struct log log;
    struct lines lines;
};

static void keep_line(void *opaque, const char *text)
{
    struct lines *l = opaque;
    if (l->count < ARRAY_SIZE(l->text))
        strncpy(l->text[l->count++], text, sizeof(l->text[0]) - 1);
}

static void keep_message(void *opaque, enum log_level level, const char *text)
{
    keep_line(opaque, text);
}

static bool said(const struct lines *l, const char *a, const char *b)
{
    for (unsigned n = 0; n < l->count; n++)
        if (strstr(l->text[n], a) && strstr(l->text[n], b))
            return true;
    return false;
}

static struct cpu *cpu_of(struct fixture *f)
{
    return f->v.cpu[0];
}

static int swap_engine(struct cpu *c, const char *from, const char *to, bool check)
{
    const struct engine_config cfg = {.check = check};
    engine_find(from)->detach(c);
    return engine_find(to)->attach(c, &cfg, NULL);
}

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof(f));
    *state = &f;
    if (vm_create(&f.v, RAM, 1) || swap_engine(cpu_of(&f), "interp", "translate", true))
        return -1;
    f.log = (struct log){.sink = keep_message, .opaque = &f.lines, .level = LOG_INFO};
    cpu_of(&f)->log = &f.log;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int status = swap_engine(cpu_of(f), "translate", "interp", false);
    vm_destroy(&f->v);
    return status;
}

static enum engine_exit run(struct fixture *f, const u8 *code, const u8 *end)
{
    struct cpu *c = cpu_of(f);
    vcpu_mode(&f->v, 0, VCPU_64);
    memcpy(f->v.ram + AT_CODE, code, (size_t)(end - code));
    c->request &= ~(u32)REQ_STOP;
    own_signals_put();
    return engine_find("translate")->run(c);
}

#define RUN(f, name) run(f, name, name##_end)

/* All host code with these bytes gets another last byte. */
static void tamper(struct fixture *f, const u8 *bytes, unsigned len, u8 last)
{
    const struct translator *t = cpu_of(f)->engine;
    const u8 *code = (const u8 *)t->cache->glue.end, *end = code_next(t->cache->area);
    unsigned found = 0;
    for (; code + len <= end; code++) {
        if (memcmp(code, bytes, len) == 0) {
            code_patch(t->cache->area, code + len - 1, &last, 1);
            found++;
        }
    }
    assert_true(found);
}

/* What it does depends on nothing that the run before it changed. */
GUEST64(work, "mov $0xa000, %ebx\n mov $20, %ecx\n xor %eax, %eax\n"
              "1: add $5, %eax\n mov %eax, (%rbx)\n push %rax\n pop %r14\n movl $0x1234567, 8(%rbx)\n incl "
              "0x2468(%rbx)\n lea 7(%r14), %rdx\n"
              "cmp $50, %eax\n jne 2f\n add $1, %eax\n 2: dec %ecx\n jnz 1b\n"
              "movdqu (%rbx), %xmm1\n paddd %xmm1, %xmm1\n cli\n pushfq\n pop %rdx" STOP_EAX)

static void test_same(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(RUN(f, work), ENGINE_STOPPED);
        assert_int_equal(f->v.code, 101);
    }
    const struct translator *t = cpu_of(f)->engine;
    assert_true(check_stats(t->check)->insns > 3 * 20 * 10);
    assert_true(check_stats(t->check)->early > 0); /* windows were empty at first */
    assert_int_equal(f->lines.count, 0);
}

static void test_register(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(RUN(f, work), ENGINE_STOPPED);
    tamper(f, (const u8[]){0x83, 0xc0, 0x05}, 3, 6); /* add eax, 5 */
    assert_int_equal(RUN(f, work), ENGINE_FAILED);
    assert_true(said(&f->lines, "--check", "differ"));
    assert_true(said(&f->lines, "* rax", ""));
    assert_true(said(&f->lines, "add eax, 0x5", "add eax, 0x6"));
    assert_false(said(&f->lines, "* rbx", ""));
}

/* paddd becomes psubd. */
static void test_vector(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(RUN(f, work), ENGINE_STOPPED);
    tamper(f, (const u8[]){0x66, 0x0f, 0xfe}, 3, 0xfa);
    assert_int_equal(RUN(f, work), ENGINE_FAILED);
    assert_true(said(&f->lines, "* ymm[4]", ""));
}

/* The value of a store: movl $0x1234567. */
static void test_memory(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(RUN(f, work), ENGINE_STOPPED);
    tamper(f, (const u8[]){0x67, 0x45, 0x23, 0x01}, 4, 2);
    assert_int_equal(RUN(f, work), ENGINE_FAILED);
    assert_true(said(&f->lines, "* bytes at 000000000000a008", "semantics 67452301, translated 67452302"));
}

/* Its address, 0x2468(%rbx), becomes one where nothing is: the host faults, which looks like an entry that is missing.
 */
static void test_elsewhere(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(RUN(f, work), ENGINE_STOPPED);
    tamper(f, (const u8[]){0x68, 0x24, 0x00, 0x00}, 4, 0x10);
    assert_int_equal(RUN(f, work), ENGINE_FAILED);
    assert_true(said(&f->lines, "faulted on the host, though", ""));
}

static void test_listing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(RUN(f, work), ENGINE_STOPPED);
    listing_at(cpu_of(f)->engine, AT_CODE, keep_line, &f->lines);
    assert_true(said(&f->lines, "0000000000001000 mov ebx, 0xa000", "| +"));
    assert_true(said(&f->lines, "; memory table", "mov rcx"));
    assert_true(said(&f->lines, "1 blocks with", "1000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_register, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vector, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listing, setup, teardown),
    };
    void *state;
    if (setup(&state)) /* the handlers are installed once */
        return 77;
    own_signals_keep();
    (void)teardown(&state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
