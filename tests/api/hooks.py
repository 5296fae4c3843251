"""How schemathesis logs in, and which identifiers exist: without these it would see 401 and 404 only.

Whatever it sends may end its own session or change its own account. After a 401 it logs in anew, and as a new administrator
where the old one is gone.
"""

import itertools
import os
import subprocess

import requests
import schemathesis

URL = os.environ["ROLLCALL_URL"]
BINARY = os.environ["ROLLCALL_BINARY"]
PASSWORD = "a password of the tests"

names = (f"tester{number}" for number in itertools.count(1))
name = None
token = None


def log_in():
    global name, token
    if name is None or not (token := login()):
        name = next(names)
        new = [BINARY, "user", "add", name, "--role", "admin", "--password-stdin"]
        subprocess.run(new, input=PASSWORD, text=True, check=True, capture_output=True)
        token = login()
    return token


def login():
    answer = requests.post(f"{URL}/api/v1/auth/login", json={"username": name, "password": PASSWORD}, timeout=60)
    return answer.json().get("accessToken")


@schemathesis.auth(refresh_interval=None)
class Login:
    def get(self, case, context):
        return token or log_in()

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def after_call(context, case, response):
    global token
    if response.status_code == 401 and case.headers and case.headers.get("Authorization") == f"Bearer {token}":
        token = None


def existing(path):
    """The identifiers of a list, as the page would read them."""
    headers = {"Authorization": f"Bearer {token or log_in()}"}
    answer = requests.get(f"{URL}/api/v1{path}", params={"pageSize": 20}, headers=headers, timeout=60)
    rows = answer.json().get("list") or []
    return [str(row.get("id") or row.get("name")) for row in rows]


LISTS = ["/users", "/api-keys", "/sessions", "/roles", "/jobs", "/nodes", "/online/clients"]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Every other request is about something that exists."""
    map_path_parameters.calls += 1
    if not path_parameters or map_path_parameters.calls % 2:
        return path_parameters
    path = context.operation.path
    known = next((existing(start) for start in LISTS if path.startswith(start + "/")), [])
    if not known:
        return path_parameters
    return {key: known[map_path_parameters.calls // 2 % len(known)] for key in path_parameters}


map_path_parameters.calls = 0
