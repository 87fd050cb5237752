#!/usr/bin/python3
"""Debian's kernel on ring3's networks.

    test_network.py BUILD CPUS MEBIBYTES [WORD...]     behind the host's addresses: DHCP, ping, a file both ways, ports that lead in
    test_network.py BUILD pair                         two machines on a switch
    test_network.py BUILD tap                          a tap device, in a network namespace of its own
    test_network.py BUILD ends                         a NAT process that dies, a port that is taken, what is left behind

WORDs go to --net nat, but for mmio, which is where the devices are. All servers are on 127.0.0.1, at ports that the host chooses; nothing else is talked to.
"""
import fcntl
import hashlib
import http.server
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from harness import GUEST, Running, check, finish, need_guest, ring3, run_command, serve_sums, skip

SECONDS = 400  # a host with two cores may be busy
MAC = '52:54:00:12:34:56'
HOST = '192.168.78.1'  # on the tap
TUNSETIFF, TUNSETPERSIST, SIOCSIFFLAGS, SIOCSIFADDR = 0x400454ca, 0x400454cb, 0x8914, 0x8916
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_UP = 0x0002, 0x1000, 0x4000, 0x1
EXPECTED = [
    r'fail to add MMCONFIG information',  # as in boot_linux.py
    r'hrtimer: interrupt took',  # a slow engine on a busy host
]


def guest_files():
    kernel, _ = need_guest()
    initramfs = os.path.join(GUEST, 'initramfs-modules.gz')
    if not os.path.exists(initramfs):
        skip(f'{GUEST} has no modules; tools/guest-kernel gets them')
    return kernel, initramfs


def command(script, words, *options):
    kernel, initramfs = guest_files()
    return run_command('--kernel', kernel, '--initramfs', initramfs, '--memory', '256', '--no-reboot', '--cmdline',
                       f'console=ttyS0 ring3.test={script} {words}', *options)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def serve_file(data, address='127.0.0.1'):
    """By HTTP; the port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def serve_back(address='127.0.0.1'):
    """Answers with sums; the port."""
    listener = socket.create_server((address, 0))
    serve_sums(listener)
    return listener.getsockname()[1]


def warnings(log):
    found = re.findall(r'^warning: (.*)$', log, re.M)
    return [line for line in found if not any(re.search(e, line) for e in EXPECTED)]


def end_of(machine, seconds):
    """Status, and the whole output."""
    machine.expect('no such text', seconds)
    try:
        _, err = machine.process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        machine.end()
        return None, machine.output.replace('\r', ''), ''
    return machine.process.returncode, machine.output.replace('\r', ''), err.decode('utf-8', 'replace')


def check_nat(cpus, mebibytes, words):
    data = os.urandom(mebibytes << 20)
    digest = hashlib.sha256(data).hexdigest()
    web, word = free_port(), free_port()
    net = ','.join(['nat', f'hostfwd=tcp:127.0.0.1:{web}-:80', f'hostfwd=tcp:127.0.0.1:{word}-10.0.2.15:81', 'dns=127.0.0.1', *(w for w in words if w != 'mmio')])
    machine = Running(*command('network', f'net.port={serve_file(data)} net.back={serve_back()} net.sum={digest}',
                               '--cpus', cpus, '--net', net, '--virtio', 'mmio' if 'mmio' in words else 'pci'))
    if check('the guest reaches the host', machine.expect('httpd: runs', SECONDS) is not None, machine.output):
        with urllib.request.urlopen(f'http://127.0.0.1:{web}/file', timeout=60) as answer:
            check('the host reaches the guest', answer.read() == data)
        with socket.create_connection(('127.0.0.1', word), timeout=60) as s:
            s.sendall(b'hello\n')
            s.shutdown(socket.SHUT_WR)
            s.recv(1)
    status, log, err = end_of(machine, SECONDS)
    check('the guest powered off', status == 0, f'status {status}, {err}')
    check('ring3 has nothing to say but its engine', len(err.splitlines()) == 1, err)
    passed = check('network passed', 'TEST network PASSED' in log)
    for line in (f'mac: {MAC}', 'lease: 10.0.2.15 10.0.2.2 10.0.2.3', 'ping: good', 'transfer: good', 'word: hello', 'changes: good',
                 'driver: good'):
        passed &= check(line, line in log)
    features = re.search(r'^features: ([01]{64})', log, re.M)
    if check('features of the card', features is not None):
        check('rings as asked for', (features.group(1)[34] == '1') == ('packed=on' in words))
    check('the kernel has no warning', not warnings(log), '\n'.join(warnings(log)))
    if not passed:
        print(log)


def check_pair():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'lan')
        machines = [Running(*command('network-pair', f'net.me={n}', '--net', f'switch:{path}')) for n in (1, 2)]
        for n, machine in enumerate(machines, 1):
            status, log, err = end_of(machine, SECONDS)
            check(f'machine {n} powered off', status == 0, f'status {status}, {err}')
            if not check(f'machine {n} passed', 'TEST network-pair PASSED' in log):
                print(log)
            check(f'machine {n}: the kernel has no warning', not warnings(log), '\n'.join(warnings(log)))
        time.sleep(0.5)
        check('the switch ended with them', not children('ring3-switch'))


def children(name):
    """Processes of that name that live, each with its parent."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/comm', encoding='ascii', errors='replace') as f:
                comm = f.read().strip()
            with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as f:
                state, parent = f.read().rsplit(')', 1)[1].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if comm == name and state != 'Z':
            found.append((int(pid), int(parent)))
    return found


def interface_call(number, name, data):
    with socket.socket() as s:
        fcntl.ioctl(s, number, struct.pack('16s24s', name.encode(), data))


def make_tap(name, address):
    """One that stays when it is closed, up and with an address."""
    tun = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tun, TUNSETPERSIST, 1)
    os.close(tun)
    interface_call(SIOCSIFADDR, name, struct.pack('HH4s', socket.AF_INET, 0, socket.inet_aton(address)))
    interface_call(SIOCSIFFLAGS, name, struct.pack('H', IFF_UP))


def tap_run(name, net, **more):
    data = os.urandom(8 << 20)
    words = f'net.port={serve_file(data, HOST)} net.back={serve_back(HOST)} net.sum={hashlib.sha256(data).hexdigest()}'
    machine = Running(*command('network-tap', words, '--net', net), **more)
    status, log, err = end_of(machine, SECONDS)
    check(f'{name}: the guest powered off', status == 0, f'status {status}, {err}')
    if not check(f'{name}: the guest passed', 'TEST network-tap PASSED' in log):
        print(log, err)
    check(f'{name}: the kernel has no warning', not warnings(log), '\n'.join(warnings(log)))


def check_tap():
    """Inside the namespace."""
    make_tap('tap0', HOST)
    tap_run('by name', 'tap:tap0')
    tun = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', b'tap0', IFF_TAP | IFF_NO_PI))
    os.set_inheritable(tun, True)
    tap_run('by descriptor, without offloads', f'tap:fd={tun}', pass_fds=[tun])


def check_tap_outside():
    able = subprocess.run(['unshare', '-rn', 'test', '-w', '/dev/net/tun'], stderr=subprocess.DEVNULL, check=False).returncode == 0
    if not able:
        skip('no network namespace, or no right to /dev/net/tun')
    sys.exit(subprocess.run(['unshare', '-rn', sys.executable, __file__, sys.argv[1], 'tap-inside'], check=False).returncode)


def check_ends():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = ring3('run', '--net', f'nat,hostfwd=tcp:127.0.0.1:{port}-:22')
        good = status == 2 and not out and f'cannot listen on tcp port {port} of 127.0.0.1' in err and len(err.splitlines()) == 1
        check('a port that is taken', good, (status, out, err))
    kernel, _ = guest_files()
    machine = Running(*run_command('--kernel', kernel, '--memory', '256', '--serial', 'null'))
    pid = machine.process.pid

    def mine():
        return [child for child, parent in children('ring3-nat') if parent == pid]
    end = time.monotonic() + 20
    while not mine() and time.monotonic() < end:
        time.sleep(0.02)
    if check('the network of a guest that was given is nat', len(mine()) == 1):
        os.kill(mine()[0], 9)
        os.set_blocking(machine.process.stderr.fileno(), False)
        said = ''
        while 'is gone' not in said and time.monotonic() < end:
            said += (machine.process.stderr.read() or b'').decode()
            time.sleep(0.05)
        check('its end is told', 'ring3: --net nat: the NAT process is gone' in said, said)
        check('and the machine goes on', machine.process.poll() is None)
    machine.process.kill()
    machine.process.communicate()
    machine = Running(*run_command('--kernel', kernel, '--memory', '256', '--serial', 'null'))
    pid = machine.process.pid
    while not mine() and time.monotonic() < end:
        time.sleep(0.02)
    child = mine()
    machine.process.kill()
    machine.process.communicate()
    time.sleep(0.5)
    left = [c for c, _ in children('ring3-nat')]
    check('it dies with its machine', child and child[0] not in left, (child, left))
    machine = Running(*run_command('--net', 'none', '--kernel', kernel, '--memory', '256', '--serial', 'null'))
    pid = machine.process.pid
    time.sleep(0.5)
    check('none is none', not mine())
    machine.process.kill()
    machine.process.communicate()


def main():
    if sys.argv[2] == 'pair':
        check_pair()
    elif sys.argv[2] == 'tap':
        check_tap_outside()
    elif sys.argv[2] == 'tap-inside':
        check_tap()
    elif sys.argv[2] == 'ends':
        check_ends()
    else:
        check_nat(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    finish()


main()
