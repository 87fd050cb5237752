/* See frame.h. */
#include "backend/net/frame.h"

#include <string.h>

#include "base/bits.h"

enum { TYPE_AT = 12, TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_QINQ = 0x88a8, TAG_SIZE = 4 };
enum { IPV4_SIZE = 20, IPV4_LENGTH = 2, IPV4_ID = 4, IPV4_FRAGMENT = 6, IPV4_PROTOCOL = 9, IPV4_SUM = 10 };
enum { IPV4_FROM = 12, IPV4_ADDRESSES = 8 };
enum { IPV6_SIZE = 40, IPV6_LENGTH = 4, IPV6_NEXT = 6, IPV6_FROM = 8, IPV6_ADDRESSES = 32 };
enum { TCP_SIZE = 20, TCP_SEQ = 4, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_SUM = 16 };
enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };
enum { UDP_SIZE = 8, UDP_SUM = 6 };
#define FRAGMENT_BITS 0x3fff /* offset and "more fragments" */
#define TAGS_MAX      2
#define EXTENSIONS    8 /* headers of IPv6 that are walked */

static u16 get_be16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static void put_be16(u8 *p, unsigned v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

static u32 get_be32(const u8 *p)
{
    return (u32)get_be16(p) << 16 | get_be16(p + 2);
}

static void put_be32(u8 *p, u32 v)
{
    put_be16(p, v >> 16);
    put_be16(p + 2, v & 0xffff);
}

/* --- sums ------------------------------------------------------------------------------------------------------- */

u16 frame_sum(const void *bytes, size_t len, u16 start)
{
    const u8 *p = bytes;
    u64 sum = start;
    u64 rest = 0;

    for (; len >= 32; len -= 32, p += 32) {
        for (unsigned i = 0; i < 32; i += 8) {
            u64 word = get_u64(p + i);
            sum += word;
            sum += sum < word;
        }
    }
    for (; len >= 8; len -= 8, p += 8) {
        u64 word = get_u64(p);
        sum += word;
        sum += sum < word;
    }
    memcpy(&rest, p, len);
    sum += rest;
    sum += sum < rest;
    sum = (sum >> 32) + (u32)sum;
    sum = (sum >> 32) + (u32)sum;
    sum = (sum >> 16) + (u16)sum;
    sum = (sum >> 16) + (u16)sum;
    return (u16)sum;
}

u16 frame_pseudo_sum(const u8 *frame, const struct frame_layout *l, size_t len)
{
    const u8 *ip = frame + l->l3;
    u8 words[8] = {0};

    put_be32(words, (u32)len);
    words[7] = l->protocol;
    u16 sum = frame_sum(words, sizeof(words), 0);
    return l->version == 4 ? frame_sum(ip + IPV4_FROM, IPV4_ADDRESSES, sum)
                           : frame_sum(ip + IPV6_FROM, IPV6_ADDRESSES, sum);
}

/* A sum of 0 means "none" in UDP, so that is sent as its other form. */
void frame_complete(struct frame_header *h, u8 *frame, size_t len)
{
    if (!(h->flags & FRAME_NEEDS_CSUM))
        return;
    u8 *field = frame + h->csum_start + h->csum_offset;
    u16 sum = (u16)~frame_sum(frame + h->csum_start, len - h->csum_start, 0);
    if (!sum && h->csum_offset == UDP_SUM)
        sum = 0xffff;
    put_u16(field, sum);
    h->flags &= (u8)~FRAME_NEEDS_CSUM;
    h->csum_start = h->csum_offset = 0;
}

/* --- headers ---------------------------------------------------------------------------------------------------- */

/* The header of TCP or UDP at l4, if it is whole. */
static bool parse_l4(const u8 *frame, struct frame_layout *l, size_t at)
{
    size_t size = 0;

    if (l->protocol == FRAME_UDP)
        size = UDP_SIZE;
    else if (l->protocol == FRAME_TCP && l->end - at >= TCP_SIZE)
        size = (size_t)(frame[at + TCP_OFFSET] >> 4) * 4;
    else if (l->protocol != FRAME_TCP)
        return true;
    if (size < (l->protocol == FRAME_TCP ? TCP_SIZE : UDP_SIZE) || size > l->end - at)
        return false;
    l->l4 = (u32)at;
    l->payload = (u32)(at + size);
    return true;
}

static bool parse_ipv4(const u8 *frame, size_t len, struct frame_layout *l)
{
    const u8 *ip = frame + l->l3;
    size_t room = len - l->l3;

    if (room < IPV4_SIZE || ip[0] >> 4 != 4)
        return false;
    size_t header = (ip[0] & 15u) * 4, total = get_be16(ip + IPV4_LENGTH);
    if (header < IPV4_SIZE || total < header || total > room)
        return false;
    l->version = 4;
    l->end = (u32)(l->l3 + total);
    l->protocol = ip[IPV4_PROTOCOL];
    return get_be16(ip + IPV4_FRAGMENT) & FRAGMENT_BITS || parse_l4(frame, l, l->l3 + header);
}

static bool is_extension(u8 next)
{
    return next == 0 || next == 43 || next == 60; /* hop by hop, routing, destination options */
}

static bool parse_ipv6(const u8 *frame, size_t len, struct frame_layout *l)
{
    const u8 *ip = frame + l->l3;
    size_t room = len - l->l3;

    if (room < IPV6_SIZE || ip[0] >> 4 != 6)
        return false;
    size_t total = IPV6_SIZE + (size_t)get_be16(ip + IPV6_LENGTH), at = IPV6_SIZE;
    if (total > room)
        return false;
    l->version = 6;
    l->end = (u32)(l->l3 + total);
    l->protocol = ip[IPV6_NEXT];
    for (unsigned n = 0; is_extension(l->protocol); n++) {
        if (n == EXTENSIONS || total - at < 8)
            return false;
        size_t size = (ip[at + 1] + 1u) * 8;
        if (size > total - at)
            return false;
        l->protocol = ip[at];
        at += size;
    }
    return parse_l4(frame, l, l->l3 + at);
}

bool frame_parse(const u8 *frame, size_t len, struct frame_layout *out)
{
    size_t at = TYPE_AT;

    *out = (struct frame_layout){0};
    if (len < FRAME_ETHERNET)
        return false;
    unsigned type = get_be16(frame + at);
    for (unsigned n = 0; n < TAGS_MAX && (type == TYPE_VLAN || type == TYPE_QINQ); n++) {
        if (len < at + TAG_SIZE + 2)
            return false;
        at += TAG_SIZE;
        type = get_be16(frame + at);
    }
    out->l3 = (u32)(at + 2);
    if (type == TYPE_IPV4)
        return parse_ipv4(frame, len, out);
    return type != TYPE_IPV6 || parse_ipv6(frame, len, out);
}

static u8 gso_of(const struct frame_header *h)
{
    return h->gso_type & (u8)~FRAME_GSO_ECN;
}

bool frame_header_good(const struct frame_header *h, size_t len)
{
    u8 gso = gso_of(h);

    if (len < FRAME_ETHERNET || len > FRAME_MAX)
        return false;
    if (h->flags & FRAME_NEEDS_CSUM && !range_inside((u64)h->csum_start + h->csum_offset, 2, len))
        return false;
    if (h->gso_type == FRAME_GSO_NONE)
        return true;
    return (gso == FRAME_GSO_TCPV4 || gso == FRAME_GSO_TCPV6) && h->gso_size && h->flags & FRAME_NEEDS_CSUM;
}

/* Nothing but TCP and UDP has a sum that is left to others. */
bool frame_check(const struct frame_header *h, const u8 *frame, size_t len)
{
    struct frame_layout l;
    u8 gso = gso_of(h);

    if (!frame_header_good(h, len))
        return false;
    if (!(h->flags & FRAME_NEEDS_CSUM))
        return true;
    if (!frame_parse(frame, len, &l) || !l.l4 || h->csum_start != l.l4)
        return false;
    if (h->csum_offset != (l.protocol == FRAME_TCP ? TCP_SUM : UDP_SUM))
        return false;
    if (gso == FRAME_GSO_NONE)
        return true;
    return l.protocol == FRAME_TCP && l.version == (gso == FRAME_GSO_TCPV4 ? 4 : 6) && l.end == len;
}

unsigned frame_needs(const struct frame_header *h)
{
    unsigned needs = h->flags & FRAME_NEEDS_CSUM ? FRAME_CAN_CSUM : 0;

    if (gso_of(h) == FRAME_GSO_TCPV4)
        needs |= FRAME_CAN_TSO4;
    if (gso_of(h) == FRAME_GSO_TCPV6)
        needs |= FRAME_CAN_TSO6;
    if (h->gso_type & FRAME_GSO_ECN)
        needs |= FRAME_CAN_ECN;
    return needs;
}

/* --- cutting ---------------------------------------------------------------------------------------------------- */

bool frame_split_begin(struct frame_split *s, const struct frame_header *h, u8 *frame, size_t len, unsigned can)
{
    unsigned lacks = frame_needs(h) & ~can;

    s->header = *h;
    s->frame = frame;
    s->len = len;
    s->done = 0;
    s->ended = false;
    s->cut = lacks & ~(unsigned)FRAME_CAN_CSUM;
    if (!s->cut) {
        if (lacks)
            frame_complete(&s->header, frame, len);
        return true;
    }
    if (!frame_parse(frame, len, &s->at) || !s->at.payload || s->at.payload > sizeof(s->headers))
        return false;
    memcpy(s->headers, frame, s->at.payload);
    s->flags = frame[s->at.l4 + TCP_FLAGS];
    return true;
}

/* Lengths and sums of the IP header of a piece of `len` bytes, the `n`-th. */
static void piece_ip(const struct frame_split *s, u8 *piece, size_t len, size_t n)
{
    u8 *ip = piece + s->at.l3;
    size_t header = s->at.l4 - s->at.l3;

    if (s->at.version == 6) {
        put_be16(ip + IPV6_LENGTH, (unsigned)(len - s->at.l3 - IPV6_SIZE));
        return;
    }
    put_be16(ip + IPV4_LENGTH, (unsigned)(len - s->at.l3));
    put_be16(ip + IPV4_ID, (unsigned)(get_be16(ip + IPV4_ID) + n));
    put_u16(ip + IPV4_SUM, 0);
    put_u16(ip + IPV4_SUM, (u16)~frame_sum(ip, header, 0));
}

static void piece_tcp(const struct frame_split *s, u8 *piece, size_t len, bool last)
{
    u8 *tcp = piece + s->at.l4;
    u8 flags = s->flags;

    if (!last)
        flags &= (u8) ~(TCP_FIN | TCP_PSH);
    if (s->done)
        flags &= (u8)~TCP_CWR;
    tcp[TCP_FLAGS] = flags;
    put_be32(tcp + TCP_SEQ, get_be32(tcp + TCP_SEQ) + (u32)s->done);
    put_u16(tcp + TCP_SUM, 0);
    u16 sum = frame_pseudo_sum(piece, &s->at, len - s->at.l4);
    put_u16(tcp + TCP_SUM, (u16)~frame_sum(tcp, len - s->at.l4, sum));
}

/* The headers go before the payload, over what the piece before had there. */
bool frame_next(struct frame_split *s, struct frame_header *h, u8 **piece, size_t *len)
{
    size_t headers = s->at.payload, payload = s->cut ? s->len - headers : 0, size = s->header.gso_size;

    if (s->ended)
        return false;
    if (!s->cut) {
        *h = s->header;
        *piece = s->frame;
        *len = s->len;
        s->ended = true;
        return true;
    }
    size = size < payload - s->done ? size : payload - s->done;
    s->ended = s->done + size == payload;
    *h = (struct frame_header){0};
    *piece = s->frame + s->done;
    *len = headers + size;
    memcpy(*piece, s->headers, headers);
    piece_ip(s, *piece, *len, s->done / s->header.gso_size);
    piece_tcp(s, *piece, *len, s->ended);
    s->done += size;
    return true;
}
