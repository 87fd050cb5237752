#!/usr/bin/python3
"""Debian's kernel uses shared folders.

    test_share.py BUILD CPUS [WORD...]

The folders are made here; the guest (tests/system/guest/share.sh) reads and writes, with each kind of cache, and what it wrote is
looked at here. A word mmio is where the devices are.
"""
import hashlib
import os
import re
import sys
import tempfile

from harness import GUEST, check, finish, need_guest, ring3, run_command, skip

SECONDS = 400  # a host with two cores may be busy
EXPECTED = [
    r'fail to add MMCONFIG information',  # as in boot_linux.py
    r'hrtimer: interrupt took',
    r'9p: unknown tag|no channels available',  # the name that nobody shares
]


def make(folder):
    for name in ('s', 'ro', 'own', 'out'):
        os.mkdir(f'{folder}/{name}')
    data = os.urandom(3 << 20)
    with open(f'{folder}/s/given', 'wb') as f:
        f.write(data)
    with open(f'{folder}/s/given.sum', 'w', encoding='ascii') as f:
        f.write(f'{hashlib.sha256(data).hexdigest()}  -\n')
    for name in ('out/secret', 'ro/kept'):
        with open(f'{folder}/{name}', 'w', encoding='ascii') as f:
            f.write('kept\n')
    os.symlink('../out/secret', f'{folder}/s/leak')
    os.symlink(f'{folder}/out', f'{folder}/s/leaks')


def look(folder):
    """What the guest left."""
    for cache in ('none', 'mmap', 'loose'):
        top = f'{folder}/s/{cache}'
        with open(f'{top}/data', 'rb') as data, open(f'{top}/data.sum', encoding='ascii') as sums:
            check(f'{cache}: bytes', sums.read().split()[0] == hashlib.sha256(data.read()).hexdigest())
        check(f'{cache}: a link', os.readlink(f'{top}/d/dangling') == '/nowhere/at/all')
        check(f'{cache}: a mode', os.stat(f'{top}/a/b/file.7').st_mode & 0o7777 == 0o640)
        check(f'{cache}: a hard link', os.stat(f'{top}/a/hard').st_ino == os.stat(f'{top}/a/b/file.1').st_ino)
        check(f'{cache}: owned by the user', os.stat(f'{top}/a/hard').st_uid == os.geteuid())
    with open(f'{folder}/out/secret', encoding='ascii') as f:
        check('what lies beside is as it was', f.read() == 'kept\n' and os.listdir(f'{folder}/out') == ['secret'])
    check('read-only is', os.listdir(f'{folder}/ro') == ['kept'])


def bad_options(folder):
    """What is wrong, and what would be right."""
    for words, says in {
        (f'{folder}/none',): 'there is no such folder; make it',
        (f'{folder}/s', f'{folder}/ro,tag=s'): 'another share has the tag "s" already; give tag=NAME',
        (f'{folder}/s,tag={"x" * 61}',): 'give a name of 1 to 60 bytes',
        (f'{folder}/s,readonly=yes',): 'readonly=yes: give on or off',
        (f'{folder}/ro/kept',): 'not a folder; give the path of one',
    }.items():
        status, _, err = ring3('run', *[w for word in words for w in ('--share', word)], '--serial', 'null')
        check(f'refused: {says}', status == 2 and says in err and f'--share {words[-1]}' in err, err)


def main():
    cpus, words = sys.argv[2], sys.argv[3:]
    kernel, _ = need_guest()
    initramfs = os.path.join(GUEST, 'initramfs-modules.gz')
    if not os.path.exists(initramfs):
        skip(f'{GUEST} has no modules; tools/guest-kernel gets them')
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        if not words:
            bad_options(folder)
        command = run_command('--kernel', kernel, '--initramfs', initramfs, '--memory', '448M', '--cpus', cpus, '--cmdline',
                              'console=ttyS0 ring3.test=share', '--share', f'{folder}/s', '--share', f'{folder}/ro,readonly=on',
                              '--share', f'{folder}/own,security_model=mapped', '--virtio', 'mmio' if 'mmio' in words else 'pci',
                              '--no-reboot')
        status, out, err = ring3(*command, timeout=SECONDS)
        log = out.replace('\r', '')
        check('the guest powered off', status == 0, f'status {status}, {err}')
        check('ring3 has nothing to say but its engine', len(err.splitlines()) == 1, err)
        passed = check('share passed', 'TEST share PASSED' in log)
        for line in ('readonly: good', 'share: good'):
            passed &= check(line, line in log)
        if passed:
            look(folder)
        found = [w for w in re.findall(r'^warning: (.*)$', log, re.M) if not any(re.search(e, w) for e in EXPECTED)]
        check('the kernel has no warning', not found, '\n'.join(found))
        if not passed:
            print(log[-6000:])
    finish()


main()
