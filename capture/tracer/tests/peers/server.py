"""A TLS server: /N answers N bytes, POST answers what it was sent. Says its port once it listens.

server.py HOST CERTIFICATE KEY threads|asyncio
"""
import asyncio, http.server, socket, ssl, sys

host, certificate, key, kind = sys.argv[1:5]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def body(path):
    length = int(path.rsplit("/", 1)[1])
    return (path.encode() * (length // len(path) + 1))[:length]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, content):
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer(body(self.path))

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["content-length"])))

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    request_queue_size = 256
    daemon_threads = True


async def one(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            content = body(head.split(b" ", 2)[1].decode())
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve():
    server = await asyncio.start_server(one, host, 0, ssl=context, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if kind == "asyncio":
    asyncio.run(serve())
else:
    server = Server((host, 0), Handler)
    print(server.server_address[1], flush=True)
    # The handshake in the connection's own thread.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
