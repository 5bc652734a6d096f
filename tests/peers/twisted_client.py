"""Twisted's XML-RPC. See README.md for the words."""

import glob
import sys
import xmlrpc.client

from twisted.internet import defer, task
from twisted.web.xmlrpc import Proxy


async def fault(call):
    try:
        await call
    except xmlrpc.client.Fault as refusal:
        return refusal.faultCode
    return "none"


async def cycle(shop, directory, ids):
    def call(*args):
        return shop.callRemote(*args)

    print(f"clean={nil(await call('clean'))}")
    print(f"setidstart={nil(await call('setidstart', ids))}")
    sid = await call("sql_prepare")
    print(f"sid={'ok' if isinstance(sid, int) and sid > 0 else sid}")
    for path in sorted(glob.glob(f"{directory}/chunk-*")):
        with open(path, "rb") as chunk:
            await call("sql_create", sid, xmlrpc.client.Binary(chunk.read()))
    print(f"finish={nil(await call('sql_finish', sid))}")
    print(f"again={nil(await call('sql_finish', sid))}")
    methods = await call("system.listMethods")
    print(f"methods={'ok' if 'sql_create' in methods and await call('system.methodHelp', 'diff') else methods}")
    print(f"fault={await fault(call('sql_finish', 2147483646))}")
    print(f"unknown={await fault(call('no_such_method'))}")
    sent = ["é漢字 😀 <&> ]]>", 7, 1.5, True, {"a": [1, "b"], "": ""}]
    back = await call("sync.echo", *sent)
    print(f"echo={'ok' if back == sent else back}")
    calendar = {"2000": {"04": {"01": {"moe": 1, "larry": 20, "curly": 300}}}}
    many = [7, True, "wah", -1.5, xmlrpc.client.DateTime("19980717T14:08:55"), xmlrpc.client.Binary(b"you")]
    entities = {"ctLeftAngleBrackets": 2, "ctRightAngleBrackets": 1, "ctAmpersands": 1, "ctApostrophes": 1, "ctQuotes": 1}
    right = [
        await call("validator1.arrayOfStructsTest", [{"moe": 1, "curly": 3}, {"curly": -40}]) == -37,
        await call("validator1.countTheEntities", "<a<b>&'\"") == entities,
        await call("validator1.easyStructTest", {"moe": 5, "larry": -2, "curly": 10}) == 13,
        await call("validator1.echoStructTest", calendar) == calendar,
        await call("validator1.manyTypesTest", *many) == many,
        await call("validator1.moderateSizeArrayCheck", ["first"] + ["middle"] * 150 + ["last"]) == "firstlast",
        await call("validator1.nestedStructTest", calendar) == 321,
        await call("validator1.simpleStructReturnTest", -13) == {"times10": -130, "times100": -1300, "times1000": -13000},
    ]
    print(f"validator={sum(right)}")


async def diff(shop, since, path):
    answer = await shop.callRemote("diff", since)
    if answer is not None:
        with open(path, "wb") as out:
            out.write(answer.data)
    print(f"diff={nil(answer if answer is None else len(answer.data))}")


def nil(value):
    return "nil" if value is None else value


def main(reactor):
    name, url, *args = sys.argv[1:]
    shop = Proxy(url.encode(), allowNone=True)
    return defer.ensureDeferred({"cycle": cycle, "diff": diff}[name](shop, *args))


task.react(main)
