"""A disk as Debian's cloud images are, made of Debian's packages with Debian's tools: none can be downloaded where tests run.

    cloud.py BUILD [DISK]

The layout is genericcloud's: a GPT with a partition for GRUB's core (14), one for EFI (15), and the ext4 root (1), which is last on the
disk and grows into it; /etc/fstab, grub.cfg and the kernel's root= by PARTUUID; the cloud kernel, cloud-init with all its data sources,
netplan, and an SSH server. grub.cfg is update-grub's, whose grub-probe is told the answers that it would find on the disk. Root's rights
are not needed. The disk is kept in BUILD/guest/data, and made anew when this file changes: two minutes or so.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from harness import GUEST, skip

PROGRAMS = {'mmdebstrap': 'mmdebstrap', 'mke2fs': 'e2fsprogs', 'sfdisk': 'fdisk', 'mkfs.vfat': 'dosfstools', 'qemu-img': 'qemu-utils'}
PACKAGES = ['linux-image-cloud-amd64', 'grub-cloud-amd64', 'grub-pc-bin', 'grub-common', 'cloud-init', 'cloud-guest-utils', 'systemd-sysv',
            'systemd-resolved', 'systemd-timesyncd', 'libpam-systemd', 'dbus', 'udev', 'netplan.io', 'openssh-server', 'sudo', 'iproute2',
            'procps', 'e2fsprogs', 'ca-certificates', 'less']
ROOT, EFI = '6f1c3b52-94d1-4a3b-9d0e-3b0c1d2e4f50', '0c9d2a7e-51f3-4e1c-8d4a-7a1f66b0e351'
SECTOR = 512
CORE, ESP, SYSTEM = 2048, 8192, 262144  # where the partitions begin, in sectors, as FAI lays them out
SIZE = 2 << 30
SYSTEM_SIZE = SIZE // SECTOR - SYSTEM - 2048

TABLE = f'''label: gpt
first-lba: 34
1 : start={SYSTEM}, size={SYSTEM_SIZE}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid={ROOT}
14 : start={CORE}, size=6144, type=21686148-6449-6E6F-744E-656564454649
15 : start={ESP}, size=253952, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid={EFI}
'''

# Before the packages, as their initial file system looks at it. $1 is the system.
SETUP = f'''set -eu; e=$1/etc; mkdir -p $e/initramfs-tools/conf.d $e/default
echo FSTYPE=ext4 > $e/initramfs-tools/conf.d/root
echo LANG=C.UTF-8 > $e/default/locale
echo PARTUUID={ROOT} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1 > $e/fstab
echo PARTUUID={EFI} /boot/efi vfat defaults 0 0 >> $e/fstab
'''

# In the system, as $1. What debian-cloud-images adds to packages, in short.
CUSTOMIZE = f'''set -eu; r=$1
echo localhost > $r/etc/hostname
mkdir -p $r/boot/efi $r/etc/default/grub.d $r/boot/grub/i386-pc
: > $r/etc/machine-id; rm -f $r/etc/ssh/ssh_host_*_key* $r/var/lib/dbus/machine-id
cat > $r/etc/netplan/90-default.yaml <<'END'
network:
  version: 2
  ethernets:
    all-en: {{match: {{name: en*}}, dhcp4: true, dhcp6: true}}
END
chmod 600 $r/etc/netplan/90-default.yaml
printf 'apt:\\n  generate_mirrorlists: true\\nmanage_etc_hosts: true\\n' > $r/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg
printf 'GRUB_TIMEOUT=0\\nGRUB_DISABLE_LINUX_UUID=true\\nGRUB_DISABLE_LINUX_PARTUUID=false\\n' > $r/etc/default/grub.d/15_timeout.cfg
ln -sf ../run/systemd/resolve/stub-resolv.conf $r/etc/resolv.conf
chroot $r systemctl -q enable systemd-networkd systemd-resolved
cat > $r/usr/sbin/grub-probe.told <<'END'
#!/bin/sh
for word; do
    case $word in --target=*) target=${{word#--target=}} ;; esac
done
case $target in
device) echo /dev/vda1 ;;
disk) echo /dev/vda ;;
partuuid) echo {ROOT} ;;
fs) echo ext2 ;;
fs_uuid) echo {ROOT} ;;
partmap) echo gpt ;;
compatibility_hint) echo hd0,gpt1 ;;
esac
END
chmod 755 $r/usr/sbin/grub-probe.told
mv $r/usr/sbin/grub-probe $r/usr/sbin/grub-probe.real; mv $r/usr/sbin/grub-probe.told $r/usr/sbin/grub-probe
mkdir -p $r/dev/disk/by-partuuid; : > $r/dev/disk/by-partuuid/{ROOT}
chroot $r update-grub
mv $r/usr/sbin/grub-probe.real $r/usr/sbin/grub-probe
cp $r/usr/lib/grub/i386-pc/*.mod $r/usr/lib/grub/i386-pc/*.lst $r/boot/grub/i386-pc
chroot $r grub-mkimage -O i386-pc -o /boot/grub/i386-pc/core.img -p '(,gpt1)/boot/grub' biosdisk part_gpt ext2
'''

# $1 the archive, $2 a folder for its files, $3 the disk, $4 where the root begins, $5 its size in KiB, $6 its UUID.
FILL = '''set -eu; trap 'rm -rf "$2"' EXIT; mkdir "$2"
tar -x -f "$1" -C "$2" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
cp "$2/usr/lib/grub/i386-pc/boot.img" "$2/boot/grub/i386-pc/core.img" "$(dirname "$3")"
mke2fs -q -F -t ext4 -U "$6" -E "offset=$4,lazy_itable_init=1" -d "$2" "$3" "$5"
'''


def mirrors():
    """Where the host has its own packages from; nothing for deb.debian.org."""
    wanted = ['apt-get', 'indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)', 'Created-By: Packages', 'Origin: Debian']
    done = subprocess.run(wanted, capture_output=True, text=True, check=False)
    return sorted({f'deb {line}' for line in done.stdout.splitlines() if re.fullmatch(r'\S+ bookworm(-updates|-security)? main', line)})


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.startswith('E:') or 'rror' in line] or done.stderr.splitlines()
        skip(f'{words[0]} failed: {last[-1] if last else done.returncode}')


def put_grub(work, disk):
    """GRUB's first sector, and its core in the partition for it, each told in sectors where the next part is."""
    with open(f'{work}/boot.img', 'rb') as f:
        boot = bytearray(f.read())
    with open(f'{work}/core.img', 'rb') as f:
        core = bytearray(f.read())
    core += bytes(-len(core) % SECTOR)
    struct.pack_into('<Q', boot, 0x5c, CORE)
    boot[0x66:0x68] = b'\x90\x90'  # takes the drive's number from the BIOS
    struct.pack_into('<QHH', core, SECTOR - 12, CORE + 1, len(core) // SECTOR - 1, 0x820)
    with open(disk, 'r+b') as f:
        f.write(boot[:440])
        f.seek(CORE * SECTOR)
        f.write(core)


def make(path):
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as work:
        archive, disk = f'{work}/system.tar', f'{work}/disk'
        run('mmdebstrap', '--mode=root' if root else '--mode=unshare', '--variant=minbase', '--format=tar',
            '--aptopt=Acquire::Languages "none"', f'--include={",".join(PACKAGES)}', f'--setup-hook={SETUP}',
            f'--customize-hook={CUSTOMIZE}', 'bookworm', archive, *mirrors())
        with open(disk, 'wb') as f:
            f.truncate(SIZE)
        run('sfdisk', '-q', disk, input=TABLE)
        run('mkfs.vfat', '--offset', str(ESP), '-F', '16', disk, '126976')
        run(*([] if root else ['unshare', '--map-root-user', '--map-auto']), 'sh', '-c', FILL, 'sh', archive, f'{work}/files', disk,
            str(SYSTEM * SECTOR), f'{SYSTEM_SIZE // 2}k', ROOT)
        put_grub(work, disk)
        run('qemu-img', 'convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', disk, f'{work}/packed')
        os.rename(f'{work}/packed', path)


def need_cloud():
    """The path of the disk, compressed as those are which one downloads."""
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            skip(f'{program} is not installed (package {package})')
    folder = os.path.join(GUEST, 'data')
    path, note = f'{folder}/cloud.qcow2', f'{folder}/cloud.py'
    with open(__file__, encoding='utf-8') as f:
        recipe = f.read()
    if os.path.exists(path) and os.path.exists(note) and open(note, encoding='utf-8').read() == recipe:
        return path
    os.makedirs(folder, exist_ok=True)
    make(path)
    with open(note, 'w', encoding='utf-8') as f:
        f.write(recipe)
    return path


if __name__ == '__main__':
    made = need_cloud()
    print(made if len(sys.argv) < 3 else shutil.copy(made, sys.argv[2]))
