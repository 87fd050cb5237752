/*
 * The networks and the vsock. A guest that somebody gave has one by preset, nat; the built-in one has no use for it.
 *
 * Addresses of cards: on a nat, which nobody else is on, the same with each start; elsewhere random ones, as two
 * machines with the same options may meet.
 */
#include <stdio.h>
#include <string.h>

#include "backend/net/open.h"
#include "backend/vsock/vsock.h"
#include "event/door.h"
#include "event/loop.h"
#include "vm/internal.h"

_Static_assert(MACHINE_MAC == FRAME_MAC, "addresses of cards");

static const u8 mac_first[FRAME_MAC] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

int vm_net_check(const char *who, const char *spec, struct error *err)
{
    struct net_spec s;
    int status = net_spec_parse(who, spec, &s, err);
    net_spec_free(&s);
    return status;
}

int vm_vsock_check(const char *who, const char *spec, struct error *err)
{
    struct vsock_spec s;
    int status = vsock_spec_parse(who, spec, &s, err);
    vsock_spec_free(&s);
    return status;
}

static void mac_choose(struct vm *vm, const struct net_spec *spec, u8 *mac)
{
    if (spec->has_mac) {
        memcpy(mac, spec->mac, FRAME_MAC);
        return;
    }
    memcpy(mac, mac_first, FRAME_MAC);
    if (spec->kind == NET_NAT)
        mac[FRAME_MAC - 1] = (u8)(mac[FRAME_MAC - 1] + vm->nets);
    else
        door_random(vm->loop, mac + 3, FRAME_MAC - 3);
}

static enum child_confine confine_of(enum vm_sandbox sandbox)
{
    if (sandbox == VM_SANDBOX_OFF)
        return CHILD_FREE;
    return sandbox == VM_SANDBOX_ON ? CHILD_MUST : CHILD_TRY;
}

static struct net_host host_of(const struct vm *vm)
{
    return (struct net_host){.loop = vm->loop, .log = vm->cfg.log, .confine = confine_of(vm->cfg.sandbox)};
}

static int open_one(struct vm *vm, const char *who, const char *text, const struct net_spec *spec, struct error *err)
{
    const struct net_host host = host_of(vm);
    struct vm_net *net = &vm->net[vm->nets];
    if (spec->kind == NET_NONE)
        return 0;
    if (vm->nets == MACHINE_MAX_NETS)
        return error_set(err, -EINVAL, "%s: there are too many of them; give at most %d", who, MACHINE_MAX_NETS);
    int status = net_open(&host, who, spec, &net->net, err);
    if (status)
        return status;
    mac_choose(vm, spec, net->mac);
    net->spec = text;
    net->mtu = spec->mtu;
    net->packed = spec->packed;
    vm->nets++;
    return 0;
}

static int open_spec(struct vm *vm, const char *text, struct error *err)
{
    struct net_spec spec;
    char who[300];
    snprintf(who, sizeof(who), "--net %s", text);
    int status = net_spec_parse(who, text, &spec, err);
    if (!status)
        status = open_one(vm, who, text, &spec, err);
    net_spec_free(&spec);
    return status;
}

static int open_vsock(struct vm *vm, struct error *err)
{
    const struct net_host host = host_of(vm);
    struct vsock_spec spec;
    char who[300];
    snprintf(who, sizeof(who), "--vsock %s", vm->cfg.vsock);
    int status = vsock_spec_parse(who, vm->cfg.vsock, &spec, err);
    if (!status)
        status = vsock_open(&host, who, &spec, &vm->vsock, err);
    vm->vsock_cid = spec.cid;
    vsock_spec_free(&spec);
    return status;
}

int vm_open_nets(struct vm *vm, struct error *err)
{
    static const char preset[] = "nat";
    const struct vm_list *list = &vm->cfg.net;
    int status = 0;
    loop_lock(vm->loop);
    bool given = vm->cfg.kernel || vm->cfg.firmware || vm->cfg.disk.count;
    if (!list->count && given)
        status = open_spec(vm, preset, err);
    for (unsigned n = 0; n < list->count && !status; n++)
        status = open_spec(vm, list->item[n], err);
    if (!status && vm->cfg.vsock)
        status = open_vsock(vm, err);
    loop_unlock(vm->loop);
    return status;
}

int vm_start_nets(struct vm *vm, struct error *err)
{
    int status = 0;
    loop_lock(vm->loop);
    for (unsigned n = 0; n < vm->nets && !status; n++)
        status = net_start(vm->net[n].net, err);
    if (!status && vm->vsock)
        status = net_start(vm->vsock, err);
    loop_unlock(vm->loop);
    return status;
}

static void show_one(const struct net *net, const char *what, const char *spec, void (*line)(void *, const char *),
                     void *opaque)
{
    struct net_counts c = net_counts(net);
    char text[400];
    snprintf(text, sizeof(text), "%s, %s: link %s, sent %llu frames, %llu KiB, received %llu frames, %llu KiB", what,
             spec, net_is_up(net) ? "up" : "down", (unsigned long long)c.sent, (unsigned long long)(c.sent_bytes >> 10),
             (unsigned long long)c.received, (unsigned long long)(c.received_bytes >> 10));
    line(opaque, text);
}

void vm_show_nets(struct vm *vm, void (*line)(void *opaque, const char *text), void *opaque)
{
    loop_lock(vm->loop);
    for (unsigned n = 0; n < vm->nets; n++) {
        const u8 *m = vm->net[n].mac;
        char mac[24];
        snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        show_one(vm->net[n].net, mac, vm->net[n].spec, line, opaque);
    }
    if (vm->vsock)
        show_one(vm->vsock, "vsock", vm->cfg.vsock, line, opaque);
    loop_unlock(vm->loop);
}

void vm_close_nets(struct vm *vm)
{
    loop_lock(vm->loop);
    for (unsigned n = 0; n < vm->nets; n++)
        net_destroy(vm->net[n].net);
    vm->nets = 0;
    net_destroy(vm->vsock);
    vm->vsock = NULL;
    loop_unlock(vm->loop);
}
