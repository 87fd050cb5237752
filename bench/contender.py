"""Who runs the rows of the suite: the host itself, and emulators with a Linux kernel in them.

A contender is started, measures rows one at a time (so that contenders can take turns), and is stopped. Every row gets a Result whatever
happens: what does not end within the limit is killed, and a guest is started again for the row after it."""
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time

RESULT = re.compile(r'^(\S+) (\d+\.\d+) ([0-9a-f]{16})$')
MARK = re.compile(r'^(BEGINS|ENDS) (\S+) (\d+\.\d+)(?: (-?\d+))?$')
MEMORY = 1024  # MiB, of every guest
BOOT_LIMIT = 120  # seconds until a guest is ready
CLOCK_SLACK = (0.05, 0.2)  # of a guest's clock against the host's: relative, and seconds
CMDLINE = 'console=ttyS0 quiet panic=-1'


class Result:
    def __init__(self, seconds=None, checksum=None, problem=None):
        self.seconds, self.checksum, self.problem = seconds, checksum, problem


class Native:
    """The host. The processes of a row in `together` share `cpus` processors, as they do in a guest that has no more; other rows
    have one process and run where the host's scheduler puts them, as an emulator does."""

    def __init__(self, folder, cpus, together=()):
        self.name, self.folder, self.together = 'native', folder, together
        self.all = os.sched_getaffinity(0)
        self.few = set(sorted(self.all)[:cpus])

    def start(self):
        pass

    def stop(self):
        pass

    def measure(self, program, row, scale, limit):
        command = [os.path.join(self.folder, program), row, str(scale)]
        cpus = self.few if row in self.together else self.all
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, text=True,
                                  preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        except subprocess.TimeoutExpired:
            return Result(problem=f'no end within {limit} s')
        found = RESULT.match(done.stdout.strip())
        if done.returncode or not found:
            return Result(problem=f'status {done.returncode}: {(done.stdout + done.stderr).strip()[-200:]}')
        return Result(float(found.group(2)), found.group(3))


class Lines:
    """Lines of a process as they come, each with the time of its arrival."""

    def __init__(self, process):
        self.process, self.held = process, b''
        self.selector = selectors.DefaultSelector()
        self.selector.register(process.stdout, selectors.EVENT_READ)

    def next(self, seconds):
        """(text, time); None if there is none within `seconds` or the process has ended."""
        end = time.monotonic() + seconds
        while b'\n' not in self.held:
            left = end - time.monotonic()
            if left <= 0 or not self.selector.select(left):
                return None
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                return None
            self.held += chunk
        line, _, self.held = self.held.partition(b'\n')
        return line.decode('utf-8', 'replace').strip(), time.monotonic()


class Guest:
    """An emulator whose guest waits for rows on its console (programs/init.c)."""

    def __init__(self, name, command):
        self.name, self.command = name, command
        self.process = self.lines = self.errors = None
        self.broken = None  # why it does not start

    def start(self):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.lines = Lines(self.process)
        end = time.monotonic() + BOOT_LIMIT
        while self.process:
            line = self.lines.next(end - time.monotonic())
            if line is None:
                self.broken = self.give_up(BOOT_LIMIT).problem
            elif line[0] == 'READY':
                break

    def stop(self):
        if not self.process:
            return
        try:
            self.send('OFF')
            self.process.wait(timeout=10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass
        self.drop()

    def drop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.process = None

    def send(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()

    def measure(self, program, row, scale, limit):
        if not self.process and not self.broken:
            self.start()
        if self.broken:
            return Result(problem=self.broken)
        try:
            self.send(f'/bench/{program} {row} {scale}')
        except BrokenPipeError:
            return self.give_up(0)
        return self.listen(row, limit)

    def listen(self, row, limit):
        """The result of the row that was asked for."""
        end, result, begun, said = time.monotonic() + limit, None, None, []
        while True:
            line, arrived = self.lines.next(end - time.monotonic()) or (None, None)
            if line is None:
                return self.give_up(limit)
            mark, found = MARK.match(line), RESULT.match(line)
            if mark and mark.group(2) == row and mark.group(1) == 'BEGINS':
                begun = float(mark.group(3)), arrived
            elif mark and mark.group(2) == row and begun:
                self.check_clock(row, float(mark.group(3)) - begun[0], arrived - begun[1])
                failed = Result(problem=f'status {mark.group(4)}: {" ".join(said)[-200:]}')
                return result if result and mark.group(4) == '0' else failed
            elif found and found.group(1) == row:
                result = Result(float(found.group(2)), found.group(3))
            else:
                said.append(line)

    def give_up(self, limit):
        """Nothing comes any more: why, and the end of this start."""
        time.sleep(0.1)
        status = self.process.poll()
        problem = f'no end within {limit} s'
        if status is not None:
            self.errors.seek(0)
            problem = f'{self.name} ended with status {status}: ' + self.errors.read().decode('utf-8', 'replace').strip()[-300:]
        self.drop()
        return Result(problem=problem)

    def check_clock(self, row, guest, host):
        """The guest's clock measures the rows, so it had better be right."""
        if abs(guest - host) > CLOCK_SLACK[0] * host + CLOCK_SLACK[1]:
            print(f'{self.name}: {row} took {guest:.2f} s by the clock of the guest, {host:.2f} s by the host\'s', file=sys.stderr)


def ring3(build, engine, cpus, kernel, initramfs):
    return [f'{build}/ring3', 'run', '--engine', engine, '--memory', str(MEMORY), '--cpus', str(cpus), '--no-reboot',
            '--kernel', kernel, '--initramfs', initramfs, '--cmdline', CMDLINE]


def tcg(cpus, kernel, initramfs):
    """With one processor the thread of TCG is one as well; with more, each processor has its own."""
    threads = 'single' if cpus == 1 else 'multi'
    return ['qemu-system-x86_64', '-accel', f'tcg,thread={threads}', '-cpu', 'max', '-smp', str(cpus), '-m', str(MEMORY),
            '-display', 'none', '-nodefaults', '-serial', 'stdio', '-no-reboot', '-kernel', kernel, '-initrd', initramfs,
            '-append', CMDLINE]
