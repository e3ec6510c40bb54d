"""The agent of the history checker: writes down what it gets before it answers, each line with one write, so that what it got outlives it.

What it does with a request stands in the request: `x-do` names an act for its first delivery, its second, and so on.
"""

import hashlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTANCE = os.environ.get('AGENT_INSTANCE', 'agent')
# A container that is started again has the same process ids.
LIFE = f'{INSTANCE}-{os.getpid()}-{time.time_ns()}'
FILE = os.open(f'/record/{LIFE}.jsonl', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
COUNT = iter(range(1 << 60))
LOCK = threading.Lock()


def now():
    return time.time_ns() // 1_000_000


def write(**line):
    os.write(FILE, (json.dumps(line) + '\n').encode())


class Agent(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, b'ok')

    def do_POST(self):
        with LOCK:
            name = f'{LIFE}-{next(COUNT)}'
        attempt = int(self.headers.get('x-agentainer-attempt') or 0)
        write(
            got=name, at=now(), agent=os.environ['AGENT_NAME'], method=self.command, target=self.path,
            record=self.headers.get('x-agentainer-request-id'), attempt=attempt,
            fields=[[key.lower(), value] for key, value in self.headers.items() if key.lower().startswith('x-h-')],
        )
        length = int(self.headers.get('content-length') or 0)
        body = self.rfile.read(length)
        if len(body) == length:
            write(body=name, digest=hashlib.sha256(body).hexdigest())
        acts = (self.headers.get('x-do') or '200').split(',')
        act = acts[min(max(attempt, 1), len(acts)) - 1]
        if act == 'die':
            write(dies=INSTANCE, at=now())
            os._exit(1)
        if act in ('close', 'hang'):
            time.sleep(20 if act == 'hang' else 0)
            self.close_connection = True
            return
        if act == 'slow':
            time.sleep(0.4)
        status = int(act) if act.isdigit() else 200
        number = self.path.split('?')[0].split('/')[-1]
        write(answered=name, at=now(), status=status)
        self.answer(status, f'{number} {hashlib.sha256(body).hexdigest()}'.encode())

    do_PUT = do_POST

    def answer(self, status, text):
        self.send_response(status)
        self.send_header('content-type', 'text/plain')
        self.send_header('content-length', str(len(text)))
        self.send_header('x-h-agent', '1')
        self.end_headers()
        self.wfile.write(text)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(('0.0.0.0', int(os.environ.get('PORT', '8000'))), Agent).serve_forever()
