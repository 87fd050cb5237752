"""A disk from which Bochs boots a Linux kernel, as Bochs cannot be given one directly (loader.S)."""
import glob
import os
import shutil
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SECTOR = 512
SETUP_AT, CMDLINE_AT, KERNEL_AT = 0x90000, 0x99000, 0x100000
TABLE = 448
BIOS = '/usr/share/bochs/BIOS-bochs-latest'
VGA_BIOSES = ['/usr/share/bochs/VGABIOS-lgpl-latest', '/usr/share/seabios/vgabios-isavga.bin']

CONFIG = """\
display_library: term
romimage: file={bios}
vgaromimage: file={vga}
memory: guest={memory}, host={memory}
cpu: count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none, time0=utc
ata0-master: type=disk, path={disk}, mode=flat, cylinders={cylinders}, heads=16, spt=63
boot: disk
com1: enabled=1, mode=file, dev=/dev/fd/3
log: {folder}/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


def vga_bios():
    return next((path for path in VGA_BIOSES if os.path.exists(path)), None)


def missing():
    """Why Bochs cannot be measured, or None."""
    if not shutil.which('bochs'):
        return 'it is not installed (package bochs)'
    if not os.path.exists(BIOS):
        return f'{BIOS} is not there (package bochsbios)'
    if not vga_bios():
        return 'there is no VGA BIOS for it (package vgabios)'
    if not glob.glob('/usr/lib/*/bochs/plugins/libbx_term_gui.so'):
        return 'its text display is not there (package bochs-term)'
    return None


def assemble(folder):
    """The boot sector."""
    out = f'{folder}/loader.bin'
    subprocess.run(['gcc', '-m32', '-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', '-Wl,-Ttext=0x7c00', '-Wl,--oformat,binary',
                    '-o', out, f'{HERE}/loader.S'], check=True)
    with open(out, 'rb') as f:
        return bytearray(f.read())


def pad(data):
    return data + bytes(-len(data) % SECTOR)


def parts(kernel, initramfs, cmdline, memory):
    """What is to be loaded, as (bytes, address). The kernel's header is filled in here instead of in the loader."""
    setup_size = ((kernel[0x1f1] or 4) + 1) * SECTOR
    setup, rest = bytearray(kernel[:setup_size]), kernel[setup_size:]
    initramfs_at = memory // 2 << 20
    setup[0x210] = 0xff                                # loader without a number
    setup[0x211] |= 0x80                               # the heap may be used
    struct.pack_into('<H', setup, 0x1fa, 0xffff)       # normal video mode
    struct.pack_into('<II', setup, 0x218, initramfs_at, len(initramfs))
    struct.pack_into('<H', setup, 0x224, 0x8e00)       # end of the heap
    struct.pack_into('<I', setup, 0x228, CMDLINE_AT)
    setup += bytes(CMDLINE_AT - SETUP_AT - len(setup)) + cmdline.encode() + b'\0'
    return [(bytes(setup), SETUP_AT), (rest, KERNEL_AT), (initramfs, initramfs_at)]


def prepare(folder, kernel, initramfs, cmdline, memory):
    """Writes disk and configuration into `folder`; the command."""
    with open(kernel, 'rb') as k, open(initramfs, 'rb') as i:
        loads = parts(k.read(), i.read(), cmdline, memory)
    disk, body = assemble(folder), b''
    for n, (data, address) in enumerate(loads):
        data = pad(data)
        struct.pack_into('<III', disk, TABLE + 12 * n, 1 + len(body) // SECTOR, len(data) // SECTOR, address)
        body += data
    cylinders = (1 + len(body) // SECTOR) // (16 * 63) + 1
    with open(f'{folder}/disk.img', 'wb') as f:
        f.write(disk + body)
        f.truncate(cylinders * 16 * 63 * SECTOR)
    with open(f'{folder}/bochsrc', 'w', encoding='ascii') as f:
        f.write(CONFIG.format(bios=BIOS, vga=vga_bios(), memory=memory, disk=f'{folder}/disk.img', cylinders=cylinders, folder=folder))
    with open(f'{folder}/debugger', 'w', encoding='ascii') as f:
        f.write('continue\n')  # Debian's Bochs has its debugger built in, which waits for this
    # The display is a terminal's: out of the way. The serial port is what our standard output was.
    return ['sh', '-c', 'cd "$0" && TERM=linux exec bochs -q -f bochsrc -rc debugger 3>&1 >/dev/null', folder]
