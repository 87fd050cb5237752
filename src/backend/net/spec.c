/* See spec.h. */
#include "backend/net/spec.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "backend/words.h"

#define NETWORK_PRESET 0x0a000200u /* 10.0.2.0/24 */
#define MASK_PRESET    0xffffff00u
#define PREFIX_MIN     8
#define PREFIX_MAX     27 /* room for the gateway, the name server and a lease */
#define GUEST_FIRST    15 /* of the network: the address that the first lease has */
#define MTU_MIN        68 /* the least that IP has */
#define MTU_MAX        65521

/* A decimal number in [least, most] that ends at `end`. */
static bool number_read(const char *text, const char *end, unsigned least, unsigned most, unsigned *out)
{
    unsigned n = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (unsigned)(*text - '0');
        if (n > most)
            return false;
    }
    *out = n;
    return n >= least;
}

static bool whole_number(const char *text, unsigned least, unsigned most, unsigned *out)
{
    return number_read(text, text + strlen(text), least, most, out);
}

static bool address_read(const char *text, const char *end, u32 *out)
{
    char copy[INET_ADDRSTRLEN];
    struct in_addr a;

    if ((size_t)(end - text) >= sizeof(copy))
        return false;
    memcpy(copy, text, (size_t)(end - text));
    copy[end - text] = '\0';
    if (inet_pton(AF_INET, copy, &a) != 1)
        return false;
    *out = ntohl(a.s_addr);
    return true;
}

static bool text_copy(char **place, const char *value)
{
    free(*place);
    *place = strdup(value);
    return *place;
}

/* --- keys ------------------------------------------------------------------------------------------------------- */

/* Six bytes, not a group's. */
static bool set_mac(struct net_spec *s, const char *value)
{
    unsigned b[FRAME_MAC];
    char more;

    if (strlen(value) != 17 || strspn(value, "0123456789abcdefABCDEF:") != 17 ||
        sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%c", /* NOLINT(cert-err34-c): two hexadecimal digits fit */
               &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &more) != 6)
        return false;
    for (unsigned i = 0; i < FRAME_MAC; i++)
        s->mac[i] = (u8)b[i];
    s->has_mac = true;
    return !(s->mac[0] & 1);
}

static bool set_mtu(struct net_spec *s, const char *value)
{
    unsigned n;

    if (!whole_number(value, MTU_MIN, MTU_MAX, &n))
        return false;
    s->mtu = (u16)n;
    return true;
}

static bool set_packed(struct net_spec *s, const char *value)
{
    return words_switch(value, &s->packed);
}

static bool set_header(struct net_spec *s, const char *value)
{
    return words_switch(value, &s->header);
}

static bool set_restrict(struct net_spec *s, const char *value)
{
    return words_switch(value, &s->restricted);
}

static bool set_ipv6(struct net_spec *s, const char *value)
{
    bool on;

    if (!words_switch(value, &on))
        return false;
    s->no_ipv6 = !on;
    return true;
}

static bool set_net(struct net_spec *s, const char *value)
{
    const char *slash = strchr(value, '/');
    unsigned prefix;

    if (!slash || !address_read(value, slash, &s->network) || !whole_number(slash + 1, PREFIX_MIN, PREFIX_MAX, &prefix))
        return false;
    s->mask = ~0u << (32 - prefix);
    return !(s->network & ~s->mask);
}

static bool set_dns(struct net_spec *s, const char *value)
{
    struct in6_addr a;

    return (inet_pton(AF_INET, value, &a) == 1 || inet_pton(AF_INET6, value, &a) == 1) && text_copy(&s->dns, value);
}

static bool set_hostname(struct net_spec *s, const char *value)
{
    size_t len = strlen(value);

    return len && len <= 63 &&
           strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == len &&
           text_copy(&s->hostname, value);
}

/* tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT; without an address: of the host all, of the guest the first lease's. */
static bool forward_read(struct net_forward *f, const char *value)
{
    unsigned host_port, guest_port;

    f->udp = strncmp(value, "udp:", 4) == 0;
    if (!f->udp && strncmp(value, "tcp:", 4) != 0)
        return false;
    const char *host = value + 4, *dash = strchr(host, '-');
    const char *host_colon = strchr(host, ':'), *guest_colon = dash ? strchr(dash, ':') : NULL;
    if (!guest_colon || !host_colon || host_colon > dash)
        return false;
    if ((host_colon > host && !address_read(host, host_colon, &f->host)) ||
        (guest_colon > dash + 1 && !address_read(dash + 1, guest_colon, &f->guest)) ||
        !number_read(host_colon + 1, dash, 1, UINT16_MAX, &host_port) ||
        !whole_number(guest_colon + 1, 1, UINT16_MAX, &guest_port))
        return false;
    f->host_port = (u16)host_port;
    f->guest_port = (u16)guest_port;
    return true;
}

static bool set_hostfwd(struct net_spec *s, const char *value)
{
    return s->forwards < NET_FORWARDS && forward_read(&s->forward[s->forwards++], value);
}

#define ALL_KINDS (1u << NET_NAT | 1u << NET_TAP | 1u << NET_FD | 1u << NET_SWITCH)

static const struct key {
    const char *name;
    unsigned kinds;
    bool (*set)(struct net_spec *s, const char *value);
    const char *right;
} keys[] = {
    {"mac", ALL_KINDS, set_mac, "an address of one card, such as mac=52:54:00:12:34:56"},
    {"mtu", ALL_KINDS, set_mtu, "mtu=68 to mtu=65521"},
    {"packed", ALL_KINDS, set_packed, "packed=on or packed=off"},
    {"header", 1u << NET_FD, set_header, "header=on or header=off"},
    {"hostfwd", 1u << NET_NAT, set_hostfwd, "hostfwd=tcp:[ADDRESS]:PORT-[ADDRESS]:PORT, or udp:..., at most 32 times"},
    {"net", 1u << NET_NAT, set_net, "a network with 8 to 27 bits of prefix, such as net=10.0.2.0/24"},
    {"ipv6", 1u << NET_NAT, set_ipv6, "ipv6=on or ipv6=off"},
    {"restrict", 1u << NET_NAT, set_restrict, "restrict=on or restrict=off"},
    {"dns", 1u << NET_NAT, set_dns, "the address of a name server, such as dns=127.0.0.53"},
    {"hostname", 1u << NET_NAT, set_hostname, "a name of letters, digits and dashes, at most 63"},
};

/* --- kinds ------------------------------------------------------------------------------------------------------ */

static bool take_nothing(struct net_spec *s, const char *where)
{
    return !where;
}

static bool take_fd(struct net_spec *s, const char *where)
{
    unsigned n;

    if (!where || !whole_number(where, 3, 1u << 20, &n))
        return false;
    s->fd = (int)n;
    return true;
}

static bool take_tap(struct net_spec *s, const char *where)
{
    if (where && strncmp(where, "fd=", 3) == 0)
        return take_fd(s, where + 3);
    return where && *where && strlen(where) < IFNAMSIZ && !strchr(where, '/') && text_copy(&s->where, where);
}

static bool take_path(struct net_spec *s, const char *where)
{
    return where && *where && strlen(where) < sizeof(((struct sockaddr_un *)0)->sun_path) &&
           text_copy(&s->where, where);
}

static const struct kind {
    const char *name;
    enum net_kind kind;
    bool (*take)(struct net_spec *s, const char *where);
    const char *right;
} kinds[] = {
    {"nat", NET_NAT, take_nothing, "nat, with its keys behind a comma"},
    {"user", NET_NAT, take_nothing, "user (the same as nat), with its keys behind a comma"},
    {"tap", NET_TAP, take_tap, "tap:NAME, a device of at most 15 characters, or tap:fd=NUMBER, 3 or more"},
    {"fd", NET_FD, take_fd, "fd:NUMBER, a descriptor that is open, 3 or more"},
    {"switch", NET_SWITCH, take_path, "switch:PATH, the path of a socket, at most 107 bytes"},
    {"none", NET_NONE, take_nothing, "none and nothing else"},
};

static int set_kind(const char *who, struct net_spec *s, char *word, struct error *err)
{
    char *where = strchr(word, ':');

    if (where)
        *where++ = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].name, word) != 0)
            continue;
        s->kind = kinds[i].kind;
        return kinds[i].take(s, where) ? 0 : error_set(err, -EINVAL, "%s: give %s", who, kinds[i].right);
    }
    return error_set(err, -EINVAL, "%s: no such network; give nat, tap:NAME, fd:NUMBER, switch:PATH or none", who);
}

static int set_key(const char *who, struct net_spec *s, char *word, struct error *err)
{
    char *value = strchr(word, '=');

    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, word) != 0)
            continue;
        if (!(keys[i].kinds & 1u << s->kind))
            return error_set(err, -EINVAL, "%s: %s: not for this kind of network", who, word);
        return value && keys[i].set(s, value) ? 0 : error_set(err, -EINVAL, "%s: give %s", who, keys[i].right);
    }
    return error_set(err, -EINVAL, "%s: %s: no such key; give mac, mtu, packed and what ring3(1) has for this kind",
                     who, word);
}

/* Addresses of the guest that were not said; all have to lie in its network. */
static int finish(const char *who, struct net_spec *s, struct error *err)
{
    for (unsigned i = 0; i < s->forwards; i++) {
        struct net_forward *f = &s->forward[i];
        if (!f->guest)
            f->guest = s->network + GUEST_FIRST;
        if ((f->guest & s->mask) != s->network)
            return error_set(err, -EINVAL,
                             "%s: the guest's address in hostfwd is not in its network; leave it out, or "
                             "give one that is",
                             who);
    }
    return 0;
}

int net_spec_parse(const char *who, const char *text, struct net_spec *out, struct error *err)
{
    *out = (struct net_spec){.fd = -1, .network = NETWORK_PRESET, .mask = MASK_PRESET};
    char *copy = strdup(text);
    if (!copy)
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    char *rest = words_cut(copy);
    int status = set_kind(who, out, copy, err);
    while (rest && !status) {
        char *word = rest;
        rest = words_cut(word);
        status = set_key(who, out, word, err);
    }
    if (!status)
        status = finish(who, out, err);
    free(copy);
    return status;
}

void net_spec_free(struct net_spec *s)
{
    free(s->where);
    free(s->hostname);
    free(s->dns);
    *s = (struct net_spec){.fd = -1};
}
