"""Two ptys as one line, between two programs that both want a serial port."""

import os
import select
import threading
import tty

DEADLINE_S = 15.0


class Pump:
    """Two ptys as one line: what is written to one end comes out of the other."""

    def __init__(self):
        self.masters, self.paths, self.slaves = [], [], []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)
            self.masters.append(master)
            self.slaves.append(slave)  # kept open: no hang-up between one reader and the next
            self.paths.append(os.ttyname(slave))
        self.wake_read, self.wake_write = os.pipe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        ways = dict(zip(self.masters, reversed(self.masters), strict=True))
        while True:
            ready, _, _ = select.select([*self.masters, self.wake_read], [], [])
            if self.wake_read in ready:
                return
            for fd in ready:
                os.write(ways[fd], os.read(fd, 512))

    def close(self):
        os.write(self.wake_write, b"!")
        self.thread.join(DEADLINE_S)
        for fd in (*self.masters, *self.slaves, self.wake_read, self.wake_write):
            os.close(fd)
