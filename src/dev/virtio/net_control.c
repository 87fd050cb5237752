/*
 * The control queue (5.1.6.5) and what follows from it: which frames the driver wants, and in what form. See
 * net_card.h.
 */
#include <string.h>

#include "dev/virtio/net_card.h"

STATE_DEFINE(virtio_net_state, VIRTIO_NET_STATE, 1)

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_OFFLOADS = 5 };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
enum { VLAN_ADD, VLAN_DEL };
enum { ANNOUNCE_ACK = 0, OFFLOADS_SET = 0 };
enum { ACK_OK, ACK_ERROR };

#define HEADER_SIZE 2u     /* class, command */
#define VLAN_TYPE   0x0081 /* 0x8100 as it lies in memory */
#define VLAN_MASK   0xfffu
#define MAC         VIRTIO_NET_MAC

#define OFFLOADS (BIT(NET_GUEST_CSUM) | BIT(NET_GUEST_TSO4) | BIT(NET_GUEST_TSO6) | BIT(NET_GUEST_ECN))

/* --- what is wanted --------------------------------------------------------------------------------------------- */

unsigned net_control_can(const struct net_card *n)
{
    static const struct {
        unsigned feature, can;
    } row[] = {{NET_GUEST_CSUM, FRAME_CAN_CSUM},
               {NET_GUEST_TSO4, FRAME_CAN_TSO4},
               {NET_GUEST_TSO6, FRAME_CAN_TSO6},
               {NET_GUEST_ECN, FRAME_CAN_ECN}};
    unsigned can = 0;

    for (size_t i = 0; i < ARRAY_SIZE(row); i++)
        can |= n->s.offloads & BIT(row[i].feature) ? row[i].can : 0;
    return can;
}

static bool in_table(const u8 *table, unsigned count, const u8 *mac)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(table + (size_t)i * MAC, mac, MAC) == 0)
            return true;
    return false;
}

static bool vlan_wanted(const struct net_card *n, const u8 *frame)
{
    unsigned vlan = (unsigned)(frame[14] << 8 | frame[15]) & VLAN_MASK;

    if (!virtio_has(&n->v, NET_CTRL_VLAN) || get_u16(frame + 12) != VLAN_TYPE)
        return true;
    return n->s.vlan[vlan / 32] >> (vlan % 32) & 1;
}

/* A frame is at least 14 bytes long, and lies in a buffer of FRAME_MAX. */
bool net_control_wants(const struct net_card *n, const u8 *frame)
{
    static const u8 broadcast[MAC] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct virtio_net_state *s = &n->s;

    if (s->mode[RX_PROMISC])
        return true;
    if (!vlan_wanted(n, frame))
        return false;
    if (memcmp(frame, broadcast, MAC) == 0)
        return !s->mode[RX_NOBCAST];
    if (frame[0] & 1)
        return !s->mode[RX_NOMULTI] &&
               (s->mode[RX_ALLMULTI] || s->all_multicast || in_table(s->multicast, s->multicasts, frame));
    return !s->mode[RX_NOUNI] && (s->mode[RX_ALLUNI] || s->all_unicast || memcmp(frame, s->mac, MAC) == 0 ||
                                  in_table(s->unicast, s->unicasts, frame));
}

/* --- commands --------------------------------------------------------------------------------------------------- */

static bool has_rx(const struct net_card *n, unsigned command)
{
    return command <= RX_ALLMULTI ? virtio_has(&n->v, NET_CTRL_RX)
                                  : command <= RX_NOBCAST && virtio_has(&n->v, NET_CTRL_RX_EXTRA);
}

static bool do_rx(struct net_card *n, unsigned command, const struct virtq_element *e)
{
    u8 on;

    if (!has_rx(n, command) || virtq_read(e, HEADER_SIZE, &on, 1) != 1)
        return false;
    n->s.mode[command] = on != 0;
    return true;
}

/* A count and that many addresses, at `from`; how long that is, 0 if it is not all there. */
static u32 table_take(const struct virtq_element *e, u32 from, u8 *table, u8 *count, bool *all)
{
    u8 raw[4];

    if (virtq_read(e, from, raw, sizeof(raw)) != sizeof(raw))
        return 0;
    u32 entries = get_u32(raw), room = e->out_len - from - (u32)sizeof(raw);
    if (entries > room / MAC)
        return 0;
    *all = entries > NET_TABLE;
    *count = *all ? 0 : (u8)entries;
    (void)virtq_read(e, from + (u32)sizeof(raw), table, (u32)*count * MAC);
    return (u32)sizeof(raw) + entries * MAC;
}

static bool table_set(struct net_card *n, const struct virtq_element *e)
{
    struct virtio_net_state new = n->s;
    u32 first = table_take(e, HEADER_SIZE, new.unicast, &new.unicasts, &new.all_unicast);

    if (!first || !table_take(e, HEADER_SIZE + first, new.multicast, &new.multicasts, &new.all_multicast))
        return false;
    n->s = new;
    return true;
}

static bool do_mac(struct net_card *n, unsigned command, const struct virtq_element *e)
{
    u8 mac[MAC];

    if (command == MAC_TABLE_SET && virtio_has(&n->v, NET_CTRL_RX))
        return table_set(n, e);
    if (command != MAC_ADDR_SET || !virtio_has(&n->v, NET_CTRL_MAC_ADDR) || virtq_read(e, HEADER_SIZE, mac, MAC) != MAC)
        return false;
    memcpy(n->s.mac, mac, MAC);
    return true;
}

static bool do_vlan(struct net_card *n, unsigned command, const struct virtq_element *e)
{
    u8 raw[2];

    if (!virtio_has(&n->v, NET_CTRL_VLAN) || command > VLAN_DEL || virtq_read(e, HEADER_SIZE, raw, 2) != 2)
        return false;
    unsigned vlan = get_u16(raw);
    if (vlan > VLAN_MASK)
        return false;
    if (command == VLAN_ADD)
        n->s.vlan[vlan / 32] |= BIT(vlan % 32);
    else
        n->s.vlan[vlan / 32] &= ~BIT(vlan % 32);
    return true;
}

static bool do_announce(struct net_card *n, unsigned command, const struct virtq_element *e)
{
    if (command != ANNOUNCE_ACK || !virtio_has(&n->v, NET_GUEST_ANNOUNCE))
        return false;
    n->s.announce = false;
    return true;
}

static bool do_offloads(struct net_card *n, unsigned command, const struct virtq_element *e)
{
    u8 raw[8];

    if (command != OFFLOADS_SET || !virtio_has(&n->v, NET_CTRL_GUEST_OFFLOADS) ||
        virtq_read(e, HEADER_SIZE, raw, sizeof(raw)) != sizeof(raw))
        return false;
    u64 offloads = get_u64(raw);
    if (offloads & ~(n->v.s->features & OFFLOADS))
        return false;
    n->s.offloads = (u32)offloads;
    return true;
}

static bool command_do(struct net_card *n, const struct virtq_element *e)
{
    static bool (*const classes[])(struct net_card * n, unsigned command, const struct virtq_element *e) = {
        [CLASS_RX] = do_rx,
        [CLASS_MAC] = do_mac,
        [CLASS_VLAN] = do_vlan,
        [CLASS_ANNOUNCE] = do_announce,
        [CLASS_OFFLOADS] = do_offloads,
    };
    u8 header[HEADER_SIZE];

    if (virtq_read(e, 0, header, HEADER_SIZE) != HEADER_SIZE)
        return false;
    return header[0] < ARRAY_SIZE(classes) && classes[header[0]] && classes[header[0]](n, header[1], e);
}

void net_control_notify(struct net_card *n)
{
    struct virtq *q = &n->v.queue[CONTROL];

    for (unsigned i = 0; virtq_pop(q, &n->control); i++) {
        if (i == q->max) {
            virtq_unpop(q, &n->control);
            virtio_again(&n->v, CONTROL);
            break;
        }
        u8 ack = command_do(n, &n->control) ? ACK_OK : ACK_ERROR;
        virtq_push(q, &n->control, virtq_write(&n->control, 0, &ack, 1));
        net_control_update(n);
    }
    virtq_notify(q);
}

/* --- state ------------------------------------------------------------------------------------------------------ */

/* A card takes everything until its driver says otherwise. */
void net_control_reset(struct net_card *n)
{
    struct virtio_net_state *s = &n->s;

    memcpy(s->mac, n->mac, MAC);
    s->offloads = 0;
    memset(s->mode, 0, sizeof(s->mode));
    s->mode[RX_PROMISC] = true;
    s->unicasts = s->multicasts = 0;
    s->all_unicast = s->all_multicast = s->announce = false;
    memset(s->vlan, 0, sizeof(s->vlan));
}

void net_control_update(struct net_card *n)
{
    u8 *config = n->v.config;
    unsigned status = (net_is_up(n->net) ? STATUS_LINK_UP : 0) | (n->s.announce ? STATUS_ANNOUNCE : 0);

    memcpy(config + CONFIG_MAC, n->s.mac, MAC);
    put_u16(config + CONFIG_STATUS, (u16)status);
}
