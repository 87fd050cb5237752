/*
 * Saving and loading every class of a whole machine: what is saved, loaded elsewhere and saved again is the same bytes.
 * Once with each declared field filled with a pattern, which finds fields that the descriptors miss or overlap; once
 * through the devices themselves with their `saving` and `loaded` hooks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend/char/open.h"
#include "block_stub.h"
#include "cpu/cpu.h"
#include "cpu/model.h"
#include "cpu/world.h"
#include "dev/dev.h"
#include "event/loop.h"
#include "machine/machine.h"

static void ignore_event(void *opaque, enum machine_event ev, unsigned value)
{
}

struct pc {
    struct loop *loop;
    struct block *block;
    struct chardev *port;
    struct machine *machine;
};

static struct pc pc_create(bool mmio)
{
    struct error err = {""};
    struct pc pc = {.loop = loop_create()};
    assert_non_null(pc.loop);
    loop_set_manual(pc.loop, 0);
    pc.block = calloc(1, sizeof(*pc.block));
    pc.port = char_open_null();
    assert_true(pc.block && pc.port);
    stub_open(pc.block, pc.loop);
    pc.machine = machine_create(&(struct machine_config){.ram_size = MiB(16),
                                                         .cpus = 2,
                                                         .model = cpu_model_find("x86-64-v3"),
                                                         .debug_exit = true,
                                                         .testdev = true,
                                                         .virtio_mmio = mmio,
                                                         .rng = true,
                                                         .balloon = true,
                                                         .disk = {{.block = pc.block, .queues = 2, .packed = true}},
                                                         .disks = 1,
                                                         .port = {pc.port},
                                                         .ports = 1,
                                                         .loop = pc.loop,
                                                         .event = ignore_event},
                                &err);
    if (!pc.machine)
        fail_msg("%s", err.text);
    return pc;
}

static void pc_destroy(struct pc *pc)
{
    machine_destroy(pc->machine);
    loop_lock(pc->loop);
    char_destroy(pc->port);
    loop_unlock(pc->loop);
    free(pc->block);
    loop_destroy(pc->loop);
}

/* Fills the declared fields, and only them. */
static void fill(const struct state_class *cls, u8 *object, u8 seed)
{
    static const u8 width[] = {1, 2, 4, 8, 1, 2, 4, 8, 1};
    for (u32 n = 0; n < cls->field_count; n++) {
        const struct state_field *f = &cls->fields[n];
        for (u32 k = 0; k < f->count; k++) {
            if (f->type == STATE_T_struct) {
                fill(f->nested, object + f->offset + k * f->nested->size, (u8)(seed + k + 1));
                continue;
            }
            u8 *at = object + f->offset + k * width[f->type];
            for (u32 b = 0; b < width[f->type]; b++)
                at[b] = f->type == STATE_T_bool ? (seed + n + k) & 1 : (u8)(seed + 31 * n + 7 * k + b + 1);
        }
    }
}

static void check_class(const struct state_class *cls)
{
    struct state_stream first = {0}, second = {0};
    struct error err = {""};
    char where[200] = "";
    u8 *a = calloc(1, cls->size), *b = calloc(1, cls->size);
    assert_true(a && b);
    fill(cls, a, 3);
    assert_int_equal(state_save(&first, cls, a), 0);
    struct state_stream in = {.data = first.data, .size = first.size};
    if (state_load(&in, cls, b, &err))
        fail_msg("%s: %s", cls->name, err.text);
    assert_int_equal(state_save(&second, cls, b), 0);
    if (state_differs(cls, a, b, where, sizeof(where)))
        fail_msg("%s: %s was not restored", cls->name, where);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    state_stream_free(&first);
    state_stream_free(&second);
    free(a);
    free(b);
}

static void test_every_field(void **state)
{
    struct pc pc = pc_create(*(bool *)*state);
    check_class(&cpu_class);
    const struct dev *d;
    for (unsigned n = 0; (d = machine_dev(pc.machine, n)); n++)
        if (d->cls->state)
            check_class(d->cls->state);
    assert_true(machine_dev(pc.machine, 10) != NULL);
    pc_destroy(&pc);
}

static void device_save(struct dev *d, struct state_stream *out)
{
    if (d->cls->saving)
        d->cls->saving(d);
    assert_int_equal(state_save(out, d->cls->state, d->cls->get_state(d)), 0);
}

static void check_device(struct pc *from, struct pc *to, unsigned n)
{
    struct dev *a = machine_dev(from->machine, n), *b = machine_dev(to->machine, n);
    struct state_stream first = {0}, second = {0};
    struct error err = {""};
    assert_ptr_equal(a->cls, b->cls);
    if (!a->cls->state)
        return;
    loop_lock(from->loop);
    device_save(a, &first);
    loop_unlock(from->loop);

    loop_lock(to->loop);
    struct state_stream in = {.data = first.data, .size = first.size};
    if (state_load(&in, b->cls->state, b->cls->get_state(b), &err))
        fail_msg("%s: %s", b->cls->name, err.text);
    if (b->cls->loaded)
        b->cls->loaded(b);
    device_save(b, &second);
    loop_unlock(to->loop);
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0)
        fail_msg("%s: another state after loading", a->cls->name);
    state_stream_free(&first);
    state_stream_free(&second);
}

static void test_every_device(void **state)
{
    bool mmio = *(bool *)*state;
    struct pc from = pc_create(mmio), to = pc_create(mmio);
    for (unsigned n = 0; machine_dev(from.machine, n); n++)
        check_device(&from, &to, n);
    pc_destroy(&from);
    pc_destroy(&to);
}

int main(void)
{
    bool pci = false, mmio = true; /* where the virtio devices are */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_every_field, &pci),
        cmocka_unit_test_prestate(test_every_device, &pci),
        cmocka_unit_test_prestate(test_every_field, &mmio),
        cmocka_unit_test_prestate(test_every_device, &mmio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
