#!/usr/bin/python3
"""Boots Debian's kernel, lets it run a script of tests/system/guest, and reads its log.

    boot_linux.py BUILD CPUS SCRIPT [OPTION...]

The guest has to power itself off with status 0, the script has to pass, all processors and most of the memory have to be there, and
the kernel must not warn about anything but what EXPECTED lists.
"""
import re
import sys

from harness import ENGINE, check, complaints, finish, need_guest, ring3, run_command

MEMORY = 512  # MiB
MEMORY_LEAST = 440 * 1024  # KiB that the kernel leaves
SECONDS = 400  # a host with two cores may be busy

# Warnings that the same kernel gives on any machine of this make: each with its reason.
EXPECTED = [
    # The host bridge is from before PCI Express and has no such space.
    r'fail to add MMCONFIG information',
]


def guest_log(cpus, script, options):
    kernel, initramfs = need_guest()
    command = run_command('--kernel', kernel, '--initramfs', initramfs, '--memory', str(MEMORY), '--cpus', str(cpus),
                          '--cmdline', f'console=ttyS0 ring3.test={script}', '--no-reboot', *options)
    status, out, err = ring3(*command, timeout=SECONDS)
    check('the guest powered off', status == 0, f'status {status}, {err}')
    check('ring3 says which engine runs', err.startswith(f'ring3: engine: {ENGINE or ""}'), err)
    check('ring3 has nothing else to say', len(err.splitlines()) == 1, err)
    return out.replace('\r', '')


def warnings(log):
    """What the kernel logged at the levels warn and above, and traces whatever their level."""
    found = re.findall(r'^warning: (.*)$', log, re.M)
    return [line for line in found + complaints(log) if not any(re.search(e, line) for e in EXPECTED)]


def number(log, pattern):
    found = re.search(pattern, log, re.M)
    return int(found.group(1)) if found else -1


def main():
    cpus, script, options = int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    log = guest_log(cpus, script, options)
    passed = check(f'{script} passed', f'TEST {script} PASSED' in log)
    if script == 'boot':
        check('processors', number(log, r'^processors: (\d+)') == cpus)
        check('memory', number(log, r'^memory: (\d+)') >= MEMORY_LEAST)
        check('the kernel has no warning', not warnings(log), '\n'.join(warnings(log)))
    if not passed:
        print(log)
    finish()


main()
