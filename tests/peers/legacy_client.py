"""A client as the implementation of 2006 had it: plain SQL in strings, cut every 40,960 bytes wherever that is, decimal
strings for long numbers, nested lists for changes.

    legacy_client.py URL STATION SCRIPT LOW HIGH     clone
    legacy_client.py URL STATION since POLICY TIME   the changes, as JSON
"""

import http.client
import json
import sys
import urllib.parse
import xmlrpc.client

CHUNK = 40960


def main():
    url, station, *rest = sys.argv[1:]
    shop = xmlrpc.client.ServerProxy(url, allow_none=True)
    assert shop.get_station_name() == station
    if rest[0] == "since":
        shop.set_station_by_name(station)
        print(json.dumps(shop.changes(rest[1], rest[2])))
        return
    path, low, high = rest
    with open(path, "rb") as script:
        data = script.read()
    shop.clean()
    sid = shop.sql_prepare()
    chunks = 0
    while data:
        chunk, data = data[:CHUNK], data[CHUNK:]
        # what is half a character cannot be a string of today's Python: those bytes went out raw
        send(url, sid, chunk)
        chunks += 1
    assert shop.sql_finish(sid) is None
    shop.set_station_by_name(station)
    shop.bump_sequences(["note_id_seq", "person_id_seq"], low, high)
    try:
        shop.set_station_by_name("nowhere")
        raise SystemExit("took a foreign name")
    except xmlrpc.client.Fault:
        pass
    try:
        shop.quit()
        raise SystemExit("could quit")
    except xmlrpc.client.Fault:
        pass
    print(chunks)


def send(url, sid, chunk):
    """sql_insert with the bytes in a string, escaped as Python 2 did, whatever they are."""
    text = chunk.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    body = (
        b"<?xml version='1.0'?>\n<methodCall>\n<methodName>sql_insert</methodName>\n<params>\n<param>\n<value><int>%d</int>"
        b"</value>\n</param>\n<param>\n<value><string>%s</string></value>\n</param>\n</params>\n</methodCall>\n" % (sid, text)
    )
    where = urllib.parse.urlparse(url)
    connection = http.client.HTTPConnection(where.hostname, where.port)
    connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
    answer = connection.getresponse().read()
    (value,), _ = xmlrpc.client.loads(answer)
    assert value is None, value


main()
