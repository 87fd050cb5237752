#!/usr/bin/python3
"""A stock cloud image as its user has it: imported, made larger, configured by cloud-init, entered by SSH, rebooted, booted by GRUB.

    test_cloud.py BUILD

The disk is the one that cloud.py makes.
"""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

from cloud import need_cloud
from harness import RING3, Running, check, finish, run_command, skip

NAME = 'cloud-test'
SEABIOS = '/usr/share/seabios/bios-256k.bin'
SECONDS = 600  # to the end of cloud-init; a host with two cores may be busy
DATA = '''#cloud-config
hostname: of-user-data
ssh_authorized_keys:
  - {key}
write_files:
  - path: /etc/written
    content: "by cloud-init\\n"
runcmd:
  - echo run >> /var/runs
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def make_key(path):
    subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path], check=True, stdin=subprocess.DEVNULL)
    with open(f'{path}.pub', encoding='ascii') as f:
        return f.read().strip()


def own_images(work):
    """The environment for images that only this test has."""
    return {**os.environ, 'XDG_DATA_HOME': work}


class Machine(Running):
    """Started by name; its images and its key are in `work`."""

    def __init__(self, work, key, *options):
        self.key, self.port = f'{work}/{key}', free_port()
        super().__init__(*run_command(NAME, '--net', f'nat,hostfwd=tcp:127.0.0.1:{self.port}-:22', *options), env=own_images(work))

    def boots(self, what):
        """Until cloud-init has done all that it does at this start."""
        took = self.expect('finished at', SECONDS)
        if check(f'{what}: cloud-init comes to its end', took is not None, self.output[-2000:]):
            print(f'     after {took:.1f} s')
            self.output = self.output[self.output.index('finished at') + 1:]
        return took is not None

    def ssh(self, command):
        words = ['ssh', '-F', 'none', '-i', self.key, '-p', str(self.port), '-o', 'StrictHostKeyChecking=no', '-o',
                 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR', '-o', 'ConnectTimeout=60',
                 'debian@127.0.0.1', command]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            return 'no answer'
        return done.stdout + done.stderr

    def in_order(self, what):
        status = self.ssh('cloud-init status --wait --long')
        check(f'{what}: cloud-init says done', 'status: done' in status and "errors: ['" not in status, status)
        failed = self.ssh('systemctl --failed --no-legend --plain')
        check(f'{what}: no unit failed', failed == '', failed)

    def power_off(self, what):
        self.ssh('sudo poweroff')
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            status = self.end()
        check(f'{what}: poweroff ends it with status 0', status == 0, status)


def first(work):
    """The kernel that is on the disk, and all that user data asks for."""
    key = make_key(f'{work}/key')
    with open(f'{work}/user-data', 'w', encoding='ascii') as f:
        f.write(DATA.format(key=key))
    machine = Machine(work, 'key', '--cloud-init', f'{work}/user-data')
    if not machine.boots('first start'):
        machine.end()
        return
    machine.in_order('first start')
    told = machine.ssh('hostname; cat /etc/written; sudo cat /var/runs; sudo id -u')
    check('what user data says is done', told.split('\n') == ['of-user-data', 'by cloud-init', 'run', '0', ''], told)
    size = machine.ssh('df --output=size -BM / | tail -1')
    check('the root has grown to the disk', re.fullmatch(r'\s*3[0-9]{3}M\n', size), size)
    line = machine.ssh('cat /proc/cmdline; cat /sys/class/block/vda1/uevent')
    check('it is started by what grub.cfg says', 'root=PARTUUID=' in line and 'console=tty0 console=ttyS0,115200' in line, line)
    machine.ssh('sudo reboot')
    if machine.boots('reboot'):
        machine.in_order('reboot')
        again = machine.ssh('sudo cat /var/runs')
        check('the instance is the same', again == 'run\n', again)
    machine.power_off('found kernel')


def second(work):
    """Its own boot loader, two processors, and a key from the command line: another instance."""
    make_key(f'{work}/other')
    machine = Machine(work, 'other', '--firmware', SEABIOS, '--cpus', '2', '--cloud-init', f'ssh-key={work}/other.pub')
    check('GRUB', machine.expect('GRUB', 60) is not None, machine.output)
    if not machine.boots('GRUB'):
        machine.end()
        return
    machine.in_order('GRUB')
    told = machine.ssh('nproc; grep -c ssh- ~/.ssh/authorized_keys; cat /etc/written')
    check('a key is enough to get in', told.startswith('2\n') and told.endswith('by cloud-init\n'), told)
    machine.power_off('GRUB')


def main():
    if not shutil.which('ssh') or not shutil.which('ssh-keygen'):
        skip('ssh is not installed (package openssh-client)')
    if not os.path.exists(SEABIOS):
        skip('package seabios is not installed')
    disk = need_cloud()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(disk)) as work:
        done = subprocess.run([RING3, 'image', 'import', disk, NAME, '--size', '4G'], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120, env=own_images(work), check=False)
        if check('a compressed image is imported', done.returncode == 0, done.stderr):
            first(work)
            second(work)
    print(f'     {time.monotonic() - begin:.0f} s in all')
    finish()


main()
