"""Python's xmlrpc.client as a second opinion: reads every file of a directory as a response or a call, and prints a line
for each: its name, a tab, and the value in a spelling that leaves nothing open, or `refused`."""

import datetime
import os
import struct
import sys
import xmlrpc.client


def spell(value):
    if value is None:
        return "n"
    if isinstance(value, bool):
        return f"b{int(value)}"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, float):
        return "d" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "s" + value.encode("utf-8", "surrogatepass").hex()
    if isinstance(value, xmlrpc.client.Binary):
        return "x" + value.data.hex()
    if isinstance(value, (xmlrpc.client.DateTime, datetime.datetime)):
        return "t"
    if isinstance(value, dict):
        members = sorted((spell(name), spell(member)) for name, member in value.items())
        return "{" + ";".join("=".join(member) for member in members) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ";".join(spell(item) for item in value) + "]"
    return f"?{type(value).__name__}"


def opinion(data):
    try:
        values, method = xmlrpc.client.loads(data)
    except xmlrpc.client.Fault as fault:
        return f"fault{fault.faultCode}"
    except Exception:
        return "refused"
    return f"{'call' if method is not None else 'response'}{spell(list(values))}"


def main():
    for name in sorted(os.listdir(sys.argv[1])):
        with open(os.path.join(sys.argv[1], name), "rb") as document:
            print(f"{name}\t{opinion(document.read())}")


main()
