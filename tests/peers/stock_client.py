"""Python's own xmlrpc.client. See README.md for the words."""

import glob
import sys
import xmlrpc.client


def main():
    name, url, *args = sys.argv[1:]
    with xmlrpc.client.ServerProxy(url, allow_none=True) as shop:
        {"cycle": cycle, "diff": diff}[name](shop, *args)


def cycle(shop, directory, ids):
    print(f"clean={nil(shop.clean())}")
    print(f"setidstart={nil(shop.setidstart(ids))}")
    sid = shop.sql_prepare()
    print(f"sid={'ok' if isinstance(sid, int) and sid > 0 else sid}")
    for path in sorted(glob.glob(f"{directory}/chunk-*")):
        with open(path, "rb") as chunk:
            shop.sql_create(sid, xmlrpc.client.Binary(chunk.read()))
    print(f"finish={nil(shop.sql_finish(sid))}")
    print(f"again={nil(shop.sql_finish(sid))}")
    methods = shop.system.listMethods()
    print(f"methods={'ok' if 'sql_create' in methods and shop.system.methodHelp('diff') else methods}")
    print(f"fault={fault(lambda: shop.sql_finish(2147483646))}")
    print(f"unknown={fault(lambda: shop.no_such_method())}")
    sent = ["é漢字 😀 <&> ]]>", 7, 1.5, True, {"a": [1, "b"], "": ""}, xmlrpc.client.Binary(bytes(range(256))), None]
    back = getattr(shop, "sync.echo")(*sent)
    print(f"echo={'ok' if back == sent else back}")
    print(f"validator={validator(shop.validator1)}")


def validator(suite):
    """The suite validator1: 8 where all its methods give what they should."""
    moment = xmlrpc.client.DateTime("19980717T14:08:55")
    calendar = {"2000": {"04": {"01": {"moe": 1, "larry": 20, "curly": 300}}}}
    many = [7, True, "wah", -1.5, moment, xmlrpc.client.Binary(b"you")]
    entities = {"ctLeftAngleBrackets": 2, "ctRightAngleBrackets": 1, "ctAmpersands": 1, "ctApostrophes": 1, "ctQuotes": 1}
    return sum([
        suite.arrayOfStructsTest([{"moe": 1, "larry": 2, "curly": 3}, {"curly": -40}]) == -37,
        suite.countTheEntities("<a<b>&'\"") == entities,
        suite.easyStructTest({"moe": 5, "larry": -2, "curly": 10}) == 13,
        suite.echoStructTest(calendar) == calendar,
        suite.manyTypesTest(*many) == many,
        suite.moderateSizeArrayCheck(["first"] + ["middle"] * 150 + ["last"]) == "firstlast",
        suite.nestedStructTest(calendar) == 321,
        suite.simpleStructReturnTest(-13) == {"times10": -130, "times100": -1300, "times1000": -13000},
    ])


def diff(shop, since, path):
    answer = shop.diff(since)
    if answer is not None:
        with open(path, "wb") as out:
            out.write(answer.data)
    print(f"diff={nil(answer if answer is None else len(answer.data))}")


def fault(call):
    try:
        return call()
    except xmlrpc.client.Fault as refusal:
        return refusal.faultCode


def nil(value):
    return "nil" if value is None else value


main()
