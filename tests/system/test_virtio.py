#!/usr/bin/python3
"""Debian's kernel uses the virtio devices: disk, console, random numbers, balloon.

    test_virtio.py BUILD CPUS [WORD...]

The file system on the disk is made here, with a file in it; the guest reads it, writes others, and powers off; then e2fsck has to be
content. WORDs go to the disk (packed=on), but for mmio, which is where the devices are. What is on the host's side: the console's line comes back, memory that the guest frees is given
back, and the kernel does not warn about anything.
"""
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time

from harness import GUEST, Running, check, finish, need_guest, run_command, skip

SECONDS = 400  # a host with two cores may be busy
MEMORY = 448  # MiB
DISK = 64  # MiB
FREED = 120  # MiB of the 200 that have to come back; the rest may be on its way

EXPECTED = [
    r'fail to add MMCONFIG information',  # as in boot_linux.py
    r'hrtimer: interrupt took',  # a slow engine on a busy host
]


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def make_disk(folder):
    files, path = os.path.join(folder, 'files'), os.path.join(folder, 'disk.img')
    os.mkdir(files)
    data = os.urandom(3 << 20)
    with open(f'{files}/given', 'wb') as f:
        f.write(data)
    with open(f'{files}/given.sum', 'w', encoding='ascii') as f:
        f.write(f'{hashlib.sha256(data).hexdigest()}  -\n')
    with open(path, 'wb') as f:
        f.truncate(DISK << 20)
    status, out = run('/sbin/mke2fs', '-q', '-t', 'ext4', '-d', files, path)
    if status:
        skip(f'mke2fs: {out}')
    return path


def make_second(folder):
    path = os.path.join(folder, 'second.img')
    with open(path, 'wb') as f:
        f.write(b'second disk'.ljust(512, b'\n') + bytes(1 << 20))
    return path


def resident(pid):
    """MiB of host memory that the guest's memory has, as the host counts it."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return int(re.search(r'RssShmem:\s*(\d+)', f.read()).group(1)) >> 10


def resident_below(pid, goal, seconds):
    """Waits until it is at most `goal`; the last that was seen."""
    end = time.monotonic() + seconds
    while (now := resident(pid)) > goal and time.monotonic() < end:
        time.sleep(0.1)
    return now


def read_file(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read().replace('\r', '')


def wait_for(path, text, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if text in read_file(path):
            return True
        time.sleep(0.05)
    return False


def squeeze(machine):
    """The monitor takes memory from the guest, and gives it back."""
    machine.type(f'\x01cballoon {MEMORY - 32}M\r')
    end = time.monotonic() + 60
    done = False
    while not done and time.monotonic() < end:
        machine.type('info balloon\r')
        done = machine.expect(f'now {MEMORY - 32 << 10} KiB', 1) is not None
    check('the guest gives up memory', done, machine.output)
    machine.type(f'balloon {MEMORY}M\r')
    machine.type('\x01c')


def guest(cpus, words, folder):
    """Runs the guest; what it logged on the serial port."""
    kernel, _ = need_guest()
    initramfs = os.path.join(GUEST, 'initramfs-modules.gz')
    if not os.path.exists(initramfs):
        skip(f'{GUEST} has no modules; tools/guest-kernel gets them')
    disk, second, log = make_disk(folder), make_second(folder), os.path.join(folder, 'serial.log')
    spec = ','.join([disk, 'serial=ring3-test', *(word for word in words if word != 'mmio')])
    bus = 'mmio' if 'mmio' in words else 'pci'
    machine = Running(*run_command(
        '--kernel', kernel, '--initramfs', initramfs, '--memory', str(MEMORY), '--cpus', str(cpus),
        '--cmdline', 'console=ttyS0 ring3.test=virtio', '--serial', f'file={log}', '--console', 'stdio', '--disk', spec,
        '--disk', f'{second},readonly=on', '--virtio', bus, '--no-reboot'))
    typed = machine.expect('type a line', SECONDS) is not None
    if check('the console of the guest speaks', typed):
        machine.type('over the wire\n')
        check('and listens', machine.expect('got <over the wire>', 60) is not None, machine.output)
        squeeze(machine)
        if check('the guest fills memory', wait_for(log, 'balloon: filled', 120)):
            full = resident(machine.process.pid)
            machine.type('seen\n')
            wait_for(log, 'balloon: freed', 60)
            least = resident_below(machine.process.pid, full - FREED, 60)
            check(f'memory that it freed is given back: {full} MiB, then {least} MiB', least <= full - FREED)
            machine.type('seen\n')
    try:
        _, err = machine.process.communicate(timeout=120)
        status = machine.process.returncode
    except subprocess.TimeoutExpired:
        status, err = None, b''
        machine.end()
    check('the guest powered off', status == 0, f'status {status}')
    check('ring3 has nothing to say but its engine', len(err.splitlines()) == 1, err)
    status, out = run('/sbin/e2fsck', '-fn', disk)
    check('the file system is in order', status == 0, out)
    return read_file(log)


def main():
    cpus, words = int(sys.argv[2]), sys.argv[3:]
    with tempfile.TemporaryDirectory() as folder:
        log = guest(cpus, words, folder)
    passed = check('virtio passed', 'TEST virtio PASSED' in log)
    for line in ('rng: good', 'disk: good', 'serial: ring3-test', f'queues: {cpus}', 'vdb: second disk'):
        passed &= check(line, line in log)
    features = re.search(r'^features: ([01]{64})', log, re.M)
    if check('features of the disk', features is not None):
        check('rings as asked for', (features.group(1)[34] == '1') == ('packed=on' in words))
    found = [line for line in re.findall(r'^warning: (.*)$', log, re.M) if not any(re.search(e, line) for e in EXPECTED)]
    check('the kernel has no warning', not found, '\n'.join(found))
    if not passed:
        print(log)
    finish()


main()
