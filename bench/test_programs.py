#!/usr/bin/python3
"""Runs every row of the benchmark suite natively with the least work there is, and compares what it computed with checksums.txt.

    test_programs.py FOLDER [--update]

FOLDER has the programs as the build made them. --update writes checksums.txt anew, for rows whose work was changed on purpose.
"""
import os
import sys

import contender
import suite

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKSUMS = os.path.join(HERE, 'programs', 'checksums.txt')
SCALE, LIMIT = 1, 30  # per cent, seconds


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ['--update']):
        sys.exit(__doc__)
    rows = suite.find_rows(sys.argv[1])
    native = contender.Native(sys.argv[1], 1)
    results = {row: native.measure(program, row, SCALE, LIMIT) for _, program, row, _ in rows}
    if sys.argv[2:]:
        with open(CHECKSUMS, 'w', encoding='ascii') as f:
            f.writelines(f'{row} {r.checksum}\n' for row, r in sorted(results.items()) if r.checksum)
    with open(CHECKSUMS, encoding='ascii') as f:
        wanted = dict(line.split() for line in f)
    skipped = {row for row, r in results.items() if r.problem and r.problem.startswith('status 77')}
    wrong = {row for row in {**results, **wanted} if row not in results or results[row].checksum != wanted.get(row)} - skipped
    for row in sorted(wrong):
        result = results.get(row)
        print(f'{row}: {result.problem or result.checksum if result else "no such row"}, expected {wanted.get(row, "nothing")}')
    print(f'{len(results)} rows, {len(wrong)} wrong, {len(skipped)} skipped')
    return 1 if wrong or not results else 0


sys.exit(main())
