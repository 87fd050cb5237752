#!/usr/bin/python3
"""No acknowledged flush is lost: ring3 is killed while Debian writes, many times, on a raw and on a qcow2 disk.

    test_image_kill.py BUILD [KILLS]

The guest writes files, syncs each of them and its folder, and says so on the console. At a random moment ring3 gets SIGKILL. Then the
journal is replayed and the file system has to be in order, each file that was acknowledged there with the right bytes, and a qcow2
image without errors (leaks are allowed). The next run goes on with the same disk.
"""
import os
import random
import re
import subprocess
import sys
import tempfile
import time

from debian import need_debian
from harness import RING3, Running, check, finish, run_command

KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
SECONDS = 120
SIZE = 256 << 20
SLOTS = 40
CMDLINE = 'root=/dev/vda ro console=ttyS0 quiet init=/bin/sh'
E2FSCK_FIXED = 1  # and nothing was wrong

# Sizes that are no multiples of anything, renames over older files.
SCRIPT = r'''
mount /dev/vdb /media && cd /media || exit
n=START
while :; do
    n=$((n + 1))
    yes "contents of $n" | head -c $((100 + n * 7919 % 60000)) > new
    sync new; mv new file-$((n % SLOTS)); sync .
    echo "ACK $n END"
done
'''


def contents(n):
    line = f'contents of {n}\n'.encode()
    size = 100 + n * 7919 % 60000
    return (line * (size // len(line) + 1))[:size]


def write_until_killed(system, disk, start, rng):
    """Numbers that were acknowledged."""
    machine = Running(*run_command('--disk', f'{system},readonly=on', '--disk', disk, '--cmdline', CMDLINE))
    if not check('the guest is up', machine.expect('# ', SECONDS) is not None, machine.output[-1000:]):
        machine.end()
        return []
    machine.type('stty -echo\n')
    machine.type(SCRIPT.replace('START', str(start)).replace('SLOTS', str(SLOTS)).lstrip())
    up = machine.expect('ACK ', 60) is not None
    check('it writes', up, machine.output[-500:])
    end = time.monotonic() + rng.uniform(0.2, 4)
    while time.monotonic() < end:
        machine.expect('no such text', 0.01)
    machine.process.kill()
    rest, _ = machine.process.communicate()
    text = machine.output + rest.decode('utf-8', 'replace')
    return [int(n) for n in re.findall(r'ACK (\d+) END', text)]


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    return done.returncode, done.stdout


def look(work, image, number, files):
    """On a copy of the disk: what a person would find. `files` has the numbers whose contents each may have."""
    raw = f'{work}/look'
    if image.endswith('.qcow2'):
        status, out = run('qemu-img', 'check', image)
        check(f'kill {number}: the image has no errors', status in (0, 3), out.decode())
        subprocess.run([RING3, 'disk', 'convert', '--force', '--format', 'raw', image, raw], check=True)
    else:
        subprocess.run(['cp', '--sparse=always', image, raw], check=True)
    status, out = run('/sbin/e2fsck', '-p', raw)
    check(f'kill {number}: the journal is replayed', status in (0, E2FSCK_FIXED), out.decode())
    status, out = run('/sbin/e2fsck', '-fn', raw)
    check(f'kill {number}: the file system is in order', status == 0, out.decode())
    lost = []
    for slot, numbers in files.items():
        status, data = run('/sbin/debugfs', '-R', f'cat /file-{slot}', raw)
        data = data.split(b'\n', 1)[1]  # behind debugfs's own first line
        if data not in [contents(n) for n in numbers]:
            lost.append(f'file-{slot} of {numbers}: {len(data)} bytes, {data[:40]!r}')
    check(f'kill {number}: all {len(files)} files that were acknowledged are there', not lost, '\n'.join(lost))


def make_disk(work, image, kind):
    raw = f'{work}/empty'
    with open(raw, 'wb') as f:
        f.truncate(SIZE)
    subprocess.run(['/sbin/mke2fs', '-q', '-t', 'ext4', raw], check=True)
    subprocess.run([RING3, 'disk', 'convert', '--format', kind, raw, image], check=True)


def series(work, system, kind, rng):
    image, files, last = f'{work}/disk.{kind}', {}, 0
    make_disk(work, image, kind)
    for number in range(1, KILLS + 1):
        acknowledged = write_until_killed(system, f'{image},format={kind}', last, rng)
        for n in acknowledged:
            files[n % SLOTS] = [n]
            last = n
        print(f'     {kind}: {len(acknowledged)} files before kill {number}')
        last += 1  # was under way: is there, or not
        if last % SLOTS in files:
            files[last % SLOTS].append(last)
        look(work, image, number, files)


def main():
    system = need_debian()
    seed = int(os.environ.get('RING3_TEST_SEED', time.time_ns() % 1000000))
    print(f'seed {seed}')
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        for kind in ('raw', 'qcow2'):
            series(work, system, kind, rng)
    finish()


main()
