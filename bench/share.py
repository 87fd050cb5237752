#!/usr/bin/python3
"""How fast a shared folder is: find and git status in a checkout of 5000 files, on the host and in guests.

    bench/share.py BUILD [RUNS]

The same kernel and programs (the host's own, by its root file system), one processor, cache=loose as a guest would use it, and warm:
the median of RUNS (10) after the first. ring3 runs them by --root; beside it a file system in the guest's memory, which is what the
engine costs without the share (the overlay of --root costs as well); QEMU (TCG, -virtfs) where it is installed, with the initial file system that ring3 would use.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
ROWS = {'find': 'find . -name nothing', 'find -newer': 'find . -newermt 2040-01-01', 'git status': 'git --no-optional-locks status -s'}
# Seconds of each run, by the guest's clock, after one for the caches.
LOOP = r'''
import subprocess,sys,time
for name,command in %r.items():
    times=[]
    for n in range(%d + 1):
        begin=time.monotonic()
        subprocess.run(command.split(),stdout=subprocess.DEVNULL,check=True)
        times.append(time.monotonic()-begin)
    print(name,*times[1:],sep='\t',flush=True)
''' % (ROWS, RUNS)


def checkout(folder):
    for n in range(5000):
        place = f'{folder}/dir{n % 10}/sub{n % 250}'
        os.makedirs(place, exist_ok=True)
        with open(f'{place}/file{n}.c', 'w', encoding='ascii') as f:
            f.write(f'int f{n}(void) {{ return {n}; }}\n' * 20)
    for words in (['init', '-q'], ['add', '-A'], ['-c', 'user.name=b', '-c', 'user.email=b@b', 'commit', '-qm', 'x'], ['status']):
        subprocess.run(['git', *words], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows(text):
    found = {}
    for line in text.replace('\r', '').splitlines():
        name, *times = line.split('\t')
        if name in ROWS and times:
            found[name] = statistics.median(float(t) for t in times)
    return found


def run(command, folder):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f'{command[0]}: status {done.returncode}', file=sys.stderr)
    return rows(done.stdout)


def ring3(build, words):
    guest = f'{build}/guest'
    return [f'{build}/ring3', 'run', '--kernel', f'{guest}/vmlinuz', '--modules', f'{guest}/modules', '--root', 'host', '--', *words]


def qemu(build, folder):
    """Its own share of the host's root, entered by a script of busybox."""
    script = 'sh /test/modules.sh; mkdir -p /h; mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072,cache=loose,ro host /h; ' \
             f'mount -t proc proc /h/proc; mount -t devtmpfs dev /h/dev; chroot /h sh -c "cd {folder}/repo && python3 {folder}/loop.py"'
    with open(f'{folder}/init', 'w', encoding='ascii') as f:
        f.write(f'#!/bin/sh\nexport PATH=/bin:/usr/bin\nmount -t devtmpfs dev /dev\nmount -t proc proc /proc\n{script}\npoweroff -f\n')
    os.chmod(f'{folder}/init', 0o755)
    os.makedirs(f'{folder}/extra')
    shutil.copy(f'{folder}/init', f'{folder}/extra/init')
    with open(f'{folder}/initramfs', 'wb') as f:
        with open(f'{build}/guest/initramfs-modules.gz', 'rb') as first:
            f.write(first.read())
        f.write(subprocess.run('echo init | cpio -o --quiet -H newc', cwd=f'{folder}/extra', shell=True, check=True, stdout=subprocess.PIPE).stdout)
    return ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '1G', '-display', 'none', '-serial', 'stdio', '-no-reboot',
            '-kernel', f'{build}/guest/vmlinuz', '-initrd', f'{folder}/initramfs', '-append', 'console=ttyS0 quiet',
            '-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap']


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f'{folder}/repo')
        checkout(f'{folder}/repo')
        with open(f'{folder}/loop.py', 'w', encoding='ascii') as f:
            f.write(LOOP)
        loop = ['python3', f'{folder}/loop.py']
        time.sleep(2)  # an index that is as old as its files is read with more care
        memory = 'cp -a . /run/repo && cd /run/repo && git status >/dev/null && sleep 2 && git status >/dev/null && exec ' + ' '.join(loop)
        columns = {'host': run(loop, f'{folder}/repo'), 'ring3': run(ring3(build, loop), f'{folder}/repo'),
                   'guest memory': run(ring3(build, ['sh', '-c', memory]), f'{folder}/repo')}
        if shutil.which('qemu-system-x86_64'):
            columns['QEMU TCG'] = run(qemu(build, folder), f'{folder}/repo')
    print('| row | ' + ' | '.join(f'{c}, ms' for c in columns) + ' | ring3, times host |')
    print('| --- |' + ' ---: |' * (len(columns) + 1))
    for name in ROWS:
        times = [c.get(name) for c in columns.values()]
        cells = ' | '.join('-' if t is None else f'{t * 1000:.1f}' for t in times)
        ratio = f'{times[1] / times[0]:.1f}' if times[0] and times[1] else '-'
        print(f'| {name} | {cells} | {ratio} |')
    return 0


sys.exit(main())
