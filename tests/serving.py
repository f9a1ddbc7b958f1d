"""A server of pymodbus on an event loop of its own, for tests that have it as the device."""

import asyncio
import threading

DEADLINE_S = 15.0


class Serving:
    """A pymodbus server on an event loop of its own."""

    def __init__(self, make_server):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.call(self.started(make_server))

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE_S)

    async def started(self, make_server):
        server = make_server()
        await server.serve_forever(background=True)
        return server

    async def ended(self):
        await self.server.shutdown()
        for _ in range(3):
            await asyncio.sleep(0)  # turns of the loop for what close() has left for it

    def stop(self):
        self.call(self.ended())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE_S)
        self.loop.close()
