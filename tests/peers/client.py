#!/usr/bin/env python3
"""Synchronises an office with a shop by nothing but Python's standard library, psql and the six base methods.

    client.py clone URL --office DB --tables product,sale,... --ids 1000000 --cut slices|members|text
    client.py update URL --office DB [--since WATERMARK] [--twice]
    client.py introspect URL
    client.py faults URL

What was done is printed as one JSON object. Tables are named as SQL spells them, parents first.
"""

import argparse
import gzip
import json
import subprocess
import xmlrpc.client
import zlib

PREAMBLE = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n"
SLICE = 7919  # a prime: slices end inside statements, literals and characters
PIECE = 40960  # of SQL text, as the clients of 2006 cut it


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["clone", "update", "introspect", "faults"])
    parser.add_argument("url")
    parser.add_argument("--psql", default="psql")
    parser.add_argument("--office")
    parser.add_argument("--tables", default="")
    parser.add_argument("--ids", type=int, default=0)
    parser.add_argument("--cut", choices=["slices", "members", "text"], default="slices")
    parser.add_argument("--since", default=None)
    parser.add_argument("--twice", action="store_true")
    args = parser.parse_args()
    shop = xmlrpc.client.ServerProxy(args.url, allow_none=True)
    tasks = {"clone": clone, "update": update, "introspect": introspect, "faults": faults}
    print(json.dumps(tasks[args.task](shop, args)))


def clone(shop, args):
    script = copy_of(args)
    assert shop.clean() is None
    sid = shop.sql_prepare()
    assert isinstance(sid, int) and sid > 0, sid
    pieces = list(chunks(script, args.cut))
    for piece in pieces:
        assert shop.sql_create(sid, piece) is None
    assert shop.sql_finish(sid) is None
    # an answer that was lost may be asked for again
    assert shop.sql_finish(sid) is None
    # this library has no integers beyond 32 bits
    assert shop.setidstart(str(args.ids) if args.cut == "slices" else float(args.ids)) is None
    return {"chunks": len(pieces), "bytes": len(script), "sid": sid}


def update(shop, args):
    since, answers, size = args.since or 0, 0, 0
    while True:
        answer = shop.diff(since)
        if answer is None:
            return {"answers": answers, "watermark": since, "bytes": size}
        script = gzip.decompress(answer.data)
        for _ in range(2 if args.twice else 1):
            psql(args, script)
        label, _, watermark = script.decode().rstrip("\n").rpartition("\n")[2].partition(": ")
        assert label == "-- watermark", label
        assert watermark != since, "the same changes again"
        since, answers, size = watermark, answers + 1, size + len(script)


def introspect(shop, args):
    methods = shop.system.listMethods()
    many = xmlrpc.client.MultiCall(shop)
    many.system.methodSignature("diff")
    many.system.methodHelp("diff")
    signature, text = many()
    return {
        "methods": methods,
        "signatures": {name: shop.system.methodSignature(name) for name in methods},
        "undocumented": [name for name in methods if not shop.system.methodHelp(name)],
        "capabilities": sorted(shop.system.getCapabilities()),
        "multicall": [signature, bool(text)],
    }


def faults(shop, args):
    """Codes of the faults that a client may meet."""
    sid = shop.sql_prepare()
    chunk = xmlrpc.client.Binary(gzip.compress(b"DELETE FROM nowhere WHERE id = 1;", mtime=0))
    shop.sql_create(sid, chunk)
    other = shop.sql_prepare()
    shop.sql_create(other, chunk)
    return {
        "repeat": fault(lambda: shop.sql_create(other, chunk)),
        "after a repeat": fault(lambda: shop.sql_finish(other)),
        "refused": fault(lambda: shop.sql_finish(sid)),
        "refused again": fault(lambda: shop.sql_finish(sid)),
        "ended": fault(lambda: shop.sql_create(sid, chunk)),
        "unknown sid": fault(lambda: shop.sql_finish(sid ^ 1)),
        "unknown method": fault(lambda: shop.sql_destroy(sid)),
        "too few": fault(lambda: shop.sql_create(sid)),
        "no number": fault(lambda: shop.setidstart("many")),
        "never issued": fault(lambda: shop.diff("yesterday")),
    }


def fault(call):
    try:
        return call()
    except xmlrpc.client.Fault as refusal:
        assert refusal.faultString, "a fault says what happened"
        return refusal.faultCode


def chunks(script, cut):
    if cut == "slices":
        packed = gzip.compress(script)
        for at in range(0, len(packed), SLICE):
            yield xmlrpc.client.Binary(packed[at : at + SLICE])
    elif cut == "members":
        for at in range(0, len(script), SLICE):
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)
            yield xmlrpc.client.Binary(packer.compress(script[at : at + SLICE]) + packer.flush())
    else:
        text = script.decode()
        for at in range(0, len(text), PIECE):
            yield text[at : at + PIECE]


def copy_of(args):
    """The rows of the office's tables, as pg_dump would write them."""
    script = [PREAMBLE.encode()]
    for table in args.tables.split(","):
        columns = psql(
            args,
            f"SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = "
            f"'{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';",
        )
        head = f"{table} ({columns.decode().strip()})"
        script += [f"COPY {head} FROM stdin;\n".encode(), psql(args, f"COPY {head} TO stdout;"), b"\\.\n"]
    return b"".join(script) + b"COMMIT;\n"


def psql(args, script):
    command = [args.psql, "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", args.office]
    data = script if isinstance(script, bytes) else script.encode()
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


if __name__ == "__main__":
    main()
