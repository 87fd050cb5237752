"""The initial file system of the suite's guest: a cpio archive ("newc", Documentation/driver-api/early-userspace in the kernel's
sources), not compressed, so that starting it costs no emulator more than a copy."""
import os

DIRECTORY, EXECUTABLE = 0o040755, 0o100755


def entry(number, name, mode, data=b''):
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    header = b'070701' + b''.join(b'%08x' % f for f in fields) + name.encode() + b'\0'
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


def write(path, folder, programs):
    """init and the programs are taken from `folder`."""
    files = [('dev', DIRECTORY, b''), ('bench', DIRECTORY, b'')]
    for name in ['init', *programs]:
        with open(os.path.join(folder, name), 'rb') as f:
            files.append((name if name == 'init' else f'bench/{name}', EXECUTABLE, f.read()))
    with open(path, 'wb') as f:
        for number, (name, mode, data) in enumerate(files, 1):
            f.write(entry(number, name, mode, data))
        f.write(entry(0, 'TRAILER!!!', 0))
