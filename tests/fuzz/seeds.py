#!/usr/bin/python3
"""Makes the first inputs of fuzz_share and fuzz_volume, so that mutation begins with sessions and disks that make sense.

    tests/fuzz/seeds.py FUZZ_SHARE_C share|volume FILE...

Names of files are those of the tables below. Messages of a session are written by the table of kinds in fuzz_share.c, which is read from there.
"""
import os
import re
import struct
import sys

FULL = 128  # the first byte of a message: room for any reply

# A message: its type, and a value for each field that takes one. A walk has its names in a list.
SHARE = {
    'read': [('TWALK', 0, 1, ['d', 'file']), ('TGETATTR', 1, 7), ('TLOPEN', 1, 0), ('TREAD', 1, 0, 100), ('TREAD', 1, 4, 100),
             ('TLOCK', 1, 1, 0, 0, 9, 1, 'new'), ('TGETLOCK', 1, 1, 0, 9, 1, 'new'), ('TFSYNC', 1, 0), ('TFLUSH', 0), ('TCLUNK', 1)],
    'list': [('TWALK', 0, 1, ['d']), ('TLOPEN', 1, 0), ('TREADDIR', 1, 0, 1000), ('TREADDIR', 1, 0, 40), ('TWALK', 0, 2, []), ('TLOPEN', 2, 0),
             ('TREADDIR', 2, 0, 8000), ('TUNLINKAT', 0, 'file', 0), ('TREADDIR', 2, 0, 8000), ('TSTATFS', 2), ('TCLUNK', 2)],
    'write': [('TWALK', 0, 1, []), ('TLCREATE', 1, 'new', 2, 0o644, 0), ('TWRITE', 1, 0, 600), ('TREAD', 1, 0, 1000), ('TSETATTR', 1, 8, 0, 0, 0, 5, 0, 0, 0, 0),
              ('TREAD', 1, 0, 1000), ('TFSYNC', 1, 1), ('TREMOVE', 1), ('TWALK', 0, 1, ['new'])],
    'names': [('TMKDIR', 0, 'new', 0o755, 0), ('TWALK', 0, 1, ['new']), ('TSYMLINK', 1, 'new2', 'file', 0), ('TWALK', 1, 2, ['new2']), ('TREADLINK', 2),
              ('TMKNOD', 1, 'file', 0o644, 0, 0, 0), ('TWALK', 1, 3, ['file']), ('TLINK', 0, 3, 'new2'), ('TRENAME', 3, 0, 'fifo'),
              ('TRENAMEAT', 0, 'd', 1, 'd'), ('TUNLINKAT', 0, 'new2', 0), ('TWALK', 1, 4, ['d', '..', 'd', 'file']), ('TREMOVE', 4), ('TUNLINKAT', 1, 'd', 1)],
    'attributes': [('TWALK', 0, 1, ['file']), ('TWALK', 1, 2, []), ('TXATTRCREATE', 2, 'new', 100, 0), ('TWRITE', 2, 0, 100), ('TCLUNK', 2),
                   ('TXATTRWALK', 1, 2, 'new'), ('TREAD', 2, 0, 1000), ('TCLUNK', 2), ('TSETATTR', 1, 0o777, 0o600, 0, 0, 3, 1, 2, 3, 4), ('TGETATTR', 1, 7)],
    'out': [('TWALK', 0, 1, ['..']), ('TWALK', 0, 2, ['up', 'secret']), ('TWALK', 0, 3, ['link']), ('TLOPEN', 3, 0), ('TREADLINK', 3), ('TWALK', 0, 4, ['fifo']),
            ('TLOPEN', 4, 0), ('TLCREATE', 1, 'link', 0x200, 0o644, 0), ('TRENAMEAT', 0, 'link', 0, 'd'), ('TVERSION', 200, 'new'), ('TATTACH', 5, '', '', 0)],
}

BLOCK, TABLE, ROOT, BOOT, TEXT, NODE, INDIRECT = 1024, 3, 8, 9, 11, 13, 15  # of the disk in fuzz_volume.c
SHIFT = 16384


def inode(number):
    return TABLE * BLOCK + (number - 1) * 256


# Is there a partition table, and what is put over the disk: pairs of place and bytes.
VOLUME = {
    'whole': (0, []),
    'partition': (1, []),
    'partition-long': (1, [(446 + 12, struct.pack('<I', 0xffffffff))]),
    'gpt': (1, [(446 + 4, b'\xee'), (512, b'EFI PART'), (512 + 72, struct.pack('<Q', 2)), (512 + 80, struct.pack('<II', 4, 128)),
                (1024, b'\x01' * 15), (1024 + 32, struct.pack('<Q', SHIFT // 512))]),
    'blocks-of-64k': (0, [(BLOCK + 0x18, struct.pack('<I', 6))]),
    '64-bit': (0, [(BLOCK + 0x60, struct.pack('<I', 0x80c2)), (BLOCK + 0xfe, struct.pack('<H', 64))]),
    'extent-deep': (0, [(inode(15) + 0x28 + 6, b'\x05\x00'), (NODE * BLOCK + 6, b'\x04\x00'), (NODE * BLOCK + 16, struct.pack('<H', NODE))]),
    'extent-hole': (0, [(NODE * BLOCK + 12, struct.pack('<IH', 1, 0x8001))]),
    'indirect-self': (0, [(INDIRECT * BLOCK, struct.pack('<I', INDIRECT)), (inode(17) + 4, struct.pack('<I', 300 * BLOCK))]),
    'link-loop': (0, [(inode(16) + 0x28, b'vmlinuz\0\0\0\0\0'), (inode(16) + 4, struct.pack('<I', 7))]),
    'entry-short': (0, [(BOOT * BLOCK + 4, b'\x00\x00')]),
    'entry-long': (0, [(ROOT * BLOCK + 16, b'\xff\xff\xff')]),
    'text-variables': (0, [(TEXT * BLOCK, b'linux $x${x'), (TEXT * BLOCK + 11, b'} \\\n"a\'b;\n')]),
}


def tables(path):
    """The kinds {type: (number, fields)}, of which the first one counts, and the names."""
    with open(path, encoding='ascii') as f:
        text = f.read()
    kinds = {}
    for number, (name, fields) in enumerate(re.findall(r'\{P9_(T\w+), "(\w+)"\}', text)):
        kinds.setdefault(name, (number, fields))
    names = re.search(r'names\[\] = \{(.*?)\};', text, re.S).group(1)
    return kinds, re.findall(r'"([^"]*)"', names)


def message(kinds, names, kind, *values):
    number, fields = kinds[kind]
    out, left = bytes([FULL + number]), list(values)
    for field in fields:
        if field == 'F':
            continue
        value = left.pop(0)
        if field in 'nx':
            out += bytes([names.index(value)])
        elif field == '2':
            out += bytes([len(value), *(names.index(n) for n in value)])
        elif field in 'fut':
            out += bytes([value])
        elif field in 'mscb':
            out += struct.pack('<H', value)
        else:  # v, or a digit: script_value, of one byte
            out += bytes([0, value])
    if left:
        sys.exit(f'{kind}: too many values')
    return out


def volume(table, pieces):
    out = bytes([table])
    for place, data in pieces:
        place += table * SHIFT if place >= 2 * BLOCK else 0
        for at in range(0, len(data), 15):
            part = data[at:at + 15]
            out += struct.pack('<HB', (place + at) // 2, (place + at) & 1 | len(part) << 4) + part
    return out


def main():
    if len(sys.argv) < 4 or sys.argv[2] not in ('share', 'volume'):
        sys.exit(__doc__)
    kinds, names = tables(sys.argv[1])
    for path in sys.argv[3:]:
        name = os.path.basename(path).split('.')[0]
        data = b''.join(message(kinds, names, *m) for m in SHARE[name]) if sys.argv[2] == 'share' else volume(*VOLUME[name])
        with open(path, 'wb') as f:
            f.write(data)
    return 0


sys.exit(main())
