#!/usr/bin/python3
"""The reader of file systems beside e2fsprogs, which makes them: every feature that decides where something lies.

A folder with all kinds of files becomes a file system in many shapes; what volume_worker reads from it has to be what was put in.
Then the kernel is looked for on disks as distributions lay them out, and volumes for cloud-init are taken apart.
"""
import os
import random
import struct
import subprocess
import sys
import tempfile

from harness import BUILD, check, finish, skip

WORKER = os.path.join(BUILD, 'tests/volume/volume_worker')
MKE2FS = '/sbin/mke2fs'

SHAPES = {
    'ext4': ['-t', 'ext4'],
    'ext4, 1K': ['-t', 'ext4', '-b', '1024'],
    'ext4, 64K': ['-t', 'ext4', '-b', '65536'],
    'ext4, 32-bit': ['-t', 'ext4', '-O', '^64bit,^metadata_csum'],
    'ext4, inline data': ['-t', 'ext4', '-O', 'inline_data', '-I', '512'],
    'ext4, inline data in 256 bytes': ['-t', 'ext4', '-O', 'inline_data', '-I', '256'],
    'ext4, meta_bg': ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode', '-g', '1024'],
    'ext4, bigalloc': ['-t', 'ext4', '-O', 'bigalloc', '-C', '16384'],
    'ext4, no flex_bg, sparse_super2': ['-t', 'ext4', '-O', '^flex_bg,sparse_super2', '-g', '4096'],
    'ext3': ['-t', 'ext3'],
    'ext3, 1K': ['-t', 'ext3', '-b', '1024'],
    'ext2, 128-byte inodes': ['-t', 'ext2', '-I', '128', '-O', '^sparse_super,^resize_inode'],
    'ext2, revision 0': ['-t', 'ext2', '-r', '0', '-O', 'none'],
}


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def make_files(folder, rng):
    """All kinds of sizes, holes, names and links."""
    os.makedirs(f'{folder}/sub/deeper/still')
    os.makedirs(f'{folder}/many')
    for size in (0, 1, 59, 60, 61, 100, 150, 160, 255, 400, 1023, 1024, 4096, 5000, 65536, 300000):
        with open(f'{folder}/sub/size-{size}', 'wb') as f:
            f.write(rng.randbytes(size))
    with open(f'{folder}/holes', 'wb') as f:
        for block in (0, 3, 11, 12, 13, 270, 300, 1100):
            f.seek(block * 1024)
            f.write(rng.randbytes(700))
    for n in range(600):
        with open(f'{folder}/many/{"n" * rng.randrange(1, 120)}-{n}', 'w', encoding='ascii') as f:
            f.write(str(n))
    os.symlink('size-100', f'{folder}/sub/near')
    os.symlink('/sub/deeper/../size-400', f'{folder}/sub/deeper/far')
    os.symlink('../' * 30 + 'sub/size-5000', f'{folder}/sub/deeper/long')
    os.symlink('./deeper', f'{folder}/sub/door')
    with open(f'{folder}/sub/deeper/still/last', 'w', encoding='ascii') as f:
        f.write('last\n')


def expected(folder, path, top=True):
    """The lines of `volume_worker tree`; links count as what they lead to, and lead nowhere outside."""
    real = inside(folder, path)
    if os.path.isfile(real):
        with open(real, 'rb') as f:
            data = f.read()
        return [f'file {len(data)} {fnv(data):016x} {path}']
    lines = [f'folder {path}']
    for name in os.listdir(real):
        lines += expected(folder, f'{"" if path == "/" else path}/{name}', False)
    return lines


def inside(folder, path):
    """Where a path of the file system is on the host."""
    at, rest = '', [p for p in path.split('/') if p]
    while rest:
        name = rest.pop(0)
        if name == '..':
            at = os.path.dirname(at)
        elif name != '.':
            there = f'{folder}{at}/{name}'
            if os.path.islink(there):
                target = os.readlink(there)
                at = '' if target.startswith('/') else at
                rest = [p for p in target.split('/') if p] + rest
            else:
                at = f'{at}/{name}'
    return folder + at


def worker(*words):
    done = subprocess.run([WORKER, *words], stdout=subprocess.PIPE, timeout=60, check=False)
    return done.returncode, done.stdout.decode('utf-8', 'replace')


def mke2fs(path, *options):
    done = subprocess.run([MKE2FS, '-q', '-F', *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          env={**os.environ, 'MKE2FS_DEVICE_SECTSIZE': '512'})
    if done.returncode:
        skip(f'mke2fs {path}: {done.stdout}')


def shapes(work, folder):
    wanted = sorted(expected(folder, '/') + ['folder /lost+found'])
    for name, options in SHAPES.items():
        path = f'{work}/shape.img'
        with open(path, 'wb') as f:
            f.truncate(96 << 20)
        mke2fs(name, *options, '-d', folder, path)
        status, out = worker(path, 'tree')
        found = sorted(out.splitlines())
        differ = [line for line in found if line not in wanted] + [line for line in wanted if line not in found]
        check(f'{name}: all is read as it was written', status == 0 and found == wanted, '\n'.join(differ[:10]) or out[-200:])
    hashed(work, folder, wanted)


def hashed(work, folder, wanted):
    """A folder with a hash tree, as e2fsck makes it, and the same in qcow2."""
    path, packed = f'{work}/shape.img', f'{work}/shape.qcow2'
    mke2fs('hashed', '-t', 'ext4', '-b', '1024', '-d', folder, path)
    subprocess.run(['/sbin/e2fsck', '-fyD', path], stdout=subprocess.DEVNULL, check=False)
    status, out = worker(path, 'tree')
    check('hashed folders', status == 0 and sorted(out.splitlines()) == wanted, out[-200:])
    subprocess.run(['qemu-img', 'convert', '-O', 'qcow2', '-c', path, packed], check=True)
    status, out = worker(packed, 'tree')
    check('the same in qcow2', status == 0 and sorted(out.splitlines()) == wanted, out[-200:])


def write(root, files):
    for path, text in files.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        if text.startswith('-> '):
            os.symlink(text[3:], root + path)
        else:
            with open(root + path, 'w', encoding='ascii') as f:
                f.write(text)


def partitioned(path, parts, gpt):
    """A disk of the images in `parts`, one after the other from 1 MiB on."""
    start, table = 2048, []
    with open(path, 'wb') as disk:
        for part in parts:
            with open(part, 'rb') as f:
                data = f.read()
            disk.seek(start * 512)
            disk.write(data)
            table.append((start, len(data) // 512))
            start += len(data) // 512
        disk.truncate((start + 2048) * 512)
        mbr = bytearray(512)
        mbr[510:] = b'\x55\xaa'
        struct.pack_into('<I', mbr, 440, 0xcafe0001)
        for n, (first, count) in enumerate([(1, start)] if gpt else table):
            struct.pack_into('<4xBxxxII', mbr, 446 + n * 16, 0xee if gpt else 0x83, first, count)
        disk.seek(0)
        disk.write(mbr)
        if gpt:
            disk.write(b'EFI PART' + bytes(64) + struct.pack('<QII', 2, 128, 128))
            disk.seek(1024)
            for n, (first, count) in enumerate(table):
                disk.write(b'type' * 4 + bytes([n + 1] * 16) + struct.pack('<QQ', first, first + count - 1) + bytes(80))


UUIDS = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222']
DEBIAN = {'/boot/vmlinuz-6.1.0-9-amd64': 'old', '/boot/initrd.img-6.1.0-9-amd64': 'oldrd', '/boot/vmlinuz-6.1.0-10-amd64': 'new',
          '/boot/initrd.img-6.1.0-10-amd64': 'newrd', '/etc/os-release': 'ID=debian\n'}
GRUB = '''menuentry 'Debian' {
    search --no-floppy --fs-uuid --set=root 1111
    linux /boot/vmlinuz-6.1.0-9-amd64 root=PARTUUID=0a ro console=tty0 console=ttyS0,115200
    initrd /boot/initrd.img-6.1.0-9-amd64
}
'''
# Name; files of each partition; GPT, or None for a disk without partitions; what the worker says.
DISKS = [
    ('the newest kernel', [DEBIAN], None,
     ['kernel /boot/vmlinuz-6.1.0-10-amd64 new', 'initramfs /boot/initrd.img-6.1.0-10-amd64 newrd',
      f'cmdline root=UUID={UUIDS[0]} ro console=ttyS0']),
    ('Debian\'s links', [{**DEBIAN, '/vmlinuz': '-> boot/vmlinuz-6.1.0-9-amd64', '/initrd.img': '-> boot/initrd.img-6.1.0-9-amd64'}],
     None, ['kernel /vmlinuz old', 'initramfs /initrd.img oldrd', f'cmdline root=UUID={UUIDS[0]} ro console=ttyS0']),
    ('grub.cfg of a cloud image', [DEBIAN | {'/boot/grub/grub.cfg': GRUB}], True,
     ['kernel /boot/vmlinuz-6.1.0-9-amd64 old', 'initramfs /boot/initrd.img-6.1.0-9-amd64 oldrd',
      'cmdline root=PARTUUID=0a ro console=tty0 console=ttyS0,115200']),
    ('grub.cfg that names a kernel which is gone', [DEBIAN | {'/boot/grub/grub.cfg': GRUB.replace('6.1.0-9', '5.10.0-1')}], False,
     ['kernel /boot/vmlinuz-6.1.0-10-amd64 new', 'initramfs /boot/initrd.img-6.1.0-10-amd64 newrd',
      f'cmdline root=UUID={UUIDS[0]} ro console=ttyS0']),
    ('BLS on a partition of its own',
     [{'/loader/entries/m-6.5.5-1.conf': 'linux /k5\noptions ro\n', '/k5': '5', '/k10': '10', '/i10': 'i', '/j10': 'j',
       '/loader/entries/m-6.5.10-1.conf': 'linux /k10\ninitrd /i10 /j10\noptions root=UUID=x rw\n'}, {'/etc/fstab': ''}], True,
     ['kernel /k10 10', 'initramfs /i10 i\0\0\0j', 'cmdline root=UUID=x rw console=ttyS0']),
    ('extlinux, the root elsewhere',
     [{'/extlinux/extlinux.conf': 'label a\n linux /k\n append quiet\n', '/k': 'k'}, {'/etc/os-release': ''}], False,
     ['kernel /k k', 'initramfs - ', 'cmdline quiet root=PARTUUID=cafe0001-02 ro console=ttyS0']),
    ('a kernel without anything', [{'/boot/vmlinuz-1': 'one'}], None,
     ['kernel /boot/vmlinuz-1 one', 'initramfs - ', 'cmdline root=/dev/vda ro console=ttyS0']),
    ('no kernel', [{'/etc/fstab': ''}], True, ['no kernel in /boot of its file systems']),
    ('links in a circle', [{'/boot/vmlinuz-1': '-> vmlinuz-2', '/boot/vmlinuz-2': '-> vmlinuz-1'}], None,
     ['no kernel in /boot of its file systems']),
]


def disks(work):
    for number, (name, parts, gpt, wanted) in enumerate(DISKS):
        images = []
        for n, files in enumerate(parts):
            root, image = f'{work}/d{number}-{n}', f'{work}/d{number}-{n}.img'
            write(root, files)
            with open(image, 'wb') as f:
                f.truncate(8 << 20)
            mke2fs(name, '-t', 'ext4', '-U', UUIDS[n], '-d', root, image)
            images.append(image)
        path = images[0]
        if gpt is not None:
            path = f'{work}/disk.img'
            partitioned(path, images, gpt)
        _, out = worker(path, 'kernel')
        check(name, out.splitlines() == wanted, out)


# Where the marks of what is not read stand; what the worker says.
OTHERS = [(0, b'XFSB', 'XFS'), (0x10040, b'_BHRfS_M', 'Btrfs'), (0x52, b'FAT32   ', 'FAT'), (0x200, b'LABELONE', 'LVM')]


def others(work):
    """Alone, and in a partition beside one that is read."""
    path, empty, disk = f'{work}/other.img', f'{work}/empty.img', f'{work}/disk.img'
    with open(empty, 'wb') as f:
        f.truncate(8 << 20)
    mke2fs('empty', '-t', 'ext4', empty)
    for offset, mark, name in OTHERS:
        with open(path, 'wb') as f:
            f.truncate(1 << 20)
            f.seek(offset)
            f.write(mark)
        _, out = worker(path, 'kernel')
        check(f'{name} is named', out.strip() == f'no ext2, ext3 or ext4 file system to find a kernel in (not read: {name})', out)
        partitioned(disk, [path, empty, path], True)
        _, out = worker(disk, 'kernel')
        check(f'{name} beside ext4', out.strip() == f'no kernel in /boot of its file systems (not read: {name})', out)


def iso_files(image, descriptor, read_name):
    """The files in the root of an ISO 9660 volume: name to contents."""
    root = descriptor * 2048 + 156
    sector, size = struct.unpack_from('<I4xI', image, root + 2)
    at, files = sector * 2048, {}
    while image[at] and at < sector * 2048 + size:
        where, length = struct.unpack_from('<I4xI', image, at + 2)
        big = struct.unpack_from('>I4xI', image, at + 6)
        if (where, length) != big:
            return {'both byte orders': False}
        if not image[at + 25] & 2:
            files[read_name(image[at:at + image[at]])] = image[where * 2048:where * 2048 + length]
        at += image[at]
    return files


def joliet(record):
    return record[33:33 + record[32]].decode('utf-16-be')


def rock_ridge(record):
    at = 33 + record[32] + (record[32] + 1) % 2
    while at + 4 <= len(record):
        if record[at:at + 2] == b'NM':
            return record[at + 5:at + record[at + 2]].decode()
        at += record[at + 2]
    return None


def seed(work, rng):
    path = f'{work}/seed-file'
    for size in (0, 1, 2048, 5000):
        data = rng.randbytes(size)
        with open(path, 'wb') as f:
            f.write(data)
        image = subprocess.run([WORKER, path, 'seed'], stdout=subprocess.PIPE, check=True).stdout
        wanted = {'meta-data': data, 'user-data': data}
        check(f'a seed of {size} bytes, Rock Ridge', iso_files(image, 16, rock_ridge) == wanted)
        check(f'a seed of {size} bytes, Joliet', iso_files(image, 17, joliet) == wanted)
    with open(f'{work}/seed.iso', 'wb') as f:
        f.write(image)
    done = subprocess.run(['/sbin/blkid', '-p', f'{work}/seed.iso'], stdout=subprocess.PIPE, text=True, check=False)
    check('blkid knows it', 'LABEL="CIDATA"' in done.stdout and 'TYPE="iso9660"' in done.stdout, done.stdout)


def main():
    if not os.path.exists(MKE2FS):
        skip('mke2fs is not there (package e2fsprogs)')
    seed_number = int(os.environ.get('RING3_TEST_SEED', sys.argv[2] if len(sys.argv) > 2 else 1))
    print(f'seed {seed_number}')
    with tempfile.TemporaryDirectory() as work:
        make_files(f'{work}/files', random.Random(seed_number))
        shapes(work, f'{work}/files')
        disks(work)
        others(work)
        seed(work, random.Random(seed_number))
    finish()


main()
