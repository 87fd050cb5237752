/*
 * Tap devices (kinds.h): by name, one that exists and may be used by us (`ip tuntap add NAME mode tap user USER` gives
 * it to a user), or by a descriptor that somebody else has opened. Offloads are switched on for good: what a guest does
 * not take is cut by its device.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backend/net/frame.h"
#include "backend/net/kinds.h"

static int tap_refuse(const char *who, int fd, const char *what, const char *cure, struct error *err)
{
    int why = errno;

    if (fd >= 0)
        (void)close(fd);
    return error_set(err, -why, "%s: %s: %s; %s", who, what, strerror(why), cure);
}

static int tap_by_name(const char *who, const char *name, struct error *err)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    if (!if_nametoindex(name))
        return error_set(err, -ENODEV, "%s: there is no such device; `ip tuntap add %s mode tap user USER` makes it",
                         who, name);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return tap_refuse(who, fd, "/dev/net/tun", "give --net nat, which needs no right to it", err);
    memcpy(r.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    if (ioctl(fd, TUNSETIFF, &r) < 0)
        return tap_refuse(who, fd, "cannot use the device",
                          "it has to be a tap, of this user, that no other machine has", err);
    return fd;
}

static int tap_by_descriptor(const char *who, int given, struct error *err)
{
    int fd = fcntl(given, F_DUPFD_CLOEXEC, 3);

    if (fd < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return tap_refuse(who, fd, "cannot use the descriptor", "give one that is open", err);
    return fd;
}

int tap_open(const char *who, const struct net_spec *spec, bool *header, unsigned *can, struct error *err)
{
    struct ifreq r = {0};
    int size = sizeof(struct frame_header);
    int fd = spec->where ? tap_by_name(who, spec->where, err) : tap_by_descriptor(who, spec->fd, err);

    if (fd < 0)
        return fd;
    if (ioctl(fd, TUNGETIFF, &r) < 0 || !(r.ifr_flags & IFF_TAP))
        return tap_refuse(who, fd, "not a tap device", "give one that was opened from /dev/net/tun with IFF_TAP", err);
    if (!(r.ifr_flags & IFF_NO_PI)) {
        errno = EINVAL;
        return tap_refuse(who, fd, "the device was opened without IFF_NO_PI", "open it with that flag", err);
    }
    *header = r.ifr_flags & IFF_VNET_HDR && ioctl(fd, TUNSETVNETHDRSZ, &size) == 0;
    /* What we send, the kernel completes in any case; this is what it may leave to us. A device remembers it. */
    unsigned offloads = *header ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
    (void)ioctl(fd, TUNSETOFFLOAD, offloads);
    *can = *header ? FRAME_CAN_ALL : 0;
    return fd;
}
