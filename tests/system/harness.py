"""What the system tests share: where ring3 is, and a small frame of checks.

A test is a script that gets the build directory as its first argument. Each check prints a line; the status is 0 if all passed,
77 (skipped, for meson) after skip(), 1 otherwise.

The environment variable RING3_TEST_ENGINE names the engine that guests run on; without it ring3 chooses.
"""
import hashlib
import os
import re
import select
import subprocess
import sys
import threading
import time

BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else 'build'
RING3 = os.path.join(BUILD, 'ring3')
GUEST = os.path.join(BUILD, 'guest')
ENGINE = os.environ.get('RING3_TEST_ENGINE')
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_failed = []


def check(what, good, detail=''):
    print(f'{"ok  " if good else "FAIL"} {what}{"" if good else ": " + str(detail)}', flush=True)
    if not good:
        _failed.append(what)
    return good


def skip(reason):
    print(f'skipped: {reason}')
    sys.exit(77)


def serve_sums(listener):
    """Takes bytes until their end from each that connects, and answers with their sum."""

    def one(connection):
        digest = hashlib.sha256()
        with connection:
            while chunk := connection.recv(1 << 20):
                digest.update(chunk)
            connection.sendall(digest.hexdigest().encode() + b'\n')

    def run():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def finish():
    print(f'{len(_failed)} failed')
    for what in _failed:
        print(f'  {what}')
    sys.exit(1 if _failed else 0)


def run_command(*options):
    """The arguments of a run with these options on the engine under test."""
    return ['run', *(['--engine', ENGINE] if ENGINE else []), *options]


def ring3(*arguments, stdin=b'', timeout=30):
    """Runs to the end. Status (negative: signal; None: it had to be killed), standard output, standard error."""
    status = None
    try:
        done = subprocess.run([RING3, *arguments], input=stdin, capture_output=True, timeout=timeout)
        status = done.returncode
    except subprocess.TimeoutExpired as late:
        done = late
    return status, (done.stdout or b'').decode('utf-8', 'replace'), (done.stderr or b'').decode('utf-8', 'replace')


def need_guest():
    """The kernel and initial file system that tools/guest-kernel makes."""
    kernel, initramfs = (os.path.join(GUEST, name) for name in ('vmlinuz', 'initramfs.gz'))
    if not (os.path.exists(kernel) and os.path.exists(initramfs)):
        skip(f'{GUEST} has no kernel; tools/guest-kernel makes it')
    return kernel, initramfs


def root_command(*options):
    """The arguments of a run on the host's root file system on the engine under test; `--` and a command may follow."""
    kernel, _ = need_guest()
    return run_command('--kernel', kernel, '--modules', os.path.join(GUEST, 'modules'), '--root', 'host', *options)


def complaints(log):
    """Lines that a kernel only writes when something went wrong."""
    words = r'WARNING:|BUG:|Oops|Call Trace|Kernel panic|rcu.*stall|soft lockup|general protection|firmware bug'
    return [line for line in log.splitlines() if re.search(words, line, re.I)]


class Running:
    """ring3 with its output read as it comes, on pipes."""

    def __init__(self, *arguments, **more):
        self.process = subprocess.Popen([RING3, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = ''

    def expect(self, text, seconds):
        """Waits until standard output has `text`; the seconds that took, or None."""
        begin = time.monotonic()
        while text not in self.output:
            left = begin + seconds - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return None
            chunk = self.process.stdout.read()
            if chunk == b'':
                return None
            self.output += (chunk or b'').decode('utf-8', 'replace')
        return time.monotonic() - begin

    def type(self, keys):
        self.process.stdin.write(keys.encode())
        self.process.stdin.flush()

    def cpu_seconds(self):
        """Processor time that it has used so far."""
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def end(self, seconds=20):
        """Ctrl-a x; the status, None if it had to be killed."""
        try:
            self.type('\x01x')
        except BrokenPipeError:
            pass
        try:
            self.process.communicate(timeout=seconds)
            return self.process.returncode
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return None
