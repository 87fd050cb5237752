#!/usr/bin/python3
"""Debian's kernel and virtio-vsock: test_vsock.py BUILD MEBIBYTES

The guest's program (vsock.c) connects to Unix sockets of the test, alone and many at a time, and to one that is not there; the test
connects to ports of the guest, of which one is not there. What is carried comes back, or its sum does.
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

from harness import BUILD, GUEST, Running, check, finish, need_guest, run_command, serve_sums, skip

SECONDS = 300
MANY = 8
SUMS, ECHO = 5000, 7000
SCRIPT = f"""set -e
sh /test/modules.sh
head -c {{size}} /dev/urandom >/tmp/file
sum=$(sha256sum </tmp/file | cut -d ' ' -f 1)
[ "$(/bin/vsock send {SUMS} </tmp/file)" = "$sum" ]
echo "send: good"
n=0
while [ $n -lt {MANY} ]; do
    (cat /tmp/file; echo $n) | /bin/vsock send {SUMS} >/tmp/sum.$n &
    n=$((n + 1))
done
wait
n=0
while [ $n -lt {MANY} ]; do
    [ "$(cat /tmp/sum.$n)" = "$( (cat /tmp/file; echo $n) | sha256sum | cut -d ' ' -f 1)" ]
    n=$((n + 1))
done
echo "many: good"
if /bin/vsock send 5001 </tmp/file 2>/tmp/why; then
    exit 1
fi
echo "refused: $(cat /tmp/why)"
/bin/vsock echo {ECHO} {MANY}
echo "echo: good"
"""


def archive(folder, size):
    """The initial file system with the program and the script behind it."""
    root, path = os.path.join(folder, 'root'), os.path.join(folder, 'initramfs.img')
    os.makedirs(f'{root}/bin')
    os.makedirs(f'{root}/test')
    shutil.copy(f'{BUILD}/tests/system/vsock', f'{root}/bin/vsock')
    with open(f'{root}/test/vsock-test.sh', 'w', encoding='ascii') as f:
        f.write(SCRIPT.format(size=size))
    names = subprocess.run(['find', '.'], cwd=root, capture_output=True, check=True).stdout
    packed = subprocess.run(['cpio', '-o', '--quiet', '-H', 'newc'], cwd=root, input=names, capture_output=True, check=True).stdout
    shutil.copy(os.path.join(GUEST, 'initramfs-modules.gz'), path)
    with open(path, 'ab') as f:
        f.write(bytes(-f.tell() % 4) + packed)
    return path


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    return listener


def dial(path, greeting):
    """The connection, and the line that is the answer."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    s.sendall(greeting)
    line = b''
    try:
        while not line.endswith(b'\n') and (byte := s.recv(1)):
            line += byte
    except ConnectionResetError:  # it was closed before all that was said was read
        pass
    return s, line


def echo(path, data):
    """What is wrong with what the guest gives back."""
    s, line = dial(path, f'CONNECT {ECHO}\n'.encode())
    if not line.startswith(b'OK '):
        return f'said {line}'
    threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)), daemon=True).start()
    got = bytearray()
    while chunk := s.recv(1 << 20):
        got += chunk
    same = os.path.commonprefix([bytes(got), data])
    return None if got == data else f'{len(got)} bytes, {len(same)} of them right'


def main():
    size = int(sys.argv[2]) << 20
    kernel, _ = need_guest()
    if not os.path.exists(os.path.join(GUEST, 'initramfs-modules.gz')):
        skip(f'{GUEST} has no modules; tools/guest-kernel gets them')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'guest')
        serve_sums(listen(f'{path}_{SUMS}'))
        machine = Running(*run_command('--kernel', kernel, '--initramfs', archive(folder, size), '--memory', '256', '--no-reboot', '--net', 'none',
                                       '--cmdline', 'console=ttyS0 quiet ring3.test=vsock-test', '--vsock', f'{path},cid=77'))
        if check('the guest reaches the host', machine.expect('vsock: listens', SECONDS) is not None, machine.output):
            for greeting in (b'CONNECT 9\n', b'CONNECT x\n', b'hello, is anybody there, please?\n', b'CONNECT 4294967295\n'):
                s, line = dial(path, greeting)
                check(f'{greeting} is refused', line == b'', line)
                s.close()
            results = []
            data = os.urandom(size)
            threads = [threading.Thread(target=lambda: results.append(echo(path, data))) for _ in range(MANY)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            check('the host reaches the guest', results == [None] * MANY, results)
        machine.expect('no such text', SECONDS)  # until its end
        try:
            _, err = machine.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            machine.end()
            err = b''
        status, log = machine.process.returncode, machine.output.replace('\r', '')
    check('the guest powered off', status == 0, f'status {status}')
    check('ring3 has nothing to say but its engine', len(err.splitlines()) == 1, err)
    for line in ('send: good', 'many: good', 'refused: vsock: Connection reset by peer', 'echo: good'):
        if not check(line, line in log):
            print(log)
    finish()


main()
