#!/usr/bin/env python3
"""The agent of agent.py behind Twisted's XML-RPC server. Takes the same arguments."""

import argparse
import sys

from agent import Shop
from twisted.internet import endpoints, reactor
from twisted.web import server, xmlrpc


class Base(xmlrpc.XMLRPC):
    """The base methods, and no other."""

    METHODS = ["clean", "sql_prepare", "sql_create", "sql_finish", "setidstart", "diff"]

    def __init__(self, shop):
        super().__init__(allowNone=True)
        self.shop = shop

    def lookupProcedure(self, name):
        print(name, flush=True)
        if name not in self.METHODS:
            raise xmlrpc.NoSuchFunction(self.NOT_FOUND, f"procedure {name} not found")
        return getattr(self.shop, name)


def main():
    parser = argparse.ArgumentParser()
    for flag in ["--database", "--schema", "--tables", "--sends"]:
        parser.add_argument(flag, required=True)
    parser.add_argument("--psql", default="psql")
    base = Base(Shop(parser.parse_args()))
    endpoint = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    listening = endpoint.listen(server.Site(base))
    listening.addCallback(lambda port: print(f"listening on http://127.0.0.1:{port.getHost().port}", file=sys.stderr, flush=True))
    reactor.run()


if __name__ == "__main__":
    main()
