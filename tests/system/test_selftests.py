#!/usr/bin/python3
"""Linux's own tests of what a processor does for programs (tools/testing/selftests), run by the guest's kernel.

    test_selftests.py BUILD

They come from Debian's package of the kernel's sources, and are compiled once for each build directory, in BUILD/guest/selftests;
those of 32-bit code only where the compiler can make that (package gcc-multilib).
"""
import glob
import os
import re
import shlex
import shutil
import subprocess
import tarfile

from harness import GUEST, check, finish, need_guest, ring3, root_command, skip

# Collection, and which of its programs; none: all.
COLLECTIONS = {
    'x86': (),
    'breakpoints': ('breakpoint_test',),
    'ptrace': ('get_syscall_info', 'peeksiginfo'),
    'seccomp': ('seccomp_bpf',),
    'sigaltstack': (),
    'syscall_user_dispatch': ('sud_test',),
}
# Of another processor.
LEFT_OUT = ('amx_64',)
SKIPPED = 4  # KSFT_SKIP
FOLDER = os.path.join(GUEST, 'selftests')


def sources():
    found = sorted(glob.glob('/usr/src/linux-source-*.tar.*'))
    if not found:
        skip('there are no sources of Linux (package linux-source)')
    return found[-1]


def unpack(archive, folder):
    """The collections, and what they and their makefiles include."""
    wanted = re.compile(r'[^/]+/(arch/x86/include/asm/desc_defs\.h$|tools/include/|'
                        r'tools/testing/selftests/([^/]+|clone3/[^/]+\.h|(%s)/.*)$)' % '|'.join(COLLECTIONS))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, (member for member in tar if wanted.match(member.name) and (member.isfile() or member.issym())))


def compile_all(folder):
    """Some may need more than this machine has: those that come out are run. A make above would have its say by variables."""
    clean = {name: value for name, value in os.environ.items() if 'MAKE' not in name and name not in ('MFLAGS', 'O')}
    return subprocess.run(['make', '-k', '-C', folder, f'OUTPUT={folder}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors='replace', env=clean, check=False).stdout


def make():
    """The folder that has the collections' programs."""
    archive = sources()
    note, what = os.path.join(FOLDER, 'made'), f'{archive} {COLLECTIONS}\n'
    if not os.path.exists(note) or not open(note, encoding='utf-8').read().startswith(what):
        shutil.rmtree(FOLDER, ignore_errors=True)
        unpack(archive, FOLDER)
        folders = [glob.glob(f'{FOLDER}/*/tools/testing/selftests/{collection}')[0] for collection in COLLECTIONS]
        log = ''.join(compile_all(folder) for folder in folders)
        with open(note, 'w', encoding='utf-8') as f:
            f.write(what + log)
    return glob.glob(f'{FOLDER}/*/tools/testing/selftests')[0]


def programs(top):
    for collection, names in COLLECTIONS.items():
        for name in names or sorted(os.listdir(f'{top}/{collection}')):
            path = f'{top}/{collection}/{name}'
            if name not in LEFT_OUT and os.path.isfile(path) and os.access(path, os.X_OK) and '.' not in name:
                yield f'{collection}/{name}'


def run(top, names):
    """Status and output of each."""
    each = '\n'.join(f'(cd {shlex.quote(top)}/{os.path.dirname(name)} && timeout 60 ./{os.path.basename(name)} 2>&1); echo "STATUS {name} $?"' for name in names)
    end, out, err = ring3(*root_command('--memory', '1G', '--cpus', '2'), '--', 'sh', '-c', each, timeout=800)
    check('the guest came to the end', end == 0, err[-3000:])
    parts = re.split(r'^STATUS (\S+) (\d+)\n', out, flags=re.M)
    return {name: (int(status), output) for output, name, status in zip(parts[::3], parts[1::3], parts[2::3])}


def main():
    need_guest()
    top = make()
    names = list(programs(top))
    check('there are some', len(names) > 15, f'{names}; see {FOLDER}/made')
    results = run(top, names)
    for name in names:
        status, output = results.get(name, (-1, 'was not run'))
        check(f'{name}{" (not for this machine)" if status == SKIPPED else ""}', status in (0, SKIPPED), f'status {status}\n{output[-2000:]}')
    finish()


main()
