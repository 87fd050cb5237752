#!/usr/bin/python3
"""The suite of programs (bench/programs): each row natively, in ring3 and in QEMU's TCG, in one session.

    suite.py BUILD [--class CLASS,...] [--rows ROW,...] [--rounds N] [--scale PERCENT] [--limit SECONDS] [--with-interp] [--no-tcg]
             [--json FILE] [--list]

Contenders take turns at each row, so that a busy moment of the host meets all of them; the table has medians over N rounds (3) of the
seconds and of the ratios within a round. Guests are started once for each round, and wait while others have their turn. Rows in which two threads or processes take turns are measured once
more with two processors. Status 1 only if a row went wrong: no result, or a checksum that differs from the native one.
"""
import argparse
import json
import os
import platform
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile

import contender
import image
import start

# Geometric means over the rows of a class, as multiples of the native time, that ring3 is after (docs/performance.md).
GOALS = {'integer': 1.25, 'memory': 1.1, 'branchy': 1.4, 'floating': 1.05, 'jit': 10, 'system': 2.2, 'start': None}
PAIRS = 'system, 2 processors'


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build')
    parser.add_argument('--class', dest='classes', type=lambda t: t.split(','), help=', '.join(GOALS))
    parser.add_argument('--rows', type=lambda t: t.split(','))
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--scale', type=int, default=100, metavar='PERCENT', help='of the work')
    parser.add_argument('--limit', type=int, default=120, metavar='SECONDS', help='for one row')
    parser.add_argument('--with-interp', action='store_true', help='the interpreter too')
    parser.add_argument('--no-tcg', action='store_true')
    parser.add_argument('--json', metavar='FILE', help='every sample')
    parser.add_argument('--list', action='store_true', help='show the rows')
    return parser.parse_args()


def find_rows(folder):
    """(class, program, row, pair) of all programs that were built."""
    rows = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        mode = os.stat(path).st_mode
        if '.' in name or name == 'init' or not stat.S_ISREG(mode) or not mode & 0o100:
            continue
        listed = subprocess.run([path], stdout=subprocess.PIPE, text=True, check=True, timeout=10).stdout
        for line in listed.splitlines():
            kind, row, pair = line.split()
            rows.append((kind, name, row, pair == '1'))
    return sorted(rows, key=lambda r: list(GOALS).index(r[0]))


def median(values):
    values = [v for v in values if v]
    return statistics.median(values) if values else None


def say(text):
    """Progress."""
    sys.stderr.write(text)
    sys.stderr.flush()


class Group:
    """Rows that are measured together: the same contenders, the same number of processors."""

    def __init__(self, rows, cpus, contenders):
        self.rows, self.cpus, self.contenders = rows, cpus, contenders
        self.samples = {}  # (row, contender) -> [Result]

    def round(self, options, number):
        say(f'round {number} of {options.rounds}, {self.cpus} processor(s): starting the guests\n')
        try:
            for who in self.contenders:
                who.start()
            for _, program, row, _ in self.rows:
                say(f'  {row:16}')
                for who in self.contenders:
                    result = who.measure(program, row, options.scale, options.limit)
                    self.samples.setdefault((row, who.name), []).append(result)
                    say(f' {who.name} {result.problem or f"{result.seconds:.3f}"}')
                say('\n')
        finally:
            for who in self.contenders:
                who.stop()

    def problems(self):
        """Rows without a result, and checksums that are not the native ones."""
        for (row, who), results in self.samples.items():
            native = {r.checksum for r in self.samples[row, 'native'] if r.checksum}
            for r in results:
                if r.problem:
                    yield f'{row}, {who}: {r.problem}'
                elif r.checksum not in native:
                    yield f'{row}, {who}: checksum {r.checksum}, native {" ".join(sorted(native)) or "none"}'

    def seconds(self, row, who):
        """One for each round; None where it went wrong."""
        return [r.seconds for r in self.samples.get((row, who), [])]

    def median(self, row, who):
        return median(self.seconds(row, who))

    def ratio(self, row, who, other):
        """The median of the rounds' ratios: within a round both met the same host."""
        return median([a / b if a and b else None for a, b in zip(self.seconds(row, who), self.seconds(row, other))])


def make_groups(options, rows, folder, initramfs):
    kernel = os.path.abspath(f'{options.build}/guest/vmlinuz')
    have_tcg = not options.no_tcg and shutil.which('qemu-system-x86_64')
    if not have_tcg:
        print('QEMU is left out' if options.no_tcg else 'QEMU is not installed (package qemu-system-x86)')

    def contenders(cpus):
        yield contender.Native(folder, cpus, {row for kind, _, row, _ in rows if kind == 'system'})
        yield contender.Guest('ring3', contender.ring3(options.build, 'translate', cpus, kernel, initramfs))
        if options.with_interp:
            yield contender.Guest('interp', contender.ring3(options.build, 'interp', cpus, kernel, initramfs))
        if have_tcg:
            yield contender.Guest('TCG', contender.tcg(cpus, kernel, initramfs))

    groups = [Group(rows, 1, list(contenders(1)))]
    pairs = [(PAIRS, program, row, pair) for _, program, row, pair in rows if pair]
    if len(os.sched_getaffinity(0)) > 1:
        groups.append(Group(pairs, 2, list(contenders(2))))
    return [g for g in groups if g.rows]


def show(value, digits=2):
    return f'{value:.{digits}f}' if value else '-'


def geometric_mean(values):
    values = [v for v in values if v]
    return statistics.geometric_mean(values) if values else None


def print_class(group, kind, names):
    """The rows of one class, and their means."""
    columns = {n: [] for n in names}
    for _, _, row, _ in [r for r in group.rows if r[0] == kind]:
        times = [group.ratio(row, n, 'native') for n in names]
        against = group.ratio(row, 'ring3', 'TCG')
        native = show(group.median(row, 'native'), 4)
        slow = ' slower than TCG' if against and against > 1 else ''
        for n, t in zip(names, times):
            columns[n].append(t)
        print(f'| {row} | {native} | ' + ' | '.join(show(t) for t in times) + f' | {show(against)}{slow} |')
    means = [geometric_mean(columns[n]) for n in names]
    goal = GOALS.get(kind.split(',')[0])
    print(f'| **{kind}**' + (f', goal {goal}' if goal else '') + ' | | ' + ' | '.join(f'**{show(m)}**' for m in means) + ' | |')


def print_groups(groups):
    names = [c.name for c in groups[0].contenders if c.name != 'native']
    print('| row | native, s | ' + ' | '.join(f'{n}, times native' for n in names) + ' | ring3 / TCG |')
    print('| --- |' + ' ---: |' * (len(names) + 2))
    for group in groups:
        for kind in dict.fromkeys(r[0] for r in group.rows):
            print_class(group, kind, names)


def print_slower(groups):
    slower = [row for g in groups for _, _, row, _ in g.rows if (g.ratio(row, 'ring3', 'TCG') or 0) > 1]
    if slower:
        print(f'\n{len(slower)} rows are slower than in TCG: {", ".join(slower)}')


def as_json(groups, starts):
    rows = [{'row': row, 'contender': who, 'processors': g.cpus, 'class': next(r[0] for r in g.rows if r[2] == row),
             'seconds': [r.seconds for r in results], 'checksums': [r.checksum for r in results],
             'problems': [r.problem for r in results]} for g in groups for (row, who), results in g.samples.items()]
    return {'host': start.host(), 'kernel': platform.release(), 'rows': rows, 'start': starts}


def main():
    options = arguments()
    folder = os.path.abspath(f'{options.build}/bench')
    rows = find_rows(folder)
    known = {r[2] for r in rows} | set(start.ROWS)
    unknown = [r for r in options.rows or [] if r not in known] + [c for c in options.classes or [] if c not in GOALS]
    if unknown:
        sys.exit(f'there is no {", ".join(unknown)}; --list shows the rows')
    if options.list:
        print('\n'.join([f'{kind:10} {row}' for kind, _, row, _ in rows] + [f'start      {row}' for row in start.ROWS]))
        return 0

    def chosen(kind, row):
        return (not options.classes or kind in options.classes) and (not options.rows or row in options.rows)

    rows = [r for r in rows if chosen(r[0], r[2])]
    start_rows = [row for row in start.ROWS if chosen('start', row)]
    print(f'Host: {start.host()}, {os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}; '
          f'guests with {contender.MEMORY} MiB; medians of {options.rounds} rounds\n')
    with tempfile.TemporaryDirectory(prefix='ring3-suite-') as scratch:
        initramfs = f'{scratch}/initramfs'
        image.write(initramfs, folder, sorted({program for _, program, _, _ in rows}))
        groups = make_groups(options, rows, folder, initramfs)
        starts = start.Starts(options.build, start_rows, not options.no_tcg)
        for number in range(1, options.rounds + 1):
            for group in groups:
                group.round(options, number)
            starts.round(number, options.rounds)
    if groups:
        print_groups(groups)
    starts.print()
    print_slower(groups)
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as f:
            json.dump(as_json(groups, starts.samples), f, indent=1)
    problems = [p for g in groups for p in g.problems()] + list(starts.problems())
    for p in problems:
        print(f'wrong: {p}')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
