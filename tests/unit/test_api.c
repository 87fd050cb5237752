/*
 * ring3.h as a program uses it: options and their errors, two machines that run at the same time in one process, and
 * disk images.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring3.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_values(void **state)
{
    static const struct {
        const char *name, *value;
        int status;
    } values[] = {
        {"memory", "1", RING3_OK},
        {"memory", "1024K", RING3_OK},
        {"memory", "512m", RING3_OK},
        {"memory", "512G", RING3_OK},
        {"memory", "512g", RING3_OK},
        {"memory", "0", RING3_BAD_INPUT},
        {"memory", "", RING3_BAD_INPUT},
        {"memory", "G", RING3_BAD_INPUT},
        {"memory", "1023K", RING3_BAD_INPUT},
        {"memory", "1025K", RING3_BAD_INPUT},
        {"memory", "513G", RING3_BAD_INPUT},
        {"memory", "18446744073709551616", RING3_BAD_INPUT},
        {"memory", "18014398509481984K", RING3_BAD_INPUT},
        {"memory", " 1G", RING3_BAD_INPUT},
        {"memory", "1G ", RING3_BAD_INPUT},
        {"memory", "0x10000000", RING3_BAD_INPUT},
        {"cpus", "1", RING3_OK},
        {"cpus", "64", RING3_OK},
        {"cpus", "0", RING3_BAD_INPUT},
        {"cpus", "65", RING3_BAD_INPUT},
        {"cpus", "4294967297", RING3_BAD_INPUT},
        {"cpus", "1 ", RING3_BAD_INPUT},
        {"no-reboot", "on", RING3_OK},
        {"no-reboot", "off", RING3_OK},
        {"no-reboot", "yes", RING3_BAD_INPUT},
        {"serial", "null", RING3_OK},
        {"serial", "file=x", RING3_OK},
        {"serial", "file=", RING3_BAD_INPUT},
        {"serial", "tty", RING3_BAD_INPUT},
        {"kernel", "", RING3_BAD_INPUT},
        {"cmdline", "", RING3_OK},
        {"disk", "x", RING3_OK},
        {"disk", "x,packed=on,format=raw,queues=8,serial=y", RING3_OK},
        {"disk", "a,,b,packed=off", RING3_OK},
        {"disk", "", RING3_BAD_INPUT},
        {"disk", ",packed=on", RING3_BAD_INPUT},
        {"disk", "x,packed=", RING3_BAD_INPUT},
        {"disk", "x,queues=0", RING3_BAD_INPUT},
        {"disk", "x,serial=", RING3_BAD_INPUT},
        {"console", "pty", RING3_OK},
        {"console", "tty", RING3_BAD_INPUT},
        {"colour", "red", RING3_BAD_INPUT},
    };
    struct ring3_config *cfg = ring3_config_create();
    for (size_t i = 0; i < COUNT(values); i++) {
        struct ring3_error err = {"untouched"};
        assert_int_equal(ring3_config_set(cfg, values[i].name, values[i].value, &err), values[i].status);
        if (values[i].status)
            assert_memory_equal(err.text, "--", 2);
        else
            assert_string_equal(err.text, "untouched");
        assert_int_equal(ring3_config_set(cfg, values[i].name, values[i].value, NULL), values[i].status);
    }
    ring3_config_destroy(cfg);
}

static void test_table(void **state)
{
    const struct ring3_option *o;
    unsigned n = 0;
    struct ring3_config *cfg = ring3_config_create();
    for (; (o = ring3_option_at(n)); n++) {
        assert_true(o->name && o->text);
        if (o->preset)
            assert_int_equal(ring3_config_set(cfg, o->name, o->preset, NULL), RING3_OK);
    }
    assert_true(n > 10);
    assert_null(ring3_option_at(n));
    assert_null(ring3_option_at(~0u));
    ring3_config_destroy(cfg);
}

static struct ring3_vm *machine(const char *cpus)
{
    struct ring3_vm *vm = NULL;
    struct ring3_error err;
    struct ring3_config *cfg = ring3_config_create();
    assert_int_equal(ring3_config_set(cfg, "serial", "null", &err), RING3_OK);
    assert_int_equal(ring3_config_set(cfg, "cpus", cpus, &err), RING3_OK);
    assert_int_equal(ring3_config_set(cfg, "memory", "16M", &err), RING3_OK);
    if (ring3_vm_create(cfg, &vm, &err))
        fail_msg("%s", err.text);
    ring3_config_destroy(cfg); /* the machine keeps what it needs */
    return vm;
}

static void *run(void *vm)
{
    struct ring3_end end = {.exit_status = -1};
    int status = ring3_vm_run(vm, &end, NULL);
    return (void *)(intptr_t)(status == RING3_OK && end.reason == RING3_STOPPED && end.exit_status == 0);
}

static void test_two_machines(void **state)
{
    struct ring3_vm *vm[2] = {machine("1"), machine("2")};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run, vm[i]), 0);
    usleep(300000);
    struct ring3_info info;
    ring3_vm_info(vm[1], &info);
    assert_string_equal(info.state, "running");
    assert_int_equal(info.cpus, 2);
    assert_int_equal(info.memory, 16 << 20);
    assert_false(info.uses_stdio);
    ring3_vm_pause(vm[0]);
    ring3_vm_reset(vm[1]);
    usleep(300000);
    ring3_vm_info(vm[0], &info);
    assert_string_equal(info.state, "paused");
    for (int i = 0; i < 2; i++) {
        void *good;
        ring3_vm_stop(vm[i]);
        pthread_join(thread[i], &good);
        assert_non_null(good);
        ring3_vm_info(vm[i], &info);
        assert_string_equal(info.state, "ended");
        ring3_vm_destroy(vm[i]);
    }
}

static void test_refused(void **state)
{
    struct ring3_error err;
    struct ring3_vm *vm = NULL;
    struct ring3_config *cfg = ring3_config_create();
    assert_int_equal(ring3_config_set(cfg, "serial", "null", &err), RING3_OK);
    assert_int_equal(ring3_config_set(cfg, "initramfs", "/dev/null", &err), RING3_OK);
    assert_int_equal(ring3_vm_create(cfg, &vm, &err), RING3_BAD_INPUT);
    assert_non_null(strstr(err.text, "--initramfs /dev/null"));
    assert_int_equal(ring3_config_set(cfg, "kernel", "/nonexistent", &err), RING3_OK);
    assert_int_equal(ring3_vm_create(cfg, &vm, &err), RING3_BAD_INPUT);
    assert_non_null(strstr(err.text, "--kernel /nonexistent"));
    assert_null(vm);
    ring3_config_destroy(cfg);
}

static bool give_up(void *opaque, uint64_t done, uint64_t total)
{
    return false;
}

static void test_disks(void **state)
{
    char folder[] = "/tmp/ring3-test-XXXXXX", one[60], two[60];
    struct ring3_error err;
    struct ring3_disk_info info;
    struct ring3_disk_check check;
    assert_non_null(mkdtemp(folder));
    snprintf(one, sizeof(one), "%s/one", folder);
    snprintf(two, sizeof(two), "%s/two", folder);
    struct ring3_disk_image image = {.path = one};
    struct ring3_disk_new new = {.path = one, .size = 1 << 20};
    assert_int_equal(ring3_disk_create(&new, &err), RING3_OK);
    assert_int_equal(ring3_disk_create(&new, &err), RING3_BAD_INPUT); /* is there */
    assert_int_equal(ring3_disk_info(&image, &info, NULL), RING3_OK);
    assert_string_equal(info.format, "qcow2");
    assert_int_equal(info.size, 1 << 20);
    struct ring3_disk_size size = {.image = image, .size = 1 << 20, .grow_by = true};
    assert_int_equal(ring3_disk_resize(&size, &err), RING3_OK);
    assert_int_equal(ring3_disk_check(&image, RING3_REPAIR_NONE, NULL, NULL, &check, &err), RING3_OK);
    assert_true(!check.errors && !check.leaks && !check.used);
    struct ring3_disk_copy copy = {.from = image, .to = two, .format = "raw", .progress = give_up};
    assert_int_equal(ring3_disk_convert(&copy, &err), RING3_FAILED);
    assert_int_equal(access(two, F_OK), -1);
    copy.progress = NULL;
    assert_int_equal(ring3_disk_convert(&copy, &err), RING3_OK);
    image = (struct ring3_disk_image){.path = two, .format = "vmdk"};
    assert_int_equal(ring3_disk_info(&image, &info, &err), RING3_BAD_INPUT);
    image.format = NULL;
    assert_int_equal(ring3_disk_info(&image, &info, &err), RING3_OK);
    assert_string_equal(info.format, "raw");
    assert_int_equal(info.size, 2 << 20);
    unlink(one);
    unlink(two);
    assert_int_equal(rmdir(folder), 0);
}

/* Of an option that repeats every value counts, of others the last one. */
static void test_repeated(void **state)
{
    struct ring3_error err;
    struct ring3_vm *vm = NULL;
    struct ring3_config *cfg = ring3_config_create();
    assert_int_equal(ring3_config_set(cfg, "serial", "file=/nonexistent/x", &err), RING3_OK);
    assert_int_equal(ring3_config_set(cfg, "serial", "null", &err), RING3_OK);
    assert_int_equal(ring3_config_set(cfg, "console", "file=/nonexistent/y", &err), RING3_OK);
    assert_int_equal(ring3_config_set(cfg, "console", "null", &err), RING3_OK);
    assert_int_equal(ring3_vm_create(cfg, &vm, &err), RING3_BAD_INPUT);
    assert_non_null(strstr(err.text, "--console file=/nonexistent/y"));
    ring3_config_destroy(cfg);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_table), cmocka_unit_test(test_two_machines),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_disks), cmocka_unit_test(test_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
