#!/usr/bin/python3
"""How fast the network is: TCP between guest and host through the preset network, which needs no privilege.

    network.py BUILD [ROUNDS]

Rows: `to guest` and `from guest`, MB/s of one connection over SECONDS; `round trip`, microseconds for a byte there and back over TCP;
`ping`, microseconds to the gateway, which is the process of the network itself. Debian's kernel in each guest, the same driver and
program (programs/net.c), virtio-net in both; QEMU's -netdev user is the same libslirp. Contenders take turns at each row; medians.
"""
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from contender import Lines, MEMORY
from start import host

SECONDS = 3
TRIPS = 2000
LIMIT = 90
CMDLINE = 'console=ttyS0 quiet panic=-1 ring3.test=network-bench'
GATEWAY = '10.0.2.2'
SCRIPT = """sh /test/modules.sh
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
sleep 1
ping -c 200 -A {gateway} >/tmp/warm
ping -c 1000 -A {gateway} | sed -n 's/^round-trip/PING/p'
/bench/net {gateway} {port}
"""


def archive(folder, name, build, port):
    """The initial file system with the program and the script behind it."""
    root = os.path.join(folder, name)
    os.makedirs(f'{root}/bench')
    os.makedirs(f'{root}/test')
    shutil.copy(f'{build}/bench/net.static', f'{root}/bench/net')
    with open(f'{root}/test/network-bench.sh', 'w', encoding='ascii') as f:
        f.write(SCRIPT.format(gateway=GATEWAY, port=port))
    path = f'{root}.img'
    shutil.copy(f'{build}/guest/initramfs-modules.gz', path)
    names = subprocess.run(['find', '.'], cwd=root, capture_output=True, check=True).stdout
    packed = subprocess.run(['cpio', '-o', '--quiet', '-H', 'newc'], cwd=root, input=names, capture_output=True, check=True).stdout
    with open(path, 'ab') as f:
        f.write(bytes(-f.tell() % 4) + packed)
    return path


class Guest:
    def __init__(self, name, command, listener):
        self.name, self.listener, self.rows = name, listener, {}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.lines = Lines(self.process)

    def ready(self):
        """Waits for the guest's first connection. The ping's row is on the console before that."""
        end = time.monotonic() + LIMIT
        while 'ping' not in self.rows:
            line = self.lines.next(end - time.monotonic())
            if line is None:
                sys.exit(f'{self.name}: the guest did not get as far as the network')
            found = re.match(r'PING .* = [\d.]+/([\d.]+)/', line[0])
            if found:
                self.rows['ping'] = [float(found.group(1)) * 1000]

    def connection(self, what):
        c, _ = self.listener.accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.settimeout(LIMIT)
        c.sendall(what)
        return c

    def row(self, name, value):
        self.rows.setdefault(name, []).append(value)

    def to_guest(self):
        block, sent = bytes(1 << 18), 0
        with self.connection(b'r') as c:
            begin = time.monotonic()
            while time.monotonic() < begin + SECONDS:
                c.sendall(block)
                sent += len(block)
            c.shutdown(socket.SHUT_WR)
            c.recv(1)  # the guest has read it all
            self.row('to guest', sent / 1e6 / (time.monotonic() - begin))

    def from_guest(self):
        block, got = bytearray(1 << 20), 0
        with self.connection(b's') as c:
            begin = time.monotonic()
            while time.monotonic() < begin + SECONDS:
                got += c.recv_into(block)
            self.row('from guest', got / 1e6 / (time.monotonic() - begin))

    def round_trip(self):
        with self.connection(b'e') as c:
            times = []
            for _ in range(TRIPS):
                begin = time.monotonic()
                c.sendall(b'x')
                c.recv(1)
                times.append((time.monotonic() - begin) * 1e6)
            self.row('round trip', statistics.median(times))

    def end(self):
        self.connection(b'q').close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def ring3(build, kernel, initramfs):
    return [f'{build}/ring3', 'run', '--memory', str(MEMORY), '--no-reboot', '--kernel', kernel, '--initramfs', initramfs, '--cmdline', CMDLINE]


def tcg(kernel, initramfs):
    return ['qemu-system-x86_64', '-accel', 'tcg,thread=single', '-cpu', 'max', '-m', str(MEMORY), '-display', 'none', '-nodefaults',
            '-serial', 'stdio', '-no-reboot', '-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,romfile=', '-kernel', kernel,
            '-initrd', initramfs, '-append', CMDLINE]


def start(folder, build, name, command):
    listener = socket.create_server(('127.0.0.1', 0))
    listener.settimeout(LIMIT)
    image = archive(folder, name, build, listener.getsockname()[1])
    return Guest(name, command(f'{build}/guest/vmlinuz', image), listener)


def print_table(guests):
    units = {'to guest': 'MB/s', 'from guest': 'MB/s', 'round trip': 'us', 'ping': 'us'}
    print('| row | ' + ' | '.join(g.name for g in guests) + ' |')
    print('| --- |' + ' ---: |' * len(guests))
    for row, unit in units.items():
        print(f'| {row}, {unit} | ' + ' | '.join(f'{statistics.median(g.rows[row]):.0f}' for g in guests) + ' |')


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    build, rounds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    contenders = [('ring3', lambda *a: ring3(build, *a))]
    if shutil.which('qemu-system-x86_64'):
        contenders.append(('QEMU TCG', tcg))
    print(f'Host: {host()}, {os.cpu_count()} cores, Linux {platform.release()}; medians of {rounds} rounds')
    with tempfile.TemporaryDirectory(prefix='ring3-network-') as folder:
        guests = []
        for name, command in contenders:
            guests.append(start(folder, build, name, command))
            guests[-1].ready()
        for _ in range(rounds):
            for measure in (Guest.to_guest, Guest.from_guest, Guest.round_trip):
                for guest in guests:
                    measure(guest)
        for guest in guests:
            guest.end()
    print_table(guests)


main()
