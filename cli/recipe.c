#include "recipe.h"

#include <stdio.h>

/* What makes it a system one can work in, beside minbase: an init, the kernel, a network by DHCP, names. */
const char recipe_packages[] =
    "systemd-sysv,systemd-resolved,udev,dbus,linux-image-amd64,initramfs-tools,zstd,kmod,iproute2,"
    "iputils-ping,procps,ca-certificates,less,nano";

/*
 * Before any package is there. The initial file system has what our machines have, loads it by name, and leaves the
 * rest to the system's own udev, unless something that needs it there is installed.
 */
const char recipe_setup[] =
    "--setup-hook=set -eu; i=$1/etc/initramfs-tools; mkdir -p $i/conf.d $i/hooks $i/scripts/init-bottom\n"
    "printf 'MODULES=list\\nCOMPRESS=zstd\\nKEYMAP=n\\nFSTYPE=ext4\\n' > $i/conf.d/ring3\n"
    "cat > $i/hooks/ring3 <<'END'\n"
    "#!/bin/sh\n"
    "[ \"$1\" = prereqs ] && exit 0\n"
    ". /usr/share/initramfs-tools/hook-functions\n"
    "for module in virtio_pci virtio_mmio virtio_blk ext4; do force_load $module; done\n"
    "manual_add_modules virtio_net 9p 9pnet_virtio virtio_console\n"
    "for tool in lvm mdadm cryptsetup; do command -v $tool >/dev/null && exit 0; done\n"
    "rm -f \"$DESTDIR\"/scripts/init-top/udev \"$DESTDIR\"/scripts/init-bottom/udev\n"
    "END\n"
    "cat > $i/scripts/init-bottom/ring3 <<'END'\n"
    "#!/bin/sh\n"
    "[ \"$1\" = prereqs ] || [ -e /scripts/init-bottom/udev ] || mount -n -o move /dev \"$rootmnt/dev\"\n"
    "END\n"
    "chmod 755 $i/hooks/ring3 $i/scripts/init-bottom/ring3\n"
    "echo do_symlinks = yes > $1/etc/kernel-img.conf\n";

static const char customize[] =
    "--customize-hook=set -eu; r=$1; host=%s uuid=%s suite=%s\n"
    "echo $host > $r/etc/hostname; chmod 644 $r/etc/hostname\n"
    "printf '127.0.0.1 localhost\\n127.0.1.1 %%s\\n::1 localhost ip6-localhost ip6-loopback\\n' $host > $r/etc/hosts\n"
    "echo UUID=$uuid / ext4 errors=remount-ro 0 0 > $r/etc/fstab\n"
    ": > $r/etc/machine-id; rm -f $r/var/lib/dbus/machine-id\n"
    /* What boots it: the links are kept by the kernel's packages. */
    "mkdir -p $r/boot/extlinux\n"
    "printf 'default linux\\nlabel linux\\n  linux /vmlinuz\\n  initrd /initrd.img\\n  append root=UUID=%%s ro quiet "
    "console=ttyS0\\n' $uuid > $r/boot/extlinux/extlinux.conf\n"
    /* The network. */
    "printf '[Match]\\nName=en* eth*\\n\\n[Network]\\nDHCP=yes\\n' > $r/etc/systemd/network/80-dhcp.network\n"
    "ln -sf ../run/systemd/resolve/stub-resolv.conf $r/etc/resolv.conf\n"
    /* The console. */
    "d=$r/etc/systemd/system/serial-getty@ttyS0.service.d; mkdir -p $d $r/etc/systemd/logind.conf.d\n"
    "printf '[Service]\\nExecStart=\\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200,57600,38400,9600 - "
    "$TERM\\n' > $d/autologin.conf\n"
    "printf '[Login]\\nNAutoVTs=0\\nReserveVT=0\\n' > $r/etc/systemd/logind.conf.d/no-terminals.conf\n"
    /* What costs time at each start and is of no use here. */
    "cat > $r/etc/modprobe.d/virtual-machine.conf <<'END'\n"
    "# What the processor's name alone brings in: hardware that the machine does not have, and ciphers that test\n"
    "# themselves for a second at each start. modprobe gets them.\n"
    "END\n"
    "for m in i10nm_edac skx_edac nfit libnvdimm intel_rapl_common intel_rapl_msr intel_uncore_frequency cfg80211 "
    "pcspkr psmouse "
    "evdev serio_raw i2c_piix4 efi_pstore aesni_intel ghash_clmulni_intel sha1_ssse3 sha256_ssse3 sha512_ssse3 "
    "crct10dif_pclmul crc32_pclmul; do echo blacklist $m; done >> $r/etc/modprobe.d/virtual-machine.conf\n"
    "ln -sf /dev/null $r/etc/systemd/system/modprobe@.service\n"
    "d=$r/etc/systemd/system-generators; mkdir -p $d\n"
    "for g in gpt-auto hibernate-resume veritysetup integritysetup; do ln -sf /dev/null $d/systemd-$g-generator; done\n"
    "chroot $r systemctl -q enable systemd-networkd systemd-resolved\n"
    "chroot $r systemctl -q disable getty@tty1 systemd-networkd-wait-online systemd-network-generator systemd-pstore "
    "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap\n"
    /* Where the system itself gets packages from. */
    "{ echo deb http://deb.debian.org/debian $suite main; case $suite in sid|unstable|experimental) ;; *)\n"
    "echo deb http://deb.debian.org/debian $suite-updates main\n"
    "echo deb http://deb.debian.org/debian-security $suite-security main;; esac; } > $r/etc/apt/sources.list\n"
    "rm -f $r/etc/apt/sources.list.d/0* $r/etc/apt/apt.conf.d/99mmdebstrap\n";

bool recipe_customize(char out[RECIPE_MAX], const char *host, const char *uuid, const char *suite)
{
    int length = snprintf(out, RECIPE_MAX, customize, host, uuid, suite);
    return length > 0 && length < RECIPE_MAX;
}
