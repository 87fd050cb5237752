#!/usr/bin/python3
"""Debian from an image, in ring3 and in QEMU's TCG: seconds to the login, apt with an archive of the host's loopback, and what it does
with a disk (bench/disk.c).

    debian.py BUILD [--rounds N] [--count N] [--no-tcg]

The image is the one of the system tests (tests/system/debian.py makes it). Each start has a disk of its own over it, and a second, raw
one for the disk rows. The archive (tests/system/archive.py) has one package and lists a tenth as many as Debian's. Both emulators get
the same kernel, initial file system and command line; times are the host's, taken when lines arrive. They take turns; the table has
medians.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 300  # seconds for anything
OTHERS = 6000  # packages that the archive only lists
APT = {'apt update': 'apt-get -q update', 'apt install': 'apt-get -qy install ring3-sample < /dev/null'}
ROWS = ['login', *APT, 'fill', 'sequential-write', 'sequential-read', 'random-write', 'random-read', 'create', 'delete', 'power off']
MEMORY = 1024


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--count', type=int, default=4000, help='reads, writes and files of each row')
    parser.add_argument('--no-tcg', action='store_true')
    return parser.parse_args()


def debugfs(disk, command):
    return subprocess.run(['/sbin/debugfs', '-R', command, disk], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def prepare(build, work, disk):
    """What both start: kernel, initial file system, command line; and a disk with the program."""
    boot = {}
    for name in ('vmlinuz', 'initrd.img'):
        target = re.search(rb'"(.*)"', debugfs(disk, f'stat /{name}')).group(1).decode()
        boot[name] = f'{work}/{name}'
        debugfs(disk, f'dump /{target} {boot[name]}')
    boot['cmdline'] = re.search(rb'append (.*)', debugfs(disk, 'cat /boot/extlinux/extlinux.conf')).group(1).decode()
    os.mkdir(f'{work}/files')
    shutil.copy(f'{build}/bench/disk.static', f'{work}/files/disk')
    boot['second'] = f'{work}/second'
    return boot


def fresh_disks(work, base, boot):
    with open(boot['second'], 'wb') as f:
        f.truncate(512 << 20)
    subprocess.run(['/sbin/mke2fs', '-q', '-F', '-t', 'ext4', '-d', f'{work}/files', boot['second']], check=True)
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', f'{work}/first'], check=True)


def ring3(build, work, base, boot):
    return [f'{build}/ring3', 'run', '--memory', str(MEMORY), '--disk', f'{work}/first,backing={base}',
            '--disk', f'{boot["second"]},format=raw', '--kernel', boot['vmlinuz'], '--initramfs', boot['initrd.img'],
            '--cmdline', boot['cmdline']]


def tcg(build, work, base, boot):
    return ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', str(MEMORY), '-nographic', '-no-reboot',
            '-drive', f'file={work}/first,if=virtio,format=qcow2', '-drive', f'file={boot["second"]},if=virtio,format=raw',
            '-device', 'virtio-rng-pci', '-nic', 'user,model=virtio-net-pci', '-kernel', boot['vmlinuz'], '-initrd', boot['initrd.img'],
            '-append', boot['cmdline']]


class Guest:
    def __init__(self, command):
        self.begin = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.output = b''

    def wait(self, text):
        """The moment at which it was there."""
        os.set_blocking(self.process.stdout.fileno(), False)
        end = time.monotonic() + LIMIT
        while text not in self.output and time.monotonic() < end:
            chunk = self.process.stdout.read()
            if chunk == b'':
                break
            self.output += (chunk or b'')
            time.sleep(0 if chunk else 0.001)
        if text not in self.output:
            self.process.kill()
            sys.exit(f'no {text} from {self.process.args[0]}: {self.output[-1000:].decode("utf-8", "replace")}')
        self.output = self.output[self.output.index(text) + len(text):]
        return time.monotonic()

    def type(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()


def use_apt(guest, seconds, source):
    guest.type(f'{source}; until ip route | grep -q default; do sleep 0.1; done')
    for row, command in APT.items():
        guest.type(f'sync; printf "BEGINS %s\\n" "{row}"; {command} && printf "ENDS %s\\n" "{row}"')
        begin = guest.wait(f'BEGINS {row}\r\n'.encode())
        seconds[row] = guest.wait(f'ENDS {row}\r\n'.encode()) - begin


def measure(command, count, source):
    guest, seconds = Guest(command), {}
    seconds['login'] = guest.wait(b'login: ') - guest.begin
    guest.wait(b'# ')
    use_apt(guest, seconds, source)
    guest.type(f'mkdir -p /run/disk; mount /dev/vdb /run/disk && sync && sleep 3 && /run/disk/disk /run/disk {count}')
    for row in ROWS[len(seconds):-1]:
        begin = guest.wait(f'BEGINS {row}\r\n'.encode())
        seconds[row] = guest.wait(f'ENDS {row}\r\n'.encode()) - begin
    begin = time.monotonic()
    guest.type('poweroff')
    guest.process.stdin.close()
    guest.process.stdout.close()
    guest.process.wait(LIMIT)
    seconds['power off'] = time.monotonic() - begin
    return seconds


def main():
    options = arguments()
    build = os.path.abspath(options.build)
    sys.argv[1:] = [build]
    sys.path.insert(0, f'{TOP}/tests/system')
    import archive
    from debian import need_debian  # reads the build directory from the arguments
    base = need_debian()
    contenders = {'ring3': ring3}
    if not options.no_tcg and shutil.which('qemu-system-x86_64'):
        contenders['TCG'] = tcg
    samples = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as work:
        boot = prepare(build, work, base)
        os.mkdir(f'{work}/archive')
        archive.make(f'{work}/archive', OTHERS)
        source = archive.use(archive.serve(f'{work}/archive'))
        for _ in range(options.rounds):
            for name, command in contenders.items():
                fresh_disks(work, base, boot)
                samples[name].append(measure(command(build, work, base, boot), options.count, source))
                print(f'{name}: ' + ', '.join(f'{row} {s:.2f}' for row, s in samples[name][-1].items()), flush=True)
    print(f'\n| row | {" | ".join(f"{name}, s" for name in contenders)} |{" ring3 / TCG |" if "TCG" in contenders else ""}')
    print(f'| --- |{" ---: |" * (len(contenders) + ("TCG" in contenders))}')
    for row in ROWS:
        medians = [statistics.median(s[row] for s in samples[name]) for name in contenders]
        ratio = f' {medians[0] / medians[1]:.2f} |' if len(medians) > 1 else ''
        print(f'| {row} | {" | ".join(f"{m:.2f}" for m in medians)} |{ratio}')


main()
