#!/usr/bin/python3
"""What translation costs: Debian's kernel boots to /init and powers off, or ring3's own arguments say what is run.

    translation.py BUILD [ROUNDS [ARGUMENT...]]

Times are medians over ROUNDS (3), by ring3's --stats and by the processor time of the process; with other work on the host only the
latter says something, and both go up. An instruction counts as decoded once for each block that it is in."""
import os
import re
import resource
import statistics
import subprocess
import sys

COUNTERS = ('instructions decoded', 'blocks run as lists', 'blocks translated', 'instructions translated', 'blocks translated by copying',
            'blocks dead', 'blocks made again', 'cache drops', 'bytes of code', 'bytes of block tables')
TRANSLATION = 'microseconds in translation'


def command(build, arguments):
    guest = os.path.join(build, 'guest')
    linux = ['--kernel', f'{guest}/vmlinuz', '--initramfs', f'{guest}/initramfs.gz', '--cmdline', 'console=ttyS0 ring3.test=boot',
             '--memory', '1G', '--no-reboot']
    return [f'{build}/ring3', 'run', '--engine', 'translate', '--stats', *(arguments or linux)]


def measure(words):
    """Sums of the counters over the processors, with the seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f'translation.py: status {done.returncode}: {done.stderr[-500:]}')
    found = {'user': after.ru_utime - before.ru_utime, 'system': after.ru_stime - before.ru_stime}
    for name, value in re.findall(r'^ring3: processor \d+: (.*) (\d+)$', done.stderr, re.M):
        found[name] = found.get(name, 0) + int(value)
    return found


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    samples = [measure(command(sys.argv[1], sys.argv[3:])) for _ in range(rounds)]
    median = {name: statistics.median(s.get(name, 0) for s in samples) for name in samples[0]}
    for name in COUNTERS:
        print(f'{name:32} {median.get(name, 0):12.0f}')
    insns = median.get('instructions translated') or 1
    print(f'{"host bytes for an instruction":32} {median["bytes of code"] / insns:12.1f}')
    print(f'{"ns for an instruction":32} {1000 * median[TRANSLATION] / insns:12.0f}')
    print(f'{"seconds, user and system":32} {median["user"]:7.2f} {median["system"]:4.2f}')


main()
