/*
 * The dispatcher: run states, what ends a machine, and its threads, on a machine without processors (fake_machine.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "event/clock.h"
#include "event/loop.h"
#include "fake_machine.h"
#include "host/thread.h"
#include "vm/vm.h"

struct run {
    struct vm *vm;
    struct vm_end end;
    int status;
    pthread_t thread;
    _Atomic unsigned events[3]; /* by enum vm_event */
};

static void note_event(void *opaque, enum vm_event ev)
{
    ((struct run *)opaque)->events[ev]++;
}

static void *run_main(void *arg)
{
    struct run *r = arg;
    struct error err;
    r->status = vm_run(r->vm, &r->end, &err);
    return NULL;
}

static struct vm_config config(struct run *r)
{
    return (struct vm_config){.ram_size = 1 << 20,
                              .cpus = 3,
                              .cpu_model = "fake",
                              .engine = "auto",
                              .serial = "null",
                              .debugcon = "null",
                              .event = note_event,
                              .opaque = r};
}

static void start(struct run *r, const struct vm_config *cfg)
{
    struct error err = {0};
    assert_int_equal(vm_create(cfg, &r->vm, &err), 0);
    assert_int_equal(host_thread_start(&r->thread, "dispatcher", run_main, r), 0);
}

static void wait_for(const _Atomic unsigned *value, unsigned want)
{
    for (int i = 0; i < 5000 && *value != want; i++)
        usleep(1000);
    assert_int_equal(*value, want);
}

static void join(struct run *r)
{
    host_thread_join(r->thread);
    assert_int_equal(r->status, 0);
    assert_int_equal(vm_state(r->vm), VM_ENDED);
    assert_int_equal(fake_counts.running, 0);
    vm_destroy(r->vm);
}

/* The machine does what a byte from its serial port would make it do. */
static void act(struct run *r, u8 key)
{
    loop_lock(vm_loop(r->vm));
    fake_key(vm_machine(r->vm), key);
    loop_unlock(vm_loop(r->vm));
}

static void test_ends(void **state)
{
    static const struct {
        u8 key;
        bool no_reboot;
        enum vm_end_reason reason;
        unsigned status;
    } ends[] = {{'o', false, VM_END_POWER_OFF, 0},
                {'d', false, VM_END_DEBUG_EXIT, 11},
                {'r', true, VM_END_RESET, 0},
                {'t', true, VM_END_SHUTDOWN, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct run r = {0};
        struct vm_config cfg = config(&r);
        cfg.no_reboot = ends[i].no_reboot;
        start(&r, &cfg);
        wait_for(&fake_counts.running, cfg.cpus);
        act(&r, ends[i].key);
        join(&r);
        assert_int_equal(r.end.reason, ends[i].reason);
        assert_int_equal(r.end.status, ends[i].status);
    }
}

static void test_reset(void **state)
{
    struct run r = {0};
    struct vm_config cfg = config(&r);
    fake_counts.resets = fake_counts.flushes = 0;
    start(&r, &cfg);
    wait_for(&fake_counts.running, cfg.cpus);
    act(&r, 'r');
    wait_for(&r.events[VM_EVENT_RESET], 1);
    act(&r, 't');
    wait_for(&r.events[VM_EVENT_RESET], 2);
    vm_reset(r.vm);
    wait_for(&r.events[VM_EVENT_RESET], 3);
    wait_for(&fake_counts.running, cfg.cpus);
    assert_int_equal(fake_counts.resets, 3);
    assert_int_equal(fake_counts.flushes, 3 * cfg.cpus);
    vm_stop(r.vm);
    join(&r);
    assert_int_equal(r.end.reason, VM_END_STOPPED);
}

static void test_pause(void **state)
{
    struct run r = {0};
    struct vm_config cfg = config(&r);
    start(&r, &cfg);
    for (unsigned i = 1; i <= 20; i++) {
        wait_for(&r.events[VM_EVENT_RUNNING], i);
        vm_pause(r.vm);
        wait_for(&r.events[VM_EVENT_PAUSED], i);
        assert_int_equal(fake_counts.running, 0);
        u64 before = vclock_now(loop_clock(vm_loop(r.vm)));
        usleep(500);
        assert_int_equal(vclock_now(loop_clock(vm_loop(r.vm))), before); /* time stands still */
        vm_pause(r.vm);                                                  /* does nothing */
        vm_continue(r.vm);
    }
    wait_for(&r.events[VM_EVENT_RUNNING], 21);
    vm_pause(r.vm);
    wait_for(&r.events[VM_EVENT_PAUSED], 21);
    act(&r, 'o'); /* also a machine that is paused can be ended */
    join(&r);
}

static void test_before_run(void **state)
{
    struct error err;
    struct run r = {0};
    struct vm_config cfg = config(&r);
    assert_int_equal(vm_create(&cfg, &r.vm, &err), 0);
    vm_stop(r.vm);
    assert_int_equal(vm_run(r.vm, &r.end, &err), 0);
    assert_int_equal(r.end.reason, VM_END_STOPPED);
    vm_destroy(r.vm);
    assert_int_equal(vm_create(&cfg, &r.vm, &err), 0);
    vm_destroy(r.vm); /* never ran */
}

struct counter {
    _Atomic unsigned done;
};

static void count(void *opaque)
{
    ((struct counter *)opaque)->done++;
}

static void test_work(void **state)
{
    struct counter counter = {0};
    struct run r = {0};
    struct vm_config cfg = config(&r);
    struct vm_work work = {.run = count, .opaque = &counter};
    start(&r, &cfg);
    for (unsigned i = 1; i <= 100; i++) {
        vm_post(r.vm, &work);
        wait_for(&counter.done, i);
    }
    vm_stop(r.vm);
    join(&r);
}

static void test_refused(void **state)
{
    struct run r = {0};
    struct error err;
    struct vm_config cfg = config(&r);
    cfg.engine = "kvm";
    assert_int_equal(vm_create(&cfg, &r.vm, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not in this build"));
    cfg.engine = "warp";
    assert_int_equal(vm_create(&cfg, &r.vm, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no such engine"));
    cfg = config(&r);
    cfg.kernel = "bad";
    assert_int_equal(vm_create(&cfg, &r.vm, &err), -EINVAL);
    assert_string_equal(err.text, "--kernel bad: it is bad");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),       cmocka_unit_test(test_reset), cmocka_unit_test(test_pause),
        cmocka_unit_test(test_before_run), cmocka_unit_test(test_work),  cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
