#!/usr/bin/python3
"""How fast a shared folder is: a checkout of 5000 files looked through and read, files made and removed, on the host and in guests.

    bench/share.py BUILD [RUNS]

The same kernel and programs (the host's own, by its root file system), one processor. Rows are warm, the median of RUNS (10) after the first, but
for `cat`, which is cold in the guest: its caches are dropped before each run. What is slow is run less often: no more once a row took 20 s.
ring3 runs the programs by --root, so the rows that read go through its overlay; `create` and `delete` (1000 files of 4 KiB) are in a --share mounted
with cache=loose. Beside it stand a file system in the guest's memory, which is what the engine costs without the share, and QEMU
(TCG, -virtfs) where it is installed, with the initial file system that ring3 would use.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
OPTIONS = 'trans=virtio,version=9p2000.L,msize=131072,cache=loose'
ROWS = ['find', 'find -newer', 'git status', 'cat', 'create', 'delete']
# Seconds of each run, by the guest's clock, after one for the caches: in the checkout, and in a folder that can be written to.
LOOP = r'''
import os,subprocess,sys,time
runs,work,guest=int(sys.argv[1]),sys.argv[2],sys.argv[3]=='guest'
def run(command):
    return lambda: subprocess.run(command.split(),stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL,check=True)
def create():
    for n in range(1000):
        with open(f'{work}/{n}','wb',buffering=0) as f:
            f.write(bytes(4096))
def delete():
    for n in range(1000):
        os.unlink(f'{work}/{n}')
def forget():
    if guest:
        with open('/proc/sys/vm/drop_caches','w') as f:
            f.write('3')
def nothing():
    pass
rows={'find':(run('find . -name nothing'),nothing,nothing),
      'find -newer':(run('find . -newermt 2040-01-01'),nothing,nothing),
      'git status':(run('git --no-optional-locks status -s'),nothing,nothing),
      'cat':(run('find . -name *.c -exec cat {} +'),forget,nothing),
      'create':(create,nothing,delete),
      'delete':(delete,create,nothing)}
for name,(act,before,after) in rows.items():
    times=[]
    while len(times)<=runs and (len(times)<2 or sum(times)<20):
        before()
        begin=time.monotonic()
        act()
        times.append(time.monotonic()-begin)
        after()
    print(name,*times[1:],sep='\t',flush=True)
'''


def checkout(folder):
    for n in range(5000):
        place = f'{folder}/dir{n % 10}/sub{n % 250}'
        os.makedirs(place, exist_ok=True)
        with open(f'{place}/file{n}.c', 'w', encoding='ascii') as f:
            f.write(f'int f{n}(void) {{ return {n}; }}\n' * 20)
    time.sleep(1.1)  # git reads files again that are as new as its index
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


def ring3(build, work, script):
    """The share is where --root has mounted it already, with other options."""
    guest = f'{build}/guest'
    again = f'umount {work} && mount -t 9p -o {OPTIONS} work {work} && {script}'
    return [f'{build}/ring3', 'run', '--kernel', f'{guest}/vmlinuz', '--modules', f'{guest}/modules', '--root', 'host', '--share', f'{work},tag=work', '--',
            'sh', '-c', again]


def archive(build, folder):
    """ring3's initial file system, and behind it another one with our first process."""
    os.makedirs(f'{folder}/extra')
    shutil.copy(f'{folder}/init', f'{folder}/extra/init')
    with open(f'{folder}/initramfs', 'wb') as f:
        with open(f'{build}/guest/initramfs-modules.gz', 'rb') as first:
            f.write(first.read())
        f.write(bytes(-f.tell() % 4))  # where the kernel looks for the next one
        f.write(subprocess.run('echo init | cpio -o --quiet -H newc', cwd=f'{folder}/extra', shell=True, check=True, stdout=subprocess.PIPE).stdout)


def qemu(build, folder, work, script):
    """Its own share of the host's root, entered by a script of busybox."""
    with open(f'{folder}/init', 'w', encoding='ascii') as f:
        f.write('#!/bin/sh\nexport PATH=/bin:/usr/bin:/sbin:/usr/sbin\nmount -t devtmpfs dev /dev\nmount -t proc proc /proc\nsh /test/modules.sh\nmkdir -p /h\n'
                f'mount -t 9p -o {OPTIONS},ro host /h\nmount -t proc proc /h/proc\nmount -t devtmpfs dev /h/dev\nmount -t 9p -o {OPTIONS} work /h{work}\n'
                f'HOME=/root chroot /h sh -c "cd {folder}/repo && {script}"\npoweroff -f\n')
    os.chmod(f'{folder}/init', 0o755)
    archive(build, folder)
    return ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '1G', '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot',
            '-kernel', f'{build}/guest/vmlinuz', '-initrd', f'{folder}/initramfs', '-append', 'console=ttyS0 quiet',
            '-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap',
            '-virtfs', f'local,path={work},mount_tag=work,security_model=none']


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        work = f'{folder}/work'
        os.mkdir(f'{folder}/repo')
        os.mkdir(work)
        checkout(f'{folder}/repo')
        with open(f'{folder}/loop.py', 'w', encoding='ascii') as f:
            f.write(LOOP)
        loop = f'python3 {folder}/loop.py {RUNS} {work}'
        memory = f'mkdir /run/work && cp -a . /run/repo && cd /run/repo && git status >/dev/null && sleep 2 && git status >/dev/null && ' \
                 f'exec python3 {folder}/loop.py {RUNS} /run/work guest'
        columns = {'host': run(['sh', '-c', f'{loop} host'], f'{folder}/repo'), 'ring3': run(ring3(build, work, f'{loop} guest'), f'{folder}/repo'),
                   'guest memory': run(ring3(build, work, memory), f'{folder}/repo')}
        if shutil.which('qemu-system-x86_64'):
            columns['QEMU TCG'] = run(qemu(build, folder, work, f'{loop} guest'), f'{folder}/repo')
    print('| row | ' + ' | '.join(f'{c}, ms' for c in columns) + ' | ring3, times host |')
    print('| --- |' + ' ---: |' * (len(columns) + 1))
    for name in ROWS:
        times = [c.get(name) for c in columns.values()]
        cells = ' | '.join('-' if t is None else f'{t * 1000:.1f}' for t in times)
        ratio = f'{times[1] / times[0]:.1f}' if times[0] and times[1] else '-'
        print(f'| {name} | {cells} | {ratio} |')
    return 0


sys.exit(main())
