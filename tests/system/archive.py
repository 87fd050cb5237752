"""A small archive of packages on the host's loopback, for apt in a guest behind nat: one package that does something, and any number of
others that are only listed."""
import functools
import hashlib
import http.server
import lzma
import os
import subprocess
import threading

PACKAGE = 'ring3-sample'
CONTROL = f'''Package: {PACKAGE}
Version: 1.0
Architecture: all
Maintainer: ring3 <ring3@example.org>
Description: what a guest installs in a test
'''
SCRIPTS = {'postinst': 'echo "$1" > /var/lib/ring3-sample', 'postrm': '[ "$1" != purge ] || rm -f /var/lib/ring3-sample'}


def _write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='ascii') as f:
        f.write(text)
    os.chmod(path, mode)


def _make_package(folder):
    """A program, fifty small files, a file of configuration, and scripts; what the index says of it."""
    root, package = f'{folder}/root', f'{folder}/{PACKAGE}_1.0_all.deb'
    _write(f'{root}/DEBIAN/control', CONTROL)
    _write(f'{root}/DEBIAN/conffiles', f'/etc/{PACKAGE}.conf\n')
    for name, line in SCRIPTS.items():
        _write(f'{root}/DEBIAN/{name}', f'#!/bin/sh\nset -e\n{line}\n', 0o755)
    _write(f'{root}/usr/bin/{PACKAGE}', '#!/bin/sh\necho "a sample says $(cat /var/lib/ring3-sample)"\n', 0o755)
    _write(f'{root}/etc/{PACKAGE}.conf', 'sample = yes\n')
    for n in range(50):
        _write(f'{root}/usr/share/{PACKAGE}/{n}', ''.join(f'{n} {n * line % 7919}\n' for line in range(400)))
    subprocess.run(['dpkg-deb', '--root-owner-group', '--build', root, package], check=True, stdout=subprocess.DEVNULL)
    with open(package, 'rb') as f:
        data = f.read()
    return f'{CONTROL}Filename: ./{os.path.basename(package)}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n'


def _other(n):
    """As long as a stanza of Debian's is."""
    depends = ', '.join(f'other-{(n * k) % 9973} (>= 1.{k})' for k in range(2, 10))
    tags = ', '.join(f'role::{hashlib.md5(bytes([n % 256, n // 256 % 256, k])).hexdigest()}' for k in range(4))
    return (f'Package: other-{n}\nVersion: 1.{n % 17}-{n % 5}\nInstalled-Size: {n * 31}\nArchitecture: amd64\n'
            f'Maintainer: nobody <nobody@example.org>\nDepends: {depends}\nDescription: package number {n}\nTag: {tags}\nSection: misc\n'
            f'Priority: optional\nFilename: ./other-{n}.deb\nSize: {n}\nSHA256: {hashlib.sha256(str(n).encode()).hexdigest()}\n')


def make(folder, others=0):
    index = '\n'.join([_make_package(folder), *(_other(n) for n in range(others))]).encode()
    packed = lzma.compress(index)
    with open(f'{folder}/Packages.xz', 'wb') as f:
        f.write(packed)
    lines = [f' {hashlib.sha256(data).hexdigest()} {len(data)} {name}' for name, data in (('Packages', index), ('Packages.xz', packed))]
    _write(f'{folder}/Release', 'Origin: ring3\nDate: Sun, 01 Jan 2023 00:00:00 UTC\nSHA256:\n' + '\n'.join(lines) + '\n')


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass


def serve(folder):
    """The port at which the folder is, until the process ends."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(_Handler, directory=folder))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def use(port):
    """The line of shell with which a guest behind nat takes that archive and no other."""
    return (f'echo "deb [trusted=yes] http://10.0.2.2:{port} ./" > /run/local.list; export APT_CONFIG=/run/apt.conf; '
            'printf \'Dir::Etc::SourceList "/run/local.list";\\nDir::Etc::SourceParts "/dev/null";\\n\' > /run/apt.conf')
