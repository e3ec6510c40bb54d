"""Agents by libraries that are not ours: `agent.py grpc` and `agent.py websockets`. Says its port, then serves to its end."""

import asyncio
import sys
import threading
from concurrent import futures

HOST = "127.0.0.1"
METADATA = (("x-trailer", "behind"),)


def say(port):
    print(port, flush=True)


def serve_grpc():
    import grpc

    cancelled = threading.Event()

    def unary(request, context):
        context.send_initial_metadata((("x-head", "before"),))
        context.set_trailing_metadata(METADATA)
        return request[::-1]

    def fails(request, context):
        context.set_trailing_metadata(METADATA)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: 100 % \u00fc")

    def counts(request, context):
        for n in range(int(request)):
            yield b"%d" % n

    def sums(requests, context):
        return b"%d" % sum(len(one) for one in requests)

    def echoes(requests, context):
        for one in requests:
            yield one

    def hangs(request, context):
        cancelled.clear()
        context.add_callback(cancelled.set)
        cancelled.wait(20)
        return b""

    def was_cancelled(request, context):
        return b"yes" if cancelled.wait(10) else b"no"

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fails": grpc.unary_unary_rpc_method_handler(fails),
        "Counts": grpc.unary_stream_rpc_method_handler(counts),
        "Sums": grpc.stream_unary_rpc_method_handler(sums),
        "Echoes": grpc.stream_stream_rpc_method_handler(echoes),
        "Hangs": grpc.unary_unary_rpc_method_handler(hangs),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Calls", handlers)])
    say(server.add_insecure_port(f"{HOST}:0"))
    server.start()
    server.wait_for_termination()


async def serve_websockets():
    from websockets.asyncio.server import serve

    async def talk(socket):
        async for message in socket:
            if message == "close":
                await socket.close(4001, "as asked")
                return
            await socket.send(message)

    async with serve(talk, HOST, 0, max_size=None, subprotocols=["chat"]) as server:
        say(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if sys.argv[1] == "grpc":
    serve_grpc()
else:
    asyncio.run(serve_websockets())
