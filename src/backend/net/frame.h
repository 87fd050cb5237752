/*
 * Ethernet frames with what a virtio-net header says about them: a checksum that is still to be filled in, a TCP
 * segment that is still to be cut. Pure functions, so that whoever takes a frame can have it in a form that he can
 * take: as it is, with its checksum, or in segments.
 *
 * Virtio 1.2, 5.1.6; RFC 791, 8200 (IP), 9293 (TCP), 1071 (the checksum). Header and frame are hostile: what does not
 * fit together is refused (frame_check), and nothing outside `len` bytes is read or written.
 */
#ifndef BACKEND_NET_FRAME_H
#define BACKEND_NET_FRAME_H

#include "base/types.h"

/* The longest IP packet with an Ethernet header and two VLAN tags, and what virtio-vsock sends at once (vsock.h). */
#define FRAME_MAX      (65536u + 44)
#define FRAME_ETHERNET 14u /* the shortest header, and so the shortest frame */
#define FRAME_MAC      6u

/* struct virtio_net_hdr, as Linux's tap has it too: little-endian, 10 bytes. */
struct frame_header {
    u8 flags, gso_type;
    u16 hdr_len, gso_size, csum_start, csum_offset;
};
_Static_assert(sizeof(struct frame_header) == 10, "struct virtio_net_hdr");

enum { FRAME_NEEDS_CSUM = 1, FRAME_DATA_VALID = 2 };
enum { FRAME_GSO_NONE = 0, FRAME_GSO_TCPV4 = 1, FRAME_GSO_TCPV6 = 4, FRAME_GSO_ECN = 0x80 };

/* What somebody can take besides plain frames. */
enum { FRAME_CAN_CSUM = 1, FRAME_CAN_TSO4 = 2, FRAME_CAN_TSO6 = 4, FRAME_CAN_ECN = 8, FRAME_CAN_ALL = 15 };

/* Where things are in a frame. */
struct frame_layout {
    u32 l3, l4, payload; /* offsets; l4 and payload are 0 unless there is a header of TCP or UDP */
    u32 end;             /* of the IP packet: what is behind it is padding */
    u8 protocol;         /* of IP: FRAME_TCP, FRAME_UDP or another */
    u8 version;          /* of IP: 4 or 6; 0: not IP */
};
enum { FRAME_TCP = 6, FRAME_UDP = 17 };

/* False: it is IP, but its headers contradict its length. */
bool frame_parse(const u8 *frame, size_t len, struct frame_layout *out);

/* The header asks for nothing that the frame does not have; it may be of any length. */
bool frame_check(const struct frame_header *h, const u8 *frame, size_t len);
/* Of it, what can be said without the frame. */
bool frame_header_good(const struct frame_header *h, size_t len);
/* What its taker has to be able to do, FRAME_CAN_*; 0 for a plain frame. */
unsigned frame_needs(const struct frame_header *h);

/* The one's complement sum of bytes that begin at an even place, folded to 16 bits as they lie in memory. */
u16 frame_sum(const void *bytes, size_t len, u16 start);
/* Of the pseudo-header; `len` is that of the TCP or UDP packet. */
u16 frame_pseudo_sum(const u8 *frame, const struct frame_layout *l, size_t len);
/* Fills in the checksum that FRAME_NEEDS_CSUM asks for. The header passed frame_header_good. */
void frame_complete(struct frame_header *h, u8 *frame, size_t len);

/*
 * A frame on its way to somebody who can take `can`. frame_next gives one piece after the other, each a frame with its
 * header, and false behind the last. Pieces are made inside the frame, so that each is good until the next is asked
 * for. The frame passed frame_check, and stays where it is meanwhile.
 */
struct frame_split {
    struct frame_header header;
    u8 *frame;
    size_t len;
    struct frame_layout at;
    size_t done; /* bytes of the payload that were given */
    bool cut, ended;
    u8 flags;        /* of TCP, as it was */
    u8 headers[256]; /* as they were */
};

/* False: it would have to be cut, and cannot. */
bool frame_split_begin(struct frame_split *s, const struct frame_header *h, u8 *frame, size_t len, unsigned can);
bool frame_next(struct frame_split *s, struct frame_header *h, u8 **piece, size_t *len);

#endif
