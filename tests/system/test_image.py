#!/usr/bin/python3
"""`ring3 image`: a Debian image is made, runs to a login, powers off; names, use, import, and what is refused.

    test_image.py BUILD
"""
import gzip
import json
import lzma
import os
import re
import signal
import subprocess
import tempfile
import time

import archive
from debian import ENVIRONMENT, NAME, call, need_debian
from harness import RING3, Running, check, finish, run_command

SECONDS = 120  # to the prompt; a host with two cores may be busy
PROMPT = f'root@{NAME}:~# '


KEYS = 'ssh-ed25519 AAAAone one@host\n# none\n\nssh-rsa AAAAtwo "two" \\\\host\n'
USER_DATA = '''#cloud-config
ssh_authorized_keys:
  - "ssh-ed25519 AAAAone one@host"
  - "ssh-rsa AAAAtwo \\"two\\" \\\\\\\\host"
password: "a, \\"b\\""
chpasswd: {expire: false}
'''


def seed(work):
    """What --cloud-init takes: keys, a password with all that has to be quoted, and a file."""
    for name, text in ('keys', KEYS), ('vendor', '#cloud-config\n# of-the-vendor\n'):
        with open(f'{work}/{name}', 'w', encoding='ascii') as f:
            f.write(text)
    return f'ssh-key={work}/keys,password=a,, "b",vendor-data={work}/vendor'


class Image(Running):
    """A run by name."""

    def __init__(self, *options):
        saved = dict(os.environ)
        os.environ.update(ENVIRONMENT)
        try:
            super().__init__(*run_command(NAME, *options))
        finally:
            os.environ.clear()
            os.environ.update(saved)

    def ask(self, line, seconds=60):
        """What a command printed."""
        self.output = ''
        self.type(f'{line}; echo "[$?]"\n')
        end = time.monotonic() + seconds
        while not re.search(r'^\[\d+\]', self.plain(), re.M) and time.monotonic() < end:
            self.expect('no such text', 0.3)
        return self.plain()

    def plain(self):
        """Without what is there for terminals: the shell puts some before the output of each command."""
        return re.sub(r'\x1b\[\??[0-9;]*[a-zA-Z]', '', self.output).replace('\r', '')


def boots(work):
    machine = Image('--cloud-init', seed(work))
    took = machine.expect('login: ', SECONDS)
    if check('a login on the console', took is not None, machine.output[-2000:]):
        print(f'     after {took:.1f} s')
    check('root has a prompt', machine.expect('~# ', 60) is not None, machine.output[-500:])
    if machine.process.poll() is None:
        inside(machine)
        installs(machine, work)
        refused()
        machine.type('poweroff\n')
    try:
        status = machine.process.wait(60)
    except subprocess.TimeoutExpired:
        status = machine.end()
    check('poweroff ends it with status 0', status == 0, status)


def inside(machine):
    check('nothing failed', '0 loaded units' in machine.ask('systemctl --failed --no-pager'), machine.output)
    check('the root can be written to', '[0]' in machine.ask('touch /var/written && sync'), machine.output)
    check('its name', NAME in machine.ask('hostname'), machine.output)
    check('networkd and resolved are there', machine.ask('systemctl is-active systemd-networkd systemd-resolved').count('\nactive') == 2,
          machine.output)
    check('the modules for shared folders are there', '[0]' in machine.ask('modprobe 9pnet_virtio && modprobe 9p'), machine.output)
    check('the volume of cloud-init can be mounted', '[0]' in machine.ask('mkdir -p /run/seed; mount LABEL=CIDATA /run/seed'), machine.output)
    check('a file is on it', 'of-the-vendor' in machine.ask('cat /run/seed/vendor-data'), machine.output)
    user = machine.ask('cat /run/seed/user-data')
    check('and user data with keys and a password', USER_DATA in user, user)


def installs(machine, work):
    """A package through the network, as a user has it: there, run, and gone without a trace."""
    os.mkdir(f'{work}/archive')
    archive.make(f'{work}/archive')
    machine.ask(archive.use(archive.serve(f'{work}/archive')))
    machine.ask('until ip route | grep -q default; do sleep 0.2; done')
    begin = time.monotonic()
    check('apt-get update', '[0]' in machine.ask('apt-get -q update', 120), machine.output)
    check('apt-get install', '[0]' in machine.ask(f'apt-get -qy install {archive.PACKAGE} < /dev/null', 120), machine.output)
    print(f'     both took {time.monotonic() - begin:.1f} s')
    check('what it installed runs', 'a sample says configure\n' in machine.ask(archive.PACKAGE), machine.output)
    check('apt-get purge', '[0]' in machine.ask(f'apt-get -qy purge {archive.PACKAGE} < /dev/null', 120), machine.output)
    left = f'ls -d /etc/{archive.PACKAGE}.conf /usr/share/{archive.PACKAGE} /var/lib/{archive.PACKAGE}'
    check('and leaves nothing', machine.ask(left).count('No such file') == 3, machine.output)


def refused():
    """While it runs."""
    status, _, err = call(*run_command(NAME))
    check('a second machine of it is refused', status == 2 and 'in use by another machine' in err and len(err.splitlines()) == 1, err)
    status, _, err = call('image', 'remove', NAME)
    check('and so is removing it', status == 2 and 'is in use by a machine' in err, err)
    found = [i for i in json.loads(call('image', 'list', '--json')[1]) if i['name'] == NAME]
    check('list says that it is in use', found and found[0]['used'], found)


def messages():
    for arguments, text in [
            (['run', 'debian-tost'], f'is it {NAME} that is meant?'),
            (['run', 'something-else-entirely'], 'ring3 image list'),
            (['run', './nothing'], 'no such file'),
            (['run', NAME, 'other'], 'only one image is started'),
            (['image', 'debian', NAME], 'is there already'),
            (['image', 'debian', '../x'], 'not a name for an image'),
            (['image', 'debian', 'x', '--size', '10'], 'not a size'),
            (['image', 'debian', 'x', '--size', '100M'], 'give 1G or more'),
            (['image', 'debian', 'x', '--suite', '-x'], 'not a suite'),
            (['image', 'debian', 'x', '--moon', '1'], 'no such option'),
            (['image', 'debian'], 'usage: ring3 image debian'),
            (['image', 'import', '/nonexistent'], '/nonexistent: No such file'),
            (['image', 'import', '/etc/passwd', 'x'], 'not the image of a disk'),
            (['image', 'import', '/etc/passwd', 'x', '--format', 'vmdk'], 'give raw or qcow2'),
            (['image', 'remove', 'nothing'], 'no such file or image'),
            (['image', 'list', 'x'], 'one argument too many'),
            (['image', 'moon'], 'no such action'), (['image'], 'nothing to do')]:
        status, _, err = call(*arguments)
        check(' '.join(arguments), status == 2 and text in err and len(err.splitlines()) == 1, f'{status} {err}')


def interrupted():
    """Ctrl-C, in the middle."""
    with subprocess.Popen([RING3, 'image', 'debian', 'cut'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env=ENVIRONMENT) as machine:
        lines = []
        for line in machine.stderr:
            lines.append(line)
            if 'apt-get update' in line:
                machine.send_signal(signal.SIGINT)
    check('Ctrl-C ends image debian', machine.returncode == -signal.SIGINT, f'{machine.returncode} {lines}')
    left = [n for n in os.listdir(f'{ENVIRONMENT["XDG_DATA_HOME"]}/ring3/images') if n != NAME]
    check('and leaves no image', not left, left)


def make_disk(path):
    with open(path, 'wb') as f:
        f.truncate(16 << 20)
    subprocess.run(['/sbin/mke2fs', '-q', '-t', 'ext4', path], check=True)
    with open(path, 'rb') as f:
        return f.read()


def imports(work):
    disk, names = f'{work}/a.img', []
    data = make_disk(disk)
    with lzma.open(f'{work}/b.raw.xz', 'wb') as f:
        f.write(data)
    with gzip.open(f'{work}/c.img.gz', 'wb') as f:
        f.write(data)
    subprocess.run(['qemu-img', 'convert', '-O', 'qcow2', disk, f'{work}/d.qcow2'], check=True)
    for file, name, options in [('a.img', 'a', ['--format', 'raw']), ('b.raw.xz', 'b', []), ('c.img.gz', 'c', ['--size', '32M']),
                                ('d.qcow2', 'd', [])]:
        call('image', 'remove', name)
        status, _, err = call('image', 'import', f'{work}/{file}', *options)
        if not check(f'import {file}', status == 0, err):
            continue
        names.append(name)
        path = call('image', 'path', name)[1].strip()
        subprocess.run(['qemu-img', 'convert', '-O', 'raw', path, f'{work}/back'], check=True)
        with open(f'{work}/back', 'rb') as f:
            back = f.read()
        check(f'{name} has the same bytes', back[:len(data)] == data and len(back) == (32 << 20 if name == 'c' else len(data)))
    with open(f'{work}/b.raw.xz', 'r+b') as f:
        f.truncate(os.path.getsize(f'{work}/b.raw.xz') // 2)
    status, _, err = call('image', 'import', f'{work}/b.raw.xz', 'half')
    check('half a file is refused', status == 2 and 'not all there' in err, err)
    listed = [i['name'] for i in json.loads(call('image', 'list', '--json')[1])]
    check('what was imported is listed, and nothing else', sorted(listed) == sorted([*names, NAME]), listed)
    for name in names:
        status, _, err = call('image', 'remove', name)
        check(f'remove {name}', status == 0, err)
    left = [n for n in os.listdir(f'{ENVIRONMENT["XDG_DATA_HOME"]}/ring3/images') if n != NAME]
    check('nothing is left of them', not left, left)


def main():
    need_debian()
    messages()
    interrupted()
    with tempfile.TemporaryDirectory() as work:
        imports(work)
        boots(work)
    finish()


main()
