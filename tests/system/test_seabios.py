#!/usr/bin/python3
"""SeaBIOS runs until it finds nothing to boot from."""
import os

from harness import Running, check, finish, run_command, skip

IMAGES = ['/usr/share/seabios/bios-256k.bin', '/usr/share/seabios/bios.bin']

if not all(os.path.exists(image) for image in IMAGES):
    skip('package seabios is not installed')
for image in IMAGES:
    for cpus in ('1', '2'):
        guest = Running(*run_command('--firmware', image, '--cpus', cpus, '--memory', '128M'))
        check(f'{os.path.basename(image)}, {cpus} cpu: no bootable device', guest.expect('No bootable device', 30) is not None, guest.output)
        check('ends', guest.end() == 0)
finish()
