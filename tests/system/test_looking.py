#!/usr/bin/python3
"""Ways to look inside the translator: the map for perf, counters, and --check with its end."""
import os
import re
import stat
import subprocess

from harness import BUILD, RING3, check, finish

GUEST = ['run', '--engine', 'translate', '--debug-exit', '--memory', '64', '--kernel', os.path.join(BUILD, 'guests', 'compat.elf')]
PASSED = 1  # the debug exit's status for 0


def run(*options):
    """Process number, status, standard output, standard error."""
    with subprocess.Popen([RING3, *GUEST, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        out, err = p.communicate(timeout=60)
    return p.pid, p.returncode, out, err


def check_perf_map():
    pid, status, _, err = run('--perf-map', '--translate-after', '0')
    path = f'/tmp/perf-{pid}.map'
    check('perf map: the guest passes', status == PASSED, err)
    if not check('perf map: the file is there', os.path.exists(path)):
        return
    check('perf map: nobody else reads it', stat.S_IMODE(os.stat(path).st_mode) == 0o600)
    with open(path, encoding='ascii') as f:
        lines = f.read().splitlines()
    os.unlink(path)
    form = re.compile(r'[0-9a-f]+ [1-9a-f][0-9a-f]* (ring3_glue|guest_0x[0-9a-f]+_(kernel|user))')
    check('perf map: the form of its lines', all(form.fullmatch(line) for line in lines), lines[:3])
    check('perf map: blocks', sum('guest_0x' in line for line in lines) > 50, len(lines))


def check_stats():
    _, status, _, err = run('--stats')
    check('counters: the guest passes', status == PASSED, err)
    for name in ('blocks translated', 'left to semantics: OUT_DX_AL', 'bytes of code', 'bytes of block tables', 'bytes of windows',
                 'microseconds in translated code', 'microseconds in semantics', 'microseconds in translation'):
        check(f'counters: {name}', re.search(rf'processor 0: {name}.* [1-9]\d*$', err, re.M), err)


def check_check():
    _, status, out, err = run('--check', '--stats')
    check('check: the guest passes', status == PASSED and 'PASS' in out, err)
    found = re.search(r'instructions checked (\d+)', err)
    check('check: it was at work', found and int(found.group(1)) > 1000, err)


check_perf_map()
check_stats()
check_check()
finish()
