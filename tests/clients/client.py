"""Clients that are not ours, against a proxy of ours: `client.py WHICH CLEAR-URL TLS-URL CA-FILE`. Every check is an assertion."""

import hashlib
import ssl
import sys
import threading

WHICH, CLEAR, TLS, CA = sys.argv[1:5]
BIG = bytes(range(256)) * 16 * 1024  # 4 MiB
SUM = hashlib.sha256(BIG).hexdigest()


def pieces():
    for at in range(0, len(BIG), 100_000):
        yield BIG[at : at + 100_000]


def check_requests():
    import requests

    for base in (CLEAR, TLS):
        session = requests.Session()
        # Not by what the environment says.
        session.trust_env = False
        session.verify = CA
        agent = f"{base}/agent/web"
        for _ in range(20):
            answer = session.get(f"{agent}/echo", params={"q": "a b/\u00fc"})
            assert answer.status_code == 200, answer
        seen = answer.json()
        assert seen["target"] == "/echo?q=a+b%2F%C3%BC", seen
        assert seen["proto"] == base.split(":")[0], seen
        # A length, chunks, and nothing.
        for body in (BIG, pieces(), b""):
            seen = session.put(f"{agent}/echo", data=body).json()
            assert seen["sum"] == (hashlib.sha256(b"").hexdigest() if body == b"" else SUM), seen
        answer = session.get(f"{agent}/big", stream=True)
        whole = hashlib.sha256()
        for piece in answer.iter_content(65_536):
            whole.update(piece)
        assert whole.hexdigest() == SUM
        # A redirect and a cookie of the agent stay below it.
        answer = session.get(f"{agent}/login")
        assert answer.url == f"{agent}/echo", answer.url
        assert [one.path for one in session.cookies] == ["/agent/web/"], session.cookies
        assert answer.json()["cookie"] == "sid=1", answer.text
        assert session.head(f"{agent}/big").headers["content-length"] == str(len(BIG))
        answer = session.get(f"{base}/agent/nobody/")
        assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


def check_httpx():
    import asyncio

    import httpx

    async def of(base, version):
        http2 = version == "HTTP/2"
        trust = ssl.create_default_context(cafile=CA)
        limits = httpx.Limits(max_connections=1 if http2 else 10)
        async with httpx.AsyncClient(http1=not http2, http2=http2, verify=trust, limits=limits, timeout=30) as client:
            asked = (client.get(f"{base}/agent/web/echo?{n}") for n in range(60))
            for n, answer in enumerate(await asyncio.gather(*asked)):
                assert answer.http_version == version, answer.http_version
                assert answer.json()["target"] == f"/echo?{n}", n
            asked = (client.put(f"{base}/agent/web/echo", content=BIG[: n * 999]) for n in range(60))
            for n, answer in enumerate(await asyncio.gather(*asked)):
                assert answer.json()["sum"] == hashlib.sha256(BIG[: n * 999]).hexdigest(), n
            async with client.stream("GET", f"{base}/agent/web/events") as answer:
                lines = [line async for line in answer.aiter_lines() if line]
            assert lines == [f"data: {n}" for n in range(5)], lines

    for base in (CLEAR, TLS):
        for version in ("HTTP/1.1", "HTTP/2"):
            asyncio.run(of(base, version))


def check_websockets():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    for base in (CLEAR, TLS):
        trust = ssl.create_default_context(cafile=CA) if base == TLS else None
        url = base.replace("http", "ws", 1) + "/agent/socket/"
        with connect(url, ssl=trust, subprotocols=["chat"], max_size=None) as socket:
            assert socket.subprotocol == "chat"
            for message in ("hello", "", BIG, "\u00fc"):
                socket.send(message)
                assert socket.recv(timeout=20) == message
            assert socket.ping().wait(20)
            socket.send("close")
            try:
                socket.recv(timeout=20)
                raise AssertionError("it is open still")
            except ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as asked"), closed


def check_grpc():
    import grpc

    with open(CA, "rb") as file:
        trust = grpc.ssl_channel_credentials(file.read())
    for base in (CLEAR, TLS):
        host = base.split("//")[1]
        channel = grpc.secure_channel(host, trust) if base == TLS else grpc.insecure_channel(host)
        with channel:
            check_calls(grpc, channel)


def check_calls(grpc, channel):
    at = "/agent/calls/test.Calls/"
    answer, call = channel.unary_unary(at + "Unary").with_call(b"abc", timeout=20)
    assert answer == b"cba"
    assert ("x-head", "before") in call.initial_metadata(), call.initial_metadata()
    assert ("x-trailer", "behind") in call.trailing_metadata(), call.trailing_metadata()
    big = BIG[: 3 << 20]
    assert channel.unary_unary(at + "Unary")(big, timeout=20) == big[::-1]
    assert channel.unary_unary(at + "Unary")(b"", timeout=20) == b""
    numbers = list(channel.unary_stream(at + "Counts")(b"500", timeout=20))
    assert numbers == [b"%d" % n for n in range(500)]
    many = (b"x" * 1000 for _ in range(500))
    assert channel.stream_unary(at + "Sums")(many, timeout=20) == b"500000"

    said, back = [], threading.Semaphore()

    def says():
        for n in range(50):
            # Each is said only when the one before came back.
            assert back.acquire(timeout=20)
            yield b"%d" % n

    for one in channel.stream_stream(at + "Echoes")(says(), timeout=20):
        said.append(one)
        back.release()
    assert said == [b"%d" % n for n in range(50)]

    def fails(method, **kinds):
        try:
            channel.unary_unary(method)(b"x", **{"timeout": 20, **kinds})
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{method} did not fail")

    error = fails(at + "Fails")
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not like this: 100 % \u00fc", error
    assert ("x-trailer", "behind") in error.trailing_metadata(), error
    assert fails(at + "Nothing").code() == grpc.StatusCode.UNIMPLEMENTED
    # A deadline cancels the agent's call, and no other.
    assert fails(at + "Hangs", timeout=0.5).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert channel.unary_unary(at + "WasCancelled")(b"", timeout=20) == b"yes"
    # Ours, in its words.
    error = fails("/agent/nobody/test.Calls/Unary")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED and "nobody" in error.details(), error
    error = fails("/agent/down/test.Calls/Unary")
    assert error.code() == grpc.StatusCode.UNAVAILABLE and "refused the connection" in error.details(), error


{"requests": check_requests, "httpx": check_httpx, "websockets": check_websockets, "grpc": check_grpc}[WHICH]()
