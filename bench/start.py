"""How long it takes to start, and what memory that costs beside the guest's own:

    first-instruction   from the start of the process to a byte that firmware writes to port 0xe9 with its first instructions (first.S)
    boot                from the start of the process to the first line of /init: Debian's kernel, 1 GiB, as in bench.py
    memory              of the process at that line, without guest RAM: resident pages and page tables
"""
import os
import platform
import re
import select
import shutil
import statistics
import subprocess
import sys
import time

from contender import Lines, MEMORY

ROWS = {'first-instruction': 'ms', 'boot': 's', 'memory': 'MiB'}
GOALS = {'first-instruction': 15, 'boot': 0.8}
LIMIT = 120  # seconds
INIT = re.compile(r'^TEST boot BEGINS')


def host():
    with open('/proc/cpuinfo', encoding='ascii', errors='replace') as f:
        found = re.search(r'^model name\s*: (.*)$', f.read(), re.M)
    return found.group(1) if found else platform.machine()


def overhead(pid):
    """MiB. Pages that are mapped several times are shared out among their mappings by the kernel (Pss), so the sum is right."""
    kib, counts = 0, False
    with open(f'/proc/{pid}/smaps', encoding='utf-8', errors='replace') as f:
        for line in f:
            word = line.split()
            if re.match(r'^[0-9a-f]+-[0-9a-f]+ ', line):
                counts = 'memfd:guest-ram' not in line
            elif word[0] == 'Size:' and int(word[1]) == MEMORY * 1024:
                counts = False  # QEMU's guest RAM has no name, but a size
            elif word[0] == 'Pss:' and counts:
                kib += int(word[1])
    with open(f'/proc/{pid}/status', encoding='utf-8') as f:
        kib += int(re.search(r'^VmPTE:\s+(\d+)', f.read(), re.M).group(1))
    return kib / 1024


def first_byte(command):
    """Milliseconds."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        there = select.select([process.stdout], [], [], LIMIT)[0]
        byte = os.read(process.stdout.fileno(), 1) if there else None
        milliseconds = (time.monotonic() - begin) * 1000
        process.kill()
    return milliseconds if byte == b'!' else None


def boot(command):
    """Seconds and MiB."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        lines, seconds, memory = Lines(process), None, None
        while seconds is None:
            line = lines.next(LIMIT)
            if line is None:
                break
            if INIT.match(line[0]):
                seconds, memory = line[1] - begin, overhead(process.pid)
        process.kill()
    return seconds, memory


def commands(build, have_tcg):
    """By contender: what starts the tiny firmware, what boots the kernel."""
    first = os.path.abspath(f'{build}/bench/first.bin')
    kernel, initramfs = (os.path.abspath(f'{build}/guest/{name}') for name in ('vmlinuz', 'initramfs.gz'))
    linux = ['-kernel', kernel, '-initrd', initramfs, '-append', 'console=ttyS0 ring3.test=boot', '-m', str(MEMORY)]
    ring3 = [f'{build}/ring3', 'run', '--engine', 'translate']
    found = {'ring3': ([*ring3, '--serial', 'null', '--debugcon', 'stdio', '-m', str(MEMORY), '--firmware', first], [*ring3, *linux])}
    if have_tcg:
        qemu = ['qemu-system-x86_64', '-accel', 'tcg,thread=single', '-cpu', 'max', '-display', 'none', '-nodefaults']
        found['TCG'] = ([*qemu, '-debugcon', 'stdio', '-m', str(MEMORY), '-bios', first], [*qemu, '-serial', 'stdio', '-no-reboot', *linux])
    return found


class Starts:
    """The rows of this file that are wanted; samples by row and contender."""

    def __init__(self, build, rows, have_tcg):
        self.rows = rows
        self.commands = commands(build, have_tcg and shutil.which('qemu-system-x86_64'))
        self.samples = {row: {who: [] for who in self.commands} for row in rows}

    def take(self, row, who, value):
        if row in self.rows and value is not None:
            self.samples[row][who].append(value)

    def round(self, number, rounds):
        if not self.rows:
            return
        for who, (first, linux) in self.commands.items():
            print(f'round {number} of {rounds}, {who}: starts', file=sys.stderr, flush=True)
            if 'first-instruction' in self.rows:
                self.take('first-instruction', who, first_byte(first))
            if 'boot' in self.rows or 'memory' in self.rows:
                seconds, memory = boot(linux)
                self.take('boot', who, seconds)
                self.take('memory', who, memory)

    def problems(self):
        for row, by_who in self.samples.items():
            for who, samples in by_who.items():
                if not samples:
                    yield f'{row}, {who}: no result within {LIMIT} s'

    def print(self):
        if not self.rows:
            return
        print('\n| start | ' + ' | '.join(self.commands) + ' | goal |')
        print('| --- |' + ' ---: |' * (len(self.commands) + 1))
        for row in self.rows:
            unit = ROWS[row]
            cells = [f'{statistics.median(s):.2f} {unit}' if s else '-' for s in self.samples[row].values()]
            goal = f'{GOALS[row]} {unit}' if row in GOALS else ''
            print(f'| {row} | ' + ' | '.join(cells) + f' | {goal} |')
