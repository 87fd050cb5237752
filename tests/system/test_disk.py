#!/usr/bin/python3
"""Disk images against qemu-img: what one makes the other reads, random work leaves images that both find whole, killed writers lose
nothing that was flushed, bad images are refused with one line.

    test_disk.py BUILD [SEED]
"""
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from harness import BUILD, RING3, check, finish, ring3, skip

WORKER = os.path.join(BUILD, 'tests', 'disk', 'disk_worker')
SEED = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get('RING3_TEST_SEED') or random.getrandbits(32))
rng = random.Random(SEED)


def run(*command, stdin=b'', timeout=120, **more):
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **more)
    return done.returncode, done.stdout.decode('utf-8', 'replace')


def qemu_img(*arguments):
    return run('qemu-img', *arguments)


def must(*command):
    status, output = run(*command)
    if status:
        raise RuntimeError(f'{" ".join(command)}: {status}: {output}')
    return output


def disk(*arguments):
    status, out, err = ring3('disk', *arguments, timeout=120)
    return status, out, err


def good(what, *arguments):
    status, out, err = disk(*arguments)
    check(what, status == 0 and not err, f'{arguments}: status {status}, {out!r}, {err!r}')
    return out


def whole(what, path, leaks=False):
    """qemu-img and ring3 both find nothing wrong with it."""
    status, output = qemu_img('check', path)
    check(f'{what}: qemu-img check', status in ((0, 3) if leaks else (0,)), output)
    status, out, err = disk('check', path)
    check(f'{what}: ring3 disk check', status in ((0, 3) if leaks else (0,)), out + err)


def same(what, a, b, *options):
    status, output = qemu_img('compare', *options, a, b)
    check(f'{what}: same contents', status == 0, output)


def refused(what, part, *arguments, state=2):
    status, out, err = disk(*arguments)
    lines = err.splitlines()
    check(f'{what}: refused', status == state and not out and len(lines) == 1 and part in lines[0], f'status {status}, {out!r}, {err!r}')


def make_data(path, size):
    """Data, zeroes and text in turns."""
    with open(path, 'wb') as f:
        f.truncate(size)
        at = 0
        while at < size:
            n = min(rng.randrange(1, 300000), size - at)
            f.seek(at)
            kind = rng.randrange(3)
            if kind:
                f.write(rng.randbytes(n) if kind == 1 else (b'some text, again and again; ' * (n // 28 + 1))[:n])
            at += n


def poke(path, offset, data):
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def peek(path, offset, form):
    with open(path, 'rb') as f:
        f.seek(offset)
        return struct.unpack(form, f.read(struct.calcsize(form)))[0]


def check_create():
    for size in ('0', '512', '1M', '20G', '3T'):
        good(f'create {size}', 'create', '--force', 'new.qcow2', size)
        whole(f'create {size}', 'new.qcow2')
    for cluster in ('512', '4096', '64K', '2M'):
        good(f'create --cluster-size {cluster}', 'create', '--force', '--cluster-size', cluster, 'new.qcow2', '1G')
        whole(f'create --cluster-size {cluster}', 'new.qcow2')
    good('create raw', 'create', '--format', 'raw', 'new.raw', '3M')
    check('raw is as large', os.path.getsize('new.raw') == 3 << 20 and os.stat('new.raw').st_blocks == 0)
    info = json.loads(good('info --json', 'info', '--json', 'new.qcow2'))
    check('info says what it is', info['format'] == 'qcow2' and info['size'] == 1 << 30 and info['cluster-size'] == 2 << 20, info)
    refused('create over a file', '--force', 'create', 'new.qcow2', '1M')
    refused('no path', 'empty', 'info', '')


def check_convert():
    make_data('data.raw', 9 << 20)
    for name, options in {'plain': [], 'compressed': ['--compress'], 'small': ['--cluster-size', '512'], 'large': ['--cluster-size', '2M'],
                          'small compressed': ['--cluster-size', '1K', '--compress']}.items():
        good(f'convert {name}', 'convert', '--force', *options, 'data.raw', 'copy.qcow2')
        whole(f'convert {name}', 'copy.qcow2')
        same(f'convert {name}', 'data.raw', 'copy.qcow2')
        good(f'convert {name} back', 'convert', '--force', '--format', 'raw', 'copy.qcow2', 'back.raw')
        same(f'convert {name} back', 'data.raw', 'back.raw', '-f', 'raw', '-F', 'raw')
    for options in ('compression_type=zlib', 'compression_type=zstd', 'compression_type=zstd,cluster_size=512', 'cluster_size=2M', 'compat=0.10'):
        must('qemu-img', 'convert', '-c', '-O', 'qcow2', '-o', options, 'data.raw', 'packed.qcow2')
        good(f'read compressed {options}', 'convert', '--force', '--format', 'raw', 'packed.qcow2', 'back.raw')
        same(f'read compressed {options}', 'data.raw', 'back.raw', '-f', 'raw', '-F', 'raw')
    check('no temporary file is left', not [n for n in os.listdir('.') if '.ring3-' in n], os.listdir('.'))


def work(what, image, spec='', count=400, backing_data=None, leaks=False):
    """Random requests against a shadow that begins as the image does."""
    if os.path.exists('shadow.raw'):
        os.unlink('shadow.raw')
    if backing_data:
        shutil.copy(backing_data, 'shadow.raw')
    seed = rng.getrandbits(32)
    status, output = run(WORKER, 'random', image + spec, 'shadow.raw', str(seed), str(count))
    check(f'{what}: random work', status == 0, f'seed {seed}: {output}')
    whole(what, image, leaks)
    same(what, image, 'shadow.raw', '-F', 'raw')


def has_direct():
    """Whether the file system here takes O_DIRECT."""
    with open('direct', 'wb'):
        pass
    try:
        os.close(os.open('direct', os.O_RDONLY | os.O_DIRECT))
        return True
    except OSError:
        return False
    finally:
        os.unlink('direct')


def check_work():
    make_data('data.raw', 16 << 20)
    for options in ('cluster_size=512', 'cluster_size=4K', 'cluster_size=64K', 'cluster_size=2M', 'refcount_bits=1', 'refcount_bits=2',
                    'refcount_bits=4', 'refcount_bits=8', 'refcount_bits=32', 'refcount_bits=64', 'refcount_bits=64,cluster_size=512', 'compat=0.10',
                    'lazy_refcounts=on', 'preallocation=metadata', 'preallocation=falloc', 'compression_type=zstd'):
        must('qemu-img', 'create', '-f', 'qcow2', '-o', options, 'disk.qcow2', '16M')
        work(options, 'disk.qcow2')
    direct = [',cache=none'] if has_direct() else []
    for spec in (',aio=threads', ',cache=unsafe', ',discard=off', *direct):
        must('qemu-img', 'create', '-f', 'qcow2', 'disk.qcow2', '16M')
        work(spec, 'disk.qcow2', spec)
    for options in ('', 'compression_type=zstd', 'cluster_size=4K'):
        must('qemu-img', 'convert', '-c', '-O', 'qcow2', *(['-o', options] if options else []), 'data.raw', 'disk.qcow2')
        for spec in ('', *direct):
            shutil.copy('disk.qcow2', 'again.qcow2')
            work(f'compressed {options}{spec}', 'again.qcow2', spec, backing_data='data.raw')
    good('compressed by ring3', 'convert', '--force', '--compress', 'data.raw', 'packed.qcow2')
    for spec in ('', *direct):
        shutil.copy('packed.qcow2', 'disk.qcow2')
        work(f'compressed by ring3{spec}', 'disk.qcow2', spec, backing_data='data.raw')
    for options in ('cluster_size=512', 'cluster_size=4K', 'cluster_size=64K'):
        for spec in ('', ',aio=threads'):
            must('qemu-img', 'create', '-f', 'qcow2', '-o', options, 'disk.qcow2', '16M')
            seed = rng.getrandbits(32)
            status, output = run(WORKER, 'chaos', 'disk.qcow2' + spec, str(seed), '2000')
            check(f'{options}{spec}: requests that overlap', status == 0, f'seed {seed}: {output}')
            whole(f'{options}{spec}: requests that overlap', 'disk.qcow2')
    must('qemu-img', 'create', '-f', 'raw', 'disk.raw', '16M')
    for spec in (',format=raw', '', ',aio=threads', *direct):
        if os.path.exists('shadow.raw'):
            os.unlink('shadow.raw')
        os.truncate('disk.raw', 0)
        os.truncate('disk.raw', 16 << 20)
        seed = rng.getrandbits(32)
        status, output = run(WORKER, 'random', 'disk.raw' + spec, 'shadow.raw', str(seed), '400')
        check(f'raw{spec}: random work', status == 0, f'seed {seed}: {output}')
        same(f'raw{spec}', 'disk.raw', 'shadow.raw', '-f', 'raw', '-F', 'raw')


def check_backing():
    make_data('base.raw', 16 << 20)
    make_data('short.raw', 5 << 20)
    must('qemu-img', 'convert', '-O', 'qcow2', 'base.raw', 'base.qcow2')
    for base, form in (('base.raw', 'raw'), ('base.qcow2', 'qcow2'), ('short.raw', 'raw')):
        for compat in ('1.1', '0.10'):
            must('qemu-img', 'create', '-f', 'qcow2', '-o', f'compat={compat}', '-b', base, '-F', form, 'over.qcow2', '16M')
            shutil.copy('short.raw' if base == 'short.raw' else 'base.raw', 'begin.raw')
            work(f'over {base} {compat}', 'over.qcow2', f',backing={base}', backing_data='begin.raw')
    good('create over', 'create', '--force', '--backing', 'base.qcow2', 'over.qcow2')
    good('create over over', 'create', '--force', '--backing', 'over.qcow2', 'top.qcow2')
    work('two below', 'top.qcow2', ',backing=over.qcow2,backing=base.qcow2', backing_data='base.raw')
    good('flatten', 'convert', '--force', '--backing', 'over.qcow2', '--backing', 'base.qcow2', 'top.qcow2', 'flat.qcow2')
    same('flatten', 'flat.qcow2', 'top.qcow2')
    refused('no backing file named', 'backing=PATH', 'convert', 'top.qcow2', 'x.qcow2')
    refused('a backing file too many', 'has no backing file', 'convert', '--backing', 'base.raw', 'base.qcow2', 'x.qcow2')
    refused('below itself', 'below itself', 'convert', '--backing', 'top.qcow2', 'top.qcow2', 'x.qcow2')
    good('grow over a longer one', 'create', '--force', '--backing', 'base.raw', 'over.qcow2', '1M')
    good('grow over a longer one', 'resize', '--backing', 'base.raw', 'over.qcow2', '20M')
    must('qemu-img', 'create', '-f', 'raw', 'begin.raw', '1M')
    with open('base.raw', 'rb') as src, open('begin.raw', 'r+b') as dst:
        dst.write(src.read(1 << 20))
        dst.truncate(20 << 20)
    same('what was below the end stays hidden', 'over.qcow2', 'begin.raw', '-F', 'raw')


def check_snapshots():
    make_data('data.raw', 16 << 20)
    for options in ('cluster_size=64K', 'cluster_size=512', 'cluster_size=4K,refcount_bits=2'):
        must('qemu-img', 'convert', '-O', 'qcow2', '-o', options, 'data.raw', 'disk.qcow2')
        must('qemu-img', 'snapshot', '-c', 'then', 'disk.qcow2')
        work(f'snapshot inside, {options}', 'disk.qcow2', backing_data='data.raw')
        must('qemu-img', 'convert', '-l', 'then', '-O', 'raw', 'disk.qcow2', 'then.raw')
        same(f'snapshot inside, {options}: kept', 'then.raw', 'data.raw', '-f', 'raw', '-F', 'raw')
        must('qemu-img', 'snapshot', '-d', 'then', 'disk.qcow2')
        whole(f'snapshot inside, {options}: deleted', 'disk.qcow2')
    must('qemu-img', 'snapshot', '-c', 'then', 'disk.qcow2')
    refused('resize with snapshots', 'snapshots', 'resize', 'disk.qcow2', '+1M')


def check_resize():
    make_data('data.raw', 4 << 20)
    for cluster in ('512', '64K', '2M'):
        shutil.copy('data.raw', 'want.raw')
        good('resize', 'convert', '--force', '--cluster-size', cluster, 'data.raw', 'disk.qcow2')
        for size in ('4M', '+3M', '1000K', '+511M', '2G', '3M'):
            old = os.path.getsize('want.raw')
            new = int(size.strip('+KMG')) << {'K': 10, 'M': 20, 'G': 30}[size[-1]]
            new += old if size[0] == '+' else 0
            if new < old:
                refused(f'resize {cluster} {size}', '--shrink', 'resize', 'disk.qcow2', size)
            good(f'resize {cluster} {size}', 'resize', '--shrink', 'disk.qcow2', size)
            os.truncate('want.raw', new)
            whole(f'resize {cluster} {size}', 'disk.qcow2')
            same(f'resize {cluster} {size}', 'disk.qcow2', 'want.raw', '-F', 'raw')
    good('resize raw', 'resize', '--format', 'raw', 'want.raw', '+1M')
    check('resize raw', os.path.getsize('want.raw') == 4 << 20)


def check_damage():
    make_data('data.raw', 4 << 20)
    must('qemu-img', 'convert', '-O', 'qcow2', '-o', 'lazy_refcounts=on', 'data.raw', 'whole.qcow2')
    table = peek('whole.qcow2', 48, '>Q')
    block = peek('whole.qcow2', table, '>Q')
    l1 = peek('whole.qcow2', 40, '>Q')

    def broken(offset, data):
        shutil.copy('whole.qcow2', 'bad.qcow2')
        poke('bad.qcow2', offset, data)

    broken(72, struct.pack('>Q', 1))
    poke('bad.qcow2', block + 20, bytes(40))
    work('dirty, refcounts behind', 'bad.qcow2', backing_data='data.raw')
    check('dirty is gone', peek('bad.qcow2', 72, '>Q') == 0)
    broken(72, struct.pack('>Q', 2))
    status, output = run(WORKER, 'random', 'bad.qcow2', 'shadow.raw', '1', '8')
    check('marked as damaged: not written', status == 2 and 'damaged' in output, output)
    good('marked as damaged: read', 'convert', '--force', 'bad.qcow2', 'x.qcow2')
    good('marked as damaged: repaired', 'check', '--repair', 'all', 'bad.qcow2')
    work('after repair', 'bad.qcow2', backing_data='data.raw')
    broken(block + 20, bytes(40))
    status, out, _ = disk('check', 'bad.qcow2')
    check('refcounts too low: found', status == 1 and '20 errors' in out, out)
    good('refcounts too low: repaired', 'check', '--repair', 'all', 'bad.qcow2')
    whole('refcounts too low', 'bad.qcow2')
    broken(block + 200, struct.pack('>50H', *[1] * 50))
    os.truncate('bad.qcow2', 160 << 16)
    status, out, _ = disk('check', 'bad.qcow2')
    check('leaks: found', status == 3 and '0 errors' in out, out)
    good('leaks: repaired', 'check', '--repair', 'leaks', 'bad.qcow2')
    whole('leaks', 'bad.qcow2')

    entry = peek('whole.qcow2', l1, '>Q')
    l2 = entry & ~(1 << 63)
    for what, offset, data in (('L1 entry outside', l1, struct.pack('>Q', 1 << 63 | 1 << 40)), ('L1 entry unaligned', l1, struct.pack('>Q', entry + 512)),
                               ('L2 table on L1', l1, struct.pack('>Q', 1 << 63 | l1)), ('L2 table on header', l1, struct.pack('>Q', 1 << 63 | table)),
                               ('refcount block outside', table, struct.pack('>Q', 1 << 40)), ('refcount block on L2', table, struct.pack('>Q', l2)),
                               ('L1 outside', 40, struct.pack('>Q', 1 << 40)), ('refcount table outside', 48, struct.pack('>Q', 1 << 40)),
                               ('clusters', 20, struct.pack('>I', 40)), ('L1 too short', 36, struct.pack('>I', 0)),
                               ('L1 too long', 36, struct.pack('>I', 1 << 30)), ('refcount order', 96, struct.pack('>I', 9)),
                               ('version', 4, struct.pack('>I', 7)), ('encrypted', 32, struct.pack('>I', 2)), ('header length', 100, struct.pack('>I', 9999)),
                               ('feature', 72, struct.pack('>Q', 1 << 33)), ('data file', 72, struct.pack('>Q', 4)), ('extended', 72, struct.pack('>Q', 16)),
                               ('backing name', 8, struct.pack('>QI', 60000, 9999)), ('size', 24, struct.pack('>Q', 1 << 63)),
                               ('snapshots', 60, struct.pack('>IQ', 70000, 65536))):
        broken(offset, data)
        refused(what, 'bad.qcow2', 'convert', '--force', '--from', 'qcow2', 'bad.qcow2', 'x.qcow2')
        status, out, err = disk('check', 'bad.qcow2')
        check(f'{what}: check does not find it whole', status in (1, 2, 3), f'{status} {out} {err}')
    for what, value in (('L2 entry outside', 1 << 63 | 1 << 40), ('L2 entry on L2', 1 << 63 | l2), ('L2 entry reserved', 1 << 63 | 65536 * 9 | 4),
                        ('compressed outside', 1 << 62 | 1 << 50), ('compressed in L1', 1 << 62 | l1 + 8)):
        broken(l2 + 8 * 3, struct.pack('>Q', value))
        status, out, err = disk('convert', '--force', 'bad.qcow2', 'x.qcow2')
        check(f'{what}: refused', status == 1 and len(err.splitlines()) == 1, f'{status} {out} {err}')
        status, out, err = disk('check', 'bad.qcow2')
        check(f'{what}: found', status == 1, f'{status} {out} {err}')
    size = os.path.getsize('whole.qcow2')
    for keep in (0, 3, 71, 104, 65536, 65537, l2 + 100, size // 2, size - 65536):
        shutil.copy('whole.qcow2', 'bad.qcow2')
        os.truncate('bad.qcow2', keep)
        status, out, err = disk('convert', '--force', '--from', 'qcow2', 'bad.qcow2', 'x.qcow2')
        check(f'cut off after {keep}: refused', status in (1, 2) and len(err.splitlines()) == 1, f'{status} {out} {err}')
    must('qemu-img', 'create', '-f', 'qcow2', '-o', 'data_file=other.raw', 'bad.qcow2', '1M')
    refused('data file', 'another file', 'info', 'bad.qcow2')
    must('qemu-img', 'create', '-f', 'qcow2', '-o', 'extended_l2=on', 'bad.qcow2', '1M')
    refused('extended L2', 'extended L2', 'info', 'bad.qcow2')
    must('qemu-img', 'create', '-f', 'vmdk', 'bad.vmdk', '1M')
    refused('another format', 'VMDK', 'info', 'bad.vmdk')


def check_locks():
    must('qemu-img', 'create', '-f', 'qcow2', 'disk.qcow2', '16M')
    with subprocess.Popen([WORKER, 'crash', 'disk.qcow2', '1'], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        refused('in use by a writer', 'in use', 'info', 'disk.qcow2')
        refused('in use by a writer', 'in use', 'create', '--force', 'disk.qcow2', '1M')
        status, output = qemu_img('info', 'disk.qcow2')
        check('in use: qemu-img says so', status and 'lock' in output, output)
        writer.kill()
        writer.stdout.read()
    with subprocess.Popen(['qemu-io', 'disk.qcow2'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdin.write(b'read 0 512\n')
        other.stdin.flush()
        other.stdout.readline()
        refused('in use by QEMU', 'in use', 'resize', 'disk.qcow2', '+1M')
        refused('in use by QEMU', 'in use', 'info', 'disk.qcow2')
        other.communicate(b'quit\n')
    good('no longer in use', 'info', 'disk.qcow2')


def check_crash():
    """Killed at any moment: no errors, and what was flushed is there."""
    total = 0
    for round_, (options, spec) in enumerate((o, s) for o in ('cluster_size=512', 'cluster_size=4K', 'cluster_size=64K')
                                             for s in ('', ',aio=threads')):
        must('qemu-img', 'create', '-f', 'qcow2', '-o', options, 'disk.qcow2', '64M')
        lines = []
        for _ in range(6):
            with subprocess.Popen([WORKER, 'crash', 'disk.qcow2' + spec, str(rng.getrandbits(32))], stdout=subprocess.PIPE) as writer:
                said = writer.stdout.readline()  # it has begun to flush
                time.sleep(rng.uniform(0, 0.2))
                writer.send_signal(signal.SIGKILL)
                said += writer.stdout.read()
                lines += [l for l in said.decode().splitlines(True) if l.endswith('\n')]
            whole(f'killed, {options}{spec}', 'disk.qcow2', leaks=True)
            status, output = run(WORKER, 'verify', 'disk.qcow2', stdin=''.join(lines).encode())
            check(f'killed, {options}{spec}: flushed writes', status == 0, output)
        total += len(lines)
        disk('check', '--repair', 'leaks', 'disk.qcow2')
        whole(f'killed {round_}, leaks repaired', 'disk.qcow2')
    check('the writers came to write', total > 200, total)


def limit_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def check_full():
    """A host that has no room: an error, nothing left behind, and the image is whole."""
    make_data('data.raw', 8 << 20)
    before = sorted(os.listdir('.'))
    for arguments in (['convert', 'data.raw', 'full.qcow2'], ['create', '--format', 'raw', 'full.raw', '8M'],
                      ['convert', '--format', 'raw', 'data.raw', 'full.raw']):
        status, output = run(RING3, 'disk', *arguments, preexec_fn=limit_files)
        check(f'full: {arguments[0]}', status in (1, 2) and len(output.splitlines()) == 1, f'{status} {output}')
    check('full: nothing is left behind', sorted(os.listdir('.')) == before, os.listdir('.'))
    must('qemu-img', 'create', '-f', 'qcow2', 'disk.qcow2', '64M')
    status, output = run(WORKER, 'crash', 'disk.qcow2', '1', preexec_fn=limit_files)
    check('full: the guest gets an error, and ring3 says why', status == 1 and 'no room left' in output, f'{status} {output}')
    whole('full', 'disk.qcow2', leaks=True)


def check_interrupted():
    with open('big.raw', 'wb') as f:
        for _ in range(64):
            f.write(rng.randbytes(1 << 20))
    before = sorted(os.listdir('.'))
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen([RING3, 'disk', 'convert', '--compress', 'big.raw', 'copy2.qcow2'], stderr=subprocess.DEVNULL) as process:
            time.sleep(0.3)
            process.send_signal(sig)
            process.wait(20)
        check(f'interrupted by {sig.name}', process.returncode == -sig, process.returncode)
        check(f'interrupted by {sig.name}: nothing is left behind', sorted(os.listdir('.')) == before, os.listdir('.'))


def check_usage():
    for arguments, part in (([], 'create'), (['make'], 'make'), (['create'], 'missing'), (['create', 'x'], 'size'), (['create', 'x', '1Q'], '1Q'),
                            (['create', 'x', '1', '2'], 'too many'), (['create', '--nonsense', 'x', '1M'], '--nonsense'),
                            (['create', '--json', 'x', '1M'], '--json'), (['create', '--format', 'vmdk', 'x', '1M'], 'vmdk'),
                            (['create', '--cluster-size', '1000', 'x', '1M'], '512 to 2M'), (['create', 'x', '100'], '512'),
                            (['create', '/nonexistent/x', '1M'], '/nonexistent/x'), (['create', '--backing', 'nothing', 'x'], 'nothing'),
                            (['create', '--cluster-size', '512', 'x', '100T'], '--cluster-size'), (['info', 'nothing'], 'nothing'), (['info', '.'], '.'),
                            (['info', '/dev/null'], '/dev/null'), (['check', '--repair', 'some', 'x'], 'some'), (['check', 'data.raw'], 'qcow2'),
                            (['resize', 'new.qcow2', '-5'], '-5'), (['convert', '--compress', '--format', 'raw', 'new.qcow2', 'x'], 'compressed'),
                            (['create', '--format'], '--format')):
        refused(' '.join(arguments) or 'nothing', part, *arguments)
    check('nothing was made', not os.path.exists('x'))
    for arguments in (['--help'], ['create', '--help']):
        status, out, err = disk(*arguments)
        check(' '.join(arguments), status == 0 and 'Examples' in out and not err, f'{status} {err}')


def main():
    if not shutil.which('qemu-img'):
        skip('qemu-img is not installed')
    print(f'seed {SEED}')
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in (check_create, check_convert, check_usage, check_work, check_backing, check_snapshots, check_resize, check_damage, check_locks,
                      check_crash, check_full, check_interrupted):
            begin = time.monotonic()
            part()
            print(f'     {part.__name__}: {time.monotonic() - begin:.1f} s')
        os.chdir('/')
    finish()


main()
