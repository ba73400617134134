"""The web process: uvicorn as we run it. `python -m cloudtrain_site.web --help` says how to start it."""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import resource
import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.serving.processes import follow_parent

#: How long open requests may go on at a stop. Without it an open event stream keeps the process for ever.
STOP_SECONDS = 3
WAITING_CONNECTIONS = 2048
#: How glibc's malloc.h numbers its option for the most heaps.
M_ARENA_MAX = -8


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError when that can't be, as when somebody else does."""
    if not 0 < port < 65536:
        raise OSError("a port is a number from 1 to 65535")  # the resolver would take it modulo 65,536
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(WAITING_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def serve(listener: socket.socket) -> None:
    """Answer requests on `listener` until SIGTERM or SIGINT."""
    _allow_many_connections()
    config = uvicorn.Config(
        "cloudtrain_site.asgi:application",
        log_config=None,  # its loggers come out through ours
        access_log=False,
        lifespan="off",
        ws="none",  # we have none: who asks for one is answered as if he had not, in place of a 500 and a traceback
        backlog=WAITING_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
        proxy_headers=False,  # ours are behind_proxies
    )
    config.load()
    config.loaded_app = behind_proxies(config.loaded_app)
    # One that can't be used stops the start; later what was read here stays in force.
    get_enterprise_config()
    # What is loaded by now stays. Every full collection would go through it anew, and nobody be answered for 70 ms.
    gc.freeze()
    from cloudtrain_site.serving.asgi_stack import warm_up  # needs Django, which the application has set up

    warm_up()
    uvicorn.Server(config).run(sockets=[listener])


def behind_proxies(application: Any) -> ProxyHeadersMiddleware:
    """The ASGI application, told by our proxies who asks, and whether over HTTPS. What others say counts nothing."""
    from django.conf import settings  # set up by the application

    return ProxyHeadersMiddleware(application, trusted_hosts=["127.0.0.1", "::1", *settings.TRUSTED_PROXIES])


def _allow_many_connections() -> None:
    """Raise the limit on open files as far as we may: the usual 1,024 is below a thousand open event streams."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _share_one_heap() -> None:
    """Have all threads allocate from one heap; to be called before there is a second one.

    On two cores glibc lets them have sixteen, each of which keeps the holes that a burst of requests leaves in it, and
    gains little: Python runs one thread at a time. After 1,000 streams were opened that was 4 MB of 105.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def main() -> int:
    """Serve on the address of the command line, or on a socket that `manage.py up` handed down."""
    parser = argparse.ArgumentParser(prog="python -m cloudtrain_site.web", description="Serve the site.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    follow_parent()
    _share_one_heap()
    os.environ["CLOUDTRAIN_ROLE"] = "web"
    try:
        listener = listen(options.host, options.port) if options.fd is None else socket.socket(fileno=options.fd)
    except OSError as error:
        sys.stderr.write(f"Can't listen on {options.host} port {options.port}: {error.strerror or error}.\n")
        return 1
    try:
        serve(listener)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
