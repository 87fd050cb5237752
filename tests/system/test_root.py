#!/usr/bin/python3
"""A kernel on the host's root file system: ring3 run --kernel ... --root host -- COMMAND.

    test_root.py BUILD
"""
import hashlib
import os
import subprocess
import sys
import tempfile

import pexpect

from harness import BUILD, RING3, check, finish, need_guest, ring3, root_command

SECONDS = 200  # a host with two cores may be busy


def options(*more):
    return root_command('--memory', '512M', *more)


def command(words, *more, stdin=b'', cwd=None):
    """Status, standard output and standard error as bytes."""
    done = subprocess.run([RING3, *options(*more), '--', *words], input=stdin, capture_output=True, timeout=SECONDS, cwd=cwd, check=False)
    return done.returncode, done.stdout, done.stderr


def statuses():
    for words, want in ((['true'], 0), (['sh', '-c', 'exit 7'], 7), (['sh', '-c', 'kill -9 $$'], 137), (['no-such-command'], 127),
                        (['/etc/passwd'], 126)):
        status, out, err = command(words)
        check(f'status of {words[-1]}: {want}', status == want and not out and bool(err) == (want in (126, 127)), (status, out, err))


def streams():
    data = os.urandom(3 << 20)
    status, out, err = command(['sh', '-c', 'cat; echo done >&2'], stdin=data)
    check('bytes go in and come out as they are', status == 0 and out == data, (status, len(out)))
    check('errors apart', err == b'done\n', err)
    status, out, _ = command(['sha256sum'], stdin=data)
    check('the end of the input arrives', out.split()[:1] == [hashlib.sha256(data).hexdigest().encode()], out)
    shell = subprocess.Popen([RING3, *options(), '--', 'sh', '-c', 'yes | head -c 3000000'], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        subprocess.run(['sleep', '6'], check=True)  # a reader that takes its time loses nothing
        out, _ = shell.communicate(timeout=SECONDS)
    finally:
        shell.kill()
    script = f'{" ".join([RING3, *options()])} -- sh -c "yes; echo \\$? >&2" 2>&1 >&3 3>&- | tail -n 1'
    done = subprocess.run(['bash', '-c', f'({script} >&4) 3>&1 4>&2 | head -n 1'], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    check('a reader that goes away ends the writer', (done.stdout, done.stderr.strip()) == (b'y\n', b'141'), done)
    check('a slow reader gets it all', out == b'y\n' * 1500000, len(out))


def writes():
    with tempfile.TemporaryDirectory() as folder:
        with open(f'{folder}/given', 'w', encoding='ascii') as f:
            f.write('given\n')
        status, out, err = command(['sh', '-c', 'pwd; cat given; echo x >made; rm given; cat made; id -u'], cwd=folder)
        check('it runs where we are, and as root', (status, out) == (0, f'{folder}\ngiven\nx\n0\n'.encode()), (out, err))
        check('what it writes vanishes', os.listdir(folder) == ['given'])
        os.mkdir(f'{folder}/rw')
        status, out, err = command(['sh', '-c', 'echo kept >rw/made; echo x >made'], '--share', f'{folder}/rw', cwd=folder)
        check('but in a share', status == 0 and os.listdir(f'{folder}/rw') == ['made'] and 'made' not in os.listdir(folder), err)
        status, out, _ = command(['ls', '/proc/self/exe', '/sys/class', '/dev/null', '/dev/pts', '/run'])
        check('proc, sys, dev and run are the guest\'s own', status == 0, out)
        program = 'import fcntl,mmap,os\nf=open("rw/map","w+b")\nf.truncate(8192)\nm=mmap.mmap(f.fileno(),8192)\nm[5000:5004]=b"abcd"\n' \
                  'm.flush()\nfcntl.lockf(f,fcntl.LOCK_EX)\nfcntl.flock(open("rw/other","w"),fcntl.LOCK_EX)\nprint(os.pread(f.fileno(),4,5000))\n'
        status, out, err = command(['/usr/bin/python3', '-c', program], '--share', f'{folder}/rw', cwd=folder)
        check('a file that is mapped, and locks', (status, out) == (0, b"b'abcd'\n"), (status, out, err))
        with open(f'{folder}/rw/map', 'rb') as f:
            check('the host sees what was mapped', f.read()[5000:5004] == b'abcd')


def system():
    """What a kernel developer's command finds beside its files."""
    done = command(['bash', '-c', 'cat <(echo one) /dev/stdin'], stdin=b'two\n')
    check('descriptors have names', done == (0, b'one\ntwo\n', b''), done)
    done = command(['sh', '-c', 'cat /sys/fs/cgroup/cgroup.procs | grep -x 1; ls -d /sys/kernel/debug/bdi /sys/kernel/tracing/trace'])
    check("the kernel's file systems", done == (0, b'1\n/sys/kernel/debug/bdi\n/sys/kernel/tracing/trace\n', b''), done)
    done = command(['rtcwake', '-m', 'on', '-s', '2'])
    check("the clock's alarm comes", done[0] == 0, done)


def git():
    with tempfile.TemporaryDirectory() as folder:
        for n in range(300):
            os.makedirs(f'{folder}/repo/d{n % 20}', exist_ok=True)
            with open(f'{folder}/repo/d{n % 20}/f{n}', 'w', encoding='ascii') as f:
                f.write(f'{n}\n' * 20)
        script = 'git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm x'
        if subprocess.run(['sh', '-c', script], cwd=f'{folder}/repo', check=False, stderr=subprocess.DEVNULL).returncode:
            print('no git on this host: not tried')
            return
        steps = 'git status -s && echo new >d1/new && git add d1 && git -c user.name=a -c user.email=a@b commit -qm y && ' \
                'git checkout -q -b other HEAD~1 && git gc -q && git fsck && git status -s'
        status, out, err = command(['sh', '-c', steps], '--share', f'{folder}/repo', cwd=f'{folder}/repo')
        check('git works on a share', (status, out) == (0, b''), (status, out, err))
        done = subprocess.run(['sh', '-c', 'git fsck && git log --oneline --all | wc -l'], cwd=f'{folder}/repo', capture_output=True, check=False)
        check('and the host finds its work in order', done.stdout.split()[-1:] == [b'2'], done)


def models():
    program = os.path.join(BUILD, 'tests', 'system', 'clones')
    want = subprocess.run([program], capture_output=True, check=False)
    for model in ('x86-64-v2', 'x86-64-v3', 'host'):
        done = command([program], '--cpu', model)
        check(f'{model}: code that is chosen by family and model runs', done == (0, want.stdout, b'') and want.stdout, (done, want))


def ends():
    status, out, err = command(['sh', '-c', 'echo before; sleep 1; echo c >/proc/sysrq-trigger'])
    check('a kernel that panics: 125', status == 125 and out == b'before\n' and b'Kernel panic' in err, (status, out, err))
    status, _, err = command(['true'], '--modules', '/nowhere')
    check('a kernel without 9P and its modules: 125', status == 125 and b'ring3: cannot mount' in err, (status, err))


def terminal():
    child = pexpect.spawn(RING3, [*options(), '--', 'sh', '-c', 'tty; echo ready; sleep 100'], timeout=SECONDS, encoding='utf-8')
    found = child.expect(['/dev/hvc0\r\nready', pexpect.EOF, pexpect.TIMEOUT]) == 0
    if check('the command has a terminal', found, child.before):
        child.send('\x03')
        child.expect(pexpect.EOF)
    child.close()
    check('Ctrl-c reaches it: 130', child.exitstatus == 130, child.exitstatus)
    child = pexpect.spawn(RING3, options(), timeout=SECONDS, encoding='utf-8', env={**os.environ, 'SHELL': '/bin/sh'})
    child.expect('# ')
    child.send('echo $((6 * 7))x; exit 3\r')
    child.expect('42x')
    child.expect(pexpect.EOF)
    child.close()
    check('without a command: a shell', child.exitstatus == 3, child.exitstatus)


def refused():
    for arguments, says in (((['--root', 'host'], 'there is no kernel'), (['--', 'true'], 'give --root host too'),
                             (['--kernel', '/x', '--root', 'host', '--initramfs', '/y'], 'leave --initramfs out'),
                             (['--kernel', '/nowhere', '--root', 'host'], '--kernel'))):
        status, _, err = ring3('run', *arguments)
        check(f'refused: {says}', status == 2 and says in err, err)


def main():
    need_guest()
    refused()
    statuses()
    streams()
    writes()
    system()
    git()
    models()
    ends()
    terminal()
    finish()


if len(sys.argv) < 2:
    sys.exit(__doc__)
main()
