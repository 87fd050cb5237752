/*
 * The text of a network, taken apart: KIND[:WHERE][,KEY=VALUE]... A comma in WHERE is given twice.
 *
 *     nat                    a network of its own behind addresses of the host; keys: hostfwd (several), net, ipv6,
 *                            restrict, dns, hostname
 *     tap:NAME, tap:fd=N     a tap device of the host
 *     fd:N                   an inherited socket that carries frames; key: header
 *     switch:PATH            the switch that all machines with this path are on
 *     none
 *
 * Keys of all: mac, mtu, packed. They are the card's (net_spec's first part), and no business of the back end.
 */
#ifndef BACKEND_NET_SPEC_H
#define BACKEND_NET_SPEC_H

#include <netinet/in.h>

#include "backend/net/frame.h"
#include "base/error.h"

enum net_kind { NET_NONE, NET_NAT, NET_TAP, NET_FD, NET_SWITCH };

#define NET_FORWARDS 32

/* A port of the host that leads into the guest. Addresses and ports in host order. */
struct net_forward {
    bool udp;
    u32 host, guest;
    u16 host_port, guest_port;
};

struct net_spec {
    bool has_mac, packed;
    u8 mac[FRAME_MAC];
    u16 mtu; /* 0: not said */

    enum net_kind kind;
    char *where; /* of tap and switch */
    int fd;      /* of tap and fd; -1: by name */
    bool header; /* of fd: frames have a header */
    bool restricted, no_ipv6;
    u32 network, mask; /* of nat, in host order */
    char *hostname;    /* NULL: none */
    char *dns;         /* NULL: the host's */
    struct net_forward forward[NET_FORWARDS];
    unsigned forwards;
};

/* `who` is the option with its value. Free it with net_spec_free, also after a failure. */
int net_spec_parse(const char *who, const char *text, struct net_spec *out, struct error *err) MUST_CHECK;
void net_spec_free(struct net_spec *s);

#endif
