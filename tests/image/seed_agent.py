"""The Python agents of docs/network-architecture, in one program, for the tests.

Every function marked "as written" is that document's snippet; what stands around it makes it callable over HTTP.
Two things come from the environment where agentainer set them, since tests run beside other servers: the address of
the API (AGENTAINER_URL) and that of Redis (AGENTAINER_REDIS_HOST, AGENTAINER_REDIS_PORT).
"""

import json
import os
import threading
import time

import redis
import requests
from flask import Flask, jsonify, request
from requests.adapters import HTTPAdapter
from requests.packages.urllib3.util.retry import Retry

AGENT_ID = os.environ.get('AGENT_ID', os.uname().nodename)
API = os.environ.get('AGENTAINER_URL', 'http://host.docker.internal:8081').rstrip('/')
REDIS = {
    'host': os.environ.get('AGENTAINER_REDIS_HOST', 'host.docker.internal'),
    'port': int(os.environ.get('AGENTAINER_REDIS_PORT', '6379')),
}
TIMEOUT = (3, 30)

app = Flask(__name__)


def answered(response):
    """What came back from somewhere else, for the caller to judge."""
    try:
        body = response.json()
    except ValueError:
        body = response.text
    return jsonify(status=response.status_code, body=body)


@app.errorhandler(requests.RequestException)
@app.errorhandler(redis.RedisError)
def failed(error):
    return {'error': type(error).__name__, 'message': str(error)}, 502


@app.route('/')
def index():
    return {'agent': AGENT_ID, 'instance': os.environ.get('AGENT_INSTANCE', os.uname().nodename)}


# ---- Security model: an agent handles its own authentication (as written) -------------------------------------------

# Protected endpoint (agent handles auth)
@app.route('/api/sensitive', methods=['POST'])
def sensitive():
    api_key = request.headers.get('X-API-Key')
    if api_key != 'secret-key':
        return {'error': 'Unauthorized'}, 401
    return {'data': 'sensitive information'}


# ---- Health checks (as written, with checks that look) --------------------------------------------------------------

def check_database():
    return True


def check_redis():
    try:
        return redis.Redis(**REDIS, socket_timeout=2, socket_connect_timeout=2).ping()
    except redis.RedisError:
        return False


def check_other_agent():
    other = os.environ.get('OTHER_SERVICE')
    if not other:
        return True
    try:
        return requests.get(other, timeout=2).ok
    except requests.RequestException:
        return False


@app.route('/health')
def health():
    # Check dependencies
    checks = {
        'database': check_database(),
        'redis': check_redis(),
        'dependent_service': check_other_agent()
    }

    if all(checks.values()):
        return {'status': 'healthy', 'checks': checks}
    else:
        return {'status': 'unhealthy', 'checks': checks}, 503


# ---- Agent → Agentainer API ------------------------------------------------------------------------------------------

headers = {'Authorization': 'Bearer agentainer-default-token'}


@app.route('/me')
def own_status():
    return answered(requests.get(
        f'{API}/agents/{AGENT_ID}',
        headers=headers, timeout=TIMEOUT
    ))


@app.route('/others')
def all_status():
    return answered(requests.get(
        f'{API}/agents',
        headers=headers, timeout=TIMEOUT
    ))


@app.route('/me/whole')
def own_status_with_own_token():
    """The agent's own token, which agentainer puts into its environment, shows it itself whole."""
    own = {'Authorization': f'Bearer {os.environ.get("AGENTAINER_TOKEN", "")}'}
    return answered(requests.get(f'{API}/agents/{AGENT_ID}', headers=own, timeout=TIMEOUT))


@app.route('/try', methods=['POST'])
def try_api():
    """Any call to the API with any token: {method, path, token?, body?}. What is refused is for the test to see."""
    call = request.get_json()
    token = call.get('token', 'agentainer-default-token')
    bearer = {'Authorization': f'Bearer {token}'} if token else {}
    return answered(requests.request(
        call['method'], API + call['path'], headers=bearer, json=call.get('body'), timeout=TIMEOUT
    ))


# ---- Agent → agent ---------------------------------------------------------------------------------------------------

@app.route('/direct/<agent>/<path:path>', methods=['GET', 'POST'])
def direct(agent, path):
    """Direct internal communication (fast)."""
    return answered(requests.request(
        request.method, f'http://{agent}:8000/{path}', json=request.get_json(silent=True), timeout=TIMEOUT
    ))


@app.route('/proxied/<agent>/<path:path>', methods=['GET', 'POST'])
def proxied(agent, path):
    """Through the proxy (works from anywhere)."""
    return answered(requests.request(
        request.method, f'{API}/agent/{agent}/{path}', json=request.get_json(silent=True), timeout=TIMEOUT
    ))


@app.route('/retried/<agent>/<path:path>')
def retried(agent, path):
    # Configure retries (as written)
    session = requests.Session()
    retry = Retry(total=3, backoff_factor=0.3)
    adapter = HTTPAdapter(max_retries=retry)
    session.mount('http://', adapter)

    # Use session for requests
    return answered(session.get(f'http://{agent}:8000/{path}', timeout=TIMEOUT))


# Connection pooling for agent-to-agent (as written)
class ServiceClient:
    def __init__(self, service_name):
        self.base_url = f'http://{service_name}:8000'
        self.session = requests.Session()
        # Keep connections alive
        self.session.mount('http://', HTTPAdapter(
            pool_connections=10,
            pool_maxsize=20
        ))


@app.route('/pooled/<agent>/<path:path>')
def pooled(agent, path):
    client = ServiceClient(agent)
    answers = [client.session.get(f'{client.base_url}/{path}', timeout=TIMEOUT) for _ in range(5)]
    return answered(answers[-1])


# ---- Caching (as written; the user service is an agent of that name) -------------------------------------------------

cache = redis.Redis(**REDIS)


def get_user_data(user_id):
    # Check cache first
    cached = cache.get(f'user:{user_id}')
    if cached:
        return json.loads(cached)

    # Fetch from user service
    response = requests.get(f'http://user-service:8000/users/{user_id}')
    data = response.json()

    # Cache for 5 minutes
    cache.setex(f'user:{user_id}', 300, json.dumps(data))
    return data


@app.route('/cached/<user_id>')
def cached_user(user_id):
    return jsonify(get_user_data(user_id))


@app.route('/users/<user_id>')
def user(user_id):
    """The user service's side: the time tells a cached answer from a fresh one."""
    return {'id': user_id, 'served_by': AGENT_ID, 'at': time.time()}


# ---- Event-driven architecture ---------------------------------------------------------------------------------------

r = redis.Redis(**REDIS)
heard = []


def publish_event(event_type, data):
    return r.publish(f'events:{event_type}', json.dumps(data))


def handle_event(channel, data):
    heard.append({'channel': channel.decode(), 'data': json.loads(data)})
    del heard[:-100]


def listen_for_events():
    """With psubscribe and pmessage: subscribe would take the star literally and hear nothing."""
    while True:
        try:
            pubsub = r.pubsub()
            pubsub.psubscribe('events:*')

            for message in pubsub.listen():
                if message['type'] == 'pmessage':
                    handle_event(message['channel'], message['data'])
        except redis.RedisError:
            time.sleep(0.5)


@app.route('/publish/<event_type>', methods=['POST'])
def publish(event_type):
    return {'subscribers': publish_event(event_type, request.get_json())}


@app.route('/events')
def events():
    return jsonify(heard)


# ---- Redis as an agent sees it ---------------------------------------------------------------------------------------

@app.route('/redis', methods=['POST'])
def redis_command():
    """One command, as a list of words: {host?, port?, words}. What is refused is for the test to see."""
    call = request.get_json()
    target = {**REDIS, **{key: call[key] for key in ('host', 'port') if key in call}}
    client = redis.Redis(**target, socket_timeout=3, socket_connect_timeout=3)
    return {'reply': repr(client.execute_command(*call['words']))}


if __name__ == '__main__':
    threading.Thread(target=listen_for_events, daemon=True).start()
    app.run(host='0.0.0.0', port=int(os.environ.get('PORT', '8000')), threaded=True)
