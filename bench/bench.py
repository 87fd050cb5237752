#!/usr/bin/python3
"""How fast ring3 is, beside other emulators where they are installed.

    bench.py BUILD [RUNS]

Boots Debian's kernel (tools/guest-kernel) in each emulator RUNS times (default 3), in turns so that a busy moment of the host meets
all of them, and prints medians of host seconds: from the start of the process to the guest's /init, and for each row of
tests/system/guest/bench.sh. Ratios are against ring3. The first line of the rows says how many guest instructions a second ring3
carried out over a whole run.
"""
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bochs
from contender import Lines
from start import host

MEMORY = 1024  # MiB
CMDLINE = 'console=ttyS0 ring3.test=bench'
BEGIN = re.compile(r'^TEST bench BEGINS')
ROW = re.compile(r'^BENCH (\S+) (BEGINS|ENDS)')
END = re.compile(r'^TEST bench (PASSED|FAILED)')
LIMIT = 900  # seconds for one run


class Emulator:
    def __init__(self, name, command, cwd=None):
        self.name, self.command, self.cwd = name, command, cwd

    def run(self):
        """Seconds by row, and what it said on standard error."""
        rows, begun = {}, {}
        start = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=self.cwd)
            lines = Lines(process)
            while True:
                line, now = lines.next(start + LIMIT - time.monotonic()) or ('', None)
                if now is None:
                    break
                found = ROW.match(line)
                if BEGIN.match(line):
                    rows['boot to /init'] = now - start
                elif found and found.group(2) == 'BEGINS':
                    begun[found.group(1)] = now
                elif found and found.group(1) in begun:
                    rows[found.group(1)] = now - begun[found.group(1)]
                elif END.match(line):
                    break
            self.finish(process)
            rows['whole run'] = time.monotonic() - start
            errors.seek(0)
            return rows, errors.read().decode('utf-8', 'replace')

    def finish(self, process):
        """Most power off by themselves."""
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def emulators(build, folder):
    kernel, initramfs = (os.path.abspath(f'{build}/guest/{name}') for name in ('vmlinuz', 'initramfs.gz'))
    boot = ['-kernel', kernel, '-initrd', initramfs, '-append', CMDLINE, '-m', str(MEMORY)]
    yield Emulator('ring3 interp', [f'{build}/ring3', 'run', '--engine', 'interp', '--stats', *boot])
    yield Emulator('ring3 translate', [f'{build}/ring3', 'run', '--engine', 'translate', *boot])
    if shutil.which('qemu-system-x86_64'):
        yield Emulator('QEMU TCG', ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-display', 'none', '-nodefaults', '-serial', 'stdio', '-no-reboot', *boot])
    else:
        print('QEMU is not installed (package qemu-system-x86)')
    problem = bochs.missing()
    if problem:
        print(f'Bochs is left out: {problem}')
    else:
        yield Emulator('Bochs', bochs.prepare(folder, kernel, initramfs, CMDLINE, MEMORY), folder)


def instructions(errors):
    """Of all processors, from --stats."""
    return sum(int(n) for n in re.findall(r'processor \d+: instructions (\d+)', errors))


def measure(all_emulators, runs):
    """Rows of each emulator, as lists of seconds; and ring3's instructions a second."""
    times = {e.name: {} for e in all_emulators}
    speeds = []
    for turn in range(runs):
        for e in all_emulators:
            rows, errors = e.run()
            print(f'run {turn + 1} of {runs}, {e.name}: {rows["whole run"]:.1f} s', file=sys.stderr, flush=True)
            for row, seconds in rows.items():
                times[e.name].setdefault(row, []).append(seconds)
            if instructions(errors):
                speeds.append(instructions(errors) / rows['whole run'])
    return times, speeds


def print_table(times, speeds):
    names = list(times)
    first = times[names[0]]
    if speeds:
        print(f'ring3 interp: {statistics.median(speeds) / 1e6:.0f} million guest instructions a second\n')
    print('| row | ' + ' | '.join(f'{n}, s' for n in names) + ' | ' + ' | '.join(f'{n} / {names[0]}' for n in names[1:]) + ' |')
    print('| --- |' + ' ---: |' * (2 * len(names) - 1))
    for row in first:
        cells = [statistics.median(times[n][row]) if row in times[n] else None for n in names]
        ratios = [c / cells[0] if c else None for c in cells[1:]]
        shown = [f'{c:.2f}' if c is not None else '-' for c in cells + ratios]
        print(f'| {row} | ' + ' | '.join(shown) + ' |')


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f'Host: {host()}, {os.cpu_count()} cores, Linux {platform.release()}; guest with {MEMORY} MiB, one processor; medians of {runs} runs')
    with tempfile.TemporaryDirectory(prefix='ring3-bench-') as folder:
        times, speeds = measure(list(emulators(sys.argv[1], folder)), runs)
    print_table(times, speeds)


main()
