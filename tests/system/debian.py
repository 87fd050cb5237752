"""The Debian image that the tests share: made once for each build directory, by `ring3 image debian`.

It is kept in BUILD/guest/data. A test works on a disk of its own over it, so that nobody changes it.
"""
import os
import subprocess

from harness import GUEST, RING3, TOP, check, skip

NAME = 'debian-test'
ENVIRONMENT = {**os.environ, 'XDG_DATA_HOME': os.path.join(GUEST, 'data'), 'XDG_CACHE_HOME': os.path.join(GUEST, 'cache')}
PROGRAMS = {'mmdebstrap': 'mmdebstrap', 'mke2fs': 'e2fsprogs'}


def call(*arguments, timeout=60):
    """ring3 with our images; status, standard output, standard error."""
    done = subprocess.run([RING3, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def recipe():
    with open(os.path.join(TOP, 'cli/recipe.c'), encoding='utf-8') as f:
        return f.read()


def need_debian():
    """The path of the disk. Made anew when the recipe is another one."""
    for program, package in PROGRAMS.items():
        if not any(os.path.exists(f'{folder}/{program}') for folder in ('/usr/bin', '/usr/sbin', '/sbin')):
            skip(f'{program} is not installed (package {package})')
    os.makedirs(ENVIRONMENT['XDG_DATA_HOME'], exist_ok=True)
    note = os.path.join(ENVIRONMENT['XDG_DATA_HOME'], 'recipe.c')
    status, path, _ = call('image', 'path', NAME)
    if status == 0:
        if os.path.exists(note) and open(note, encoding='utf-8').read() == recipe():
            return path.strip()
        call('image', 'remove', NAME)
    begin = [RING3, 'image', 'debian', NAME, '--size', '2G']
    with subprocess.Popen(begin, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as first:
        err = ''
        for line in first.stderr:
            err += line
            if 'making the file system' in line:
                first.kill()
    if first.returncode == -9:
        check('one that is killed while it is made is not there', call('image', 'path', NAME)[0] == 2)
        status, out, err = call(*begin[1:], timeout=300)
        check('and is gone on with', 'goes on with the system' in err, err)
    else:
        status, out = first.returncode, ''
    if status:
        reason = [line for line in err.splitlines() if line][-1] if err else out
        if 'mmdebstrap failed' in reason or 'not installed' in reason or 'no subordinate ids' in reason or 'user namespaces' in reason:
            skip(reason)
    check('image debian makes an image', status == 0, err)
    with open(note, 'w', encoding='utf-8') as f:
        f.write(recipe())
    return call('image', 'path', NAME)[1].strip()


def over(base, path):
    """A disk at `path` over another one; what --disk takes."""
    subprocess.run([RING3, 'disk', 'create', '--force', '--backing', base, path], check=True, capture_output=True)
    return f'{path},backing={base}'
