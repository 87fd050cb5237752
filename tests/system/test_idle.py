#!/usr/bin/python3
"""A guest that idles costs the host under 3% of one core."""
import time

from harness import Running, check, finish, need_guest, run_command

SECONDS = 12  # of the 20 that the guest sleeps
LIMIT = 0.03

kernel, initramfs = need_guest()
guest = Running(*run_command('--kernel', kernel, '--initramfs', initramfs, '--memory', '512M',
                             '--cmdline', 'console=ttyS0 ring3.test=idle'))
if check('the guest comes up', guest.expect('idle from', 300) is not None, guest.output[-2000:]):
    time.sleep(3)  # what the kernel puts off until after the boot
    before, begin = guest.cpu_seconds(), time.monotonic()
    time.sleep(SECONDS)
    share = (guest.cpu_seconds() - before) / (time.monotonic() - begin)
    check(f'{share * 100:.1f}% of a core is under {LIMIT * 100:.0f}%', share < LIMIT)
check('ends', guest.end() == 0)
finish()
