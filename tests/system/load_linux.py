#!/usr/bin/python3
"""Boots Debian's kernel with all processors busy: shells, compression, forks, signals, and just-in-time compilers.

    load_linux.py BUILD CPUS [SECONDS [OPTION...]]

The host's luajit and node, where they are installed, go into a second initial file system with the libraries that they need; what
their programs (tests/system/load) have to print is what they print on the host.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from harness import TOP, check, complaints, finish, need_guest, ring3, run_command

PROGRAMS = {'lua': 'luajit', 'js': 'node'}
SOURCES = os.path.join(TOP, 'tests', 'system', 'load')
MEMORY = 768


def libraries(program):
    """None if it is no dynamic program, but a script that finds one, say."""
    done = subprocess.run(['ldd', program], capture_output=True, text=True, check=False)
    return [word for word in done.stdout.split() if word.startswith('/')] if done.returncode == 0 else None


def add(root, path, name=None):
    target = os.path.join(root, (name or path).lstrip('/'))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(os.path.realpath(path), target)


def add_program(root, language, program):
    source = os.path.join(SOURCES, f'jit.{language}')
    for path in libraries(program):
        add(root, path)
    # Lua's libraries are in Lua, and some of them are needed.
    if language == 'lua' and os.path.isdir('/usr/share/luajit-2.1.0-beta3'):
        shutil.copytree('/usr/share/luajit-2.1.0-beta3', os.path.join(root, 'usr/share/luajit-2.1.0-beta3'))
    add(root, program, f'/load/{os.path.basename(program)}')
    add(root, source, f'/load/jit.{language}')
    expected = subprocess.run([program, source], capture_output=True, text=True, check=True, timeout=60).stdout
    with open(os.path.join(root, 'load', f'expected-{language}'), 'w', encoding='ascii') as f:
        f.write(expected)
    run = os.path.join(root, 'load', f'run-{language}')
    with open(run, 'w', encoding='ascii') as f:
        f.write(f'#!/bin/sh\nexec /load/{os.path.basename(program)} /load/jit.{language}\n')
    os.chmod(run, 0o755)


def pack(directory, initramfs):
    """The initial file system with the compilers behind it, and their names."""
    root = os.path.join(directory, 'root')
    os.makedirs(os.path.join(root, 'load'))
    paths = {language: os.path.realpath(shutil.which(name) or '/') for language, name in PROGRAMS.items()}
    found = [language for language, path in paths.items() if os.path.isfile(path) and libraries(path)]
    for language in found:
        add_program(root, language, paths[language])
    both = os.path.join(directory, 'initramfs')
    names = subprocess.run(['find', '.'], cwd=root, capture_output=True, check=True).stdout
    archive = subprocess.run(['cpio', '-o', '--quiet', '-H', 'newc'], cwd=root, input=names, capture_output=True, check=True).stdout
    with open(both, 'wb') as out, open(initramfs, 'rb') as first:
        shutil.copyfileobj(first, out)
        out.write(bytes(-out.tell() % 4))
        out.write(archive)
    return both, found


def main():
    cpus, seconds, options = sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20, sys.argv[4:]
    kernel, initramfs = need_guest()
    with tempfile.TemporaryDirectory(prefix='ring3-load.') as directory:
        both, found = pack(directory, initramfs)
        check('a compiler to run', found, f'none of {", ".join(PROGRAMS.values())} is installed')
        status, out, err = ring3(
            *run_command('--kernel', kernel, '--initramfs', both, '--memory', str(MEMORY), '--cpus', cpus, '--cmdline',
                         f'console=ttyS0 ring3.test=load ring3.seconds={seconds}', '--no-reboot', *options), timeout=120 + 4 * seconds)
    print('\n'.join(line for line in out.splitlines() if 'load: ' in line))
    check('the guest powered off', status == 0, f'status {status}, {err}')
    check('the load passed', 'TEST load PASSED' in out, out[-3000:])
    check('the kernel has no complaint', not complaints(out), complaints(out))
    check('and no program crashed', not any(word in out for word in ('segfault', 'traps:')), out[-3000:])
    finish()


main()
