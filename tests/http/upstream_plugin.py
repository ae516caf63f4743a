"""For pytest, on ComfyUI's own tests of its HTTP routes (upstream.sh): their application is limn. What the tests import of ComfyUI to build
an application is a module that does nothing, their client asks limn, their scratch folder is the folder of limn's user."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import aiohttp
import pytest
import pytest_asyncio
import requests


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made
    return made


class UserManager:
    users = {}

    def add_routes(self, routes):
        pass


place = {}
module("app", user_manager=module("app.user_manager", UserManager=UserManager, args=types.SimpleNamespace(multi_user=False)))
module("folder_paths", get_user_directory=lambda: place["user"], set_user_directory=lambda path: place.update(user=path),
       get_system_user_directory=lambda name: os.path.join(place["user"], "__" + name))


def start(base, *options):
    server = subprocess.Popen([os.environ["LIMN"], "serve", "--quiet", "--test-nodes", "--port", "0", "--base-directory", base, *options],
                              stdout=subprocess.PIPE, text=True)
    return server, server.stdout.readline().strip().rstrip("/")


@pytest.fixture(scope="session")
def limn_one(tmp_path_factory):
    base = str(tmp_path_factory.mktemp("one"))
    server, address = start(base)
    yield address, os.path.join(base, "user", "default")
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def limn_users(tmp_path_factory):
    base = str(tmp_path_factory.mktemp("users"))
    server, address = start(base, "--users")
    yield address, os.path.join(base, "user")
    server.terminate()
    server.wait()


@pytest.fixture
def limn(request):
    """The address of the server that a test is for, and its empty folder."""
    several = "app_multi_user" in request.fixturenames
    address, folder = request.getfixturevalue("limn_users" if several else "limn_one")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    if several:  # those that the tests give their application
        with open(os.path.join(folder, "users.json"), "w") as file:
            json.dump({"default": "default", "test_user_123": "Test User"}, file)
    return address, folder


@pytest.fixture
def tmp_path(limn):
    place["user"] = limn[1]
    return pathlib.Path(limn[1])


@pytest_asyncio.fixture
async def aiohttp_client(limn):
    sessions = []

    async def client(app):
        sessions.append(aiohttp.ClientSession(base_url=limn[0]))
        return sessions[-1]
    yield client
    for session in sessions:
        await session.close()


@pytest.fixture
def http():
    with requests.Session() as session:
        yield session


@pytest.fixture
def api_base(limn_one):
    return limn_one[0] + "/api"
