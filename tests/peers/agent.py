#!/usr/bin/env python3
"""A shop's agent with the six base methods and nothing else: Python's standard library, and psql behind it.

    agent.py --database DB --schema FILE --tables product,sale,... --sends sale,... [--psql PSQL] [--port N]

--tables are emptied by `clean`, --sends are those whose changes `diff` hands out; both parents first, spelled as in SQL.
Triggers of its own note the key of every row that changes here. What comes from the office is applied in psql with
session_replication_role = replica, so that no trigger, its own ones included, takes it for a change of the shop.
"""

import argparse
import gzip
import os
import random
import subprocess
import sys
import xmlrpc.client
import xmlrpc.server

NOTES = """
CREATE SCHEMA IF NOT EXISTS notes;
CREATE TABLE IF NOT EXISTS notes.change (
    at timestamptz NOT NULL DEFAULT clock_timestamp(), "table" text NOT NULL, key jsonb NOT NULL);
CREATE OR REPLACE FUNCTION notes.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notes.change ("table", key)
    SELECT DISTINCT TG_ARGV[0], jsonb_object_agg(name, old_or_new -> name)
    FROM unnest(TG_ARGV[1:]) AS name,
         unnest(ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
                      CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END]) AS old_or_new
    WHERE old_or_new IS NOT NULL GROUP BY old_or_new;
    RETURN NULL;
END $$;
"""

# every literal a string with doubled quotes, in a spelling that no setting of the other side can misread
SETTINGS = """
SET client_encoding = 'UTF8'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC';
SET bytea_output = 'hex'; SET extra_float_digits = 3;
"""


class Shop:
    """The base methods."""

    def __init__(self, args):
        self.args = args
        self.sessions = {}
        self.tables = args.tables.split(",")
        self.sends = args.sends.split(",")

    def clean(self):
        script = "BEGIN;\n"
        if self.ask(f"SELECT to_regclass('{self.tables[0]}') IS NULL") == "t":
            with open(self.args.schema, encoding="utf-8") as schema:
                script += schema.read()
        script += NOTES + "TRUNCATE notes.change;\nTRUNCATE " + ", ".join(self.tables) + " CASCADE;\n"
        self.psql(script + "COMMIT;\n")
        for table in self.sends:
            arguments = ", ".join(f"'{name}'" for name in [table, *self.key_of(table)])
            self.psql(
                f"DROP TRIGGER IF EXISTS notes ON {table}; CREATE TRIGGER notes AFTER INSERT OR UPDATE OR DELETE "
                f"ON {table} FOR EACH ROW EXECUTE FUNCTION notes.note({arguments});"
            )

    def sql_prepare(self):
        sid = random.randrange(1, 2**31)
        self.sessions[sid] = b""
        return sid

    def sql_create(self, sid, data):
        self.session(sid)
        # every chunk is unpacked by itself
        self.sessions[sid] += gzip.decompress(data.data)

    def sql_finish(self, sid):
        script = self.session(sid)
        self.psql(script, "-1", options="-c session_replication_role=replica")
        self.sessions[sid] = b""

    def setidstart(self, number):
        for table in self.sends:
            for column in self.ask(
                f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
                f" AND NOT attisdropped AND pg_get_serial_sequence('{table}', attname) IS NOT NULL"
            ).split():
                self.psql(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {int(number)});")

    def diff(self, since):
        since = str(since) if since and str(since) != "0" else "-infinity"
        # the lock waits for whoever is changing something: what is noted later has a later time
        script = SETTINGS + "BEGIN;\nLOCK TABLE notes.change IN SHARE MODE;\n"
        changed = f"""(SELECT key FROM notes.change WHERE at > '{since}' AND "table" = '%s')"""
        for table in reversed(self.sends):
            script += self.deletes(table, changed % table)
        for table in self.sends:
            script += self.upserts(table, changed % table)
        script += f"""SELECT to_char(max(at) AT TIME ZONE 'UTC', '"-- watermark: "YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            FROM notes.change WHERE at > '{since}';\nCOMMIT;\n"""
        changes, watermark = self.psql(script).decode().rstrip("\n").rpartition("\n")[::2]
        if not watermark:
            return None
        head = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n"
        return xmlrpc.client.Binary(gzip.compress(f"{head}{changes}\nCOMMIT;\n{watermark}\n".encode()))

    def upserts(self, table, changed):
        columns = self.columns_of(table)
        key = self.key_of(table)
        values = " || ', ' || ".join(literal(f"t.{name}") for name in columns)
        rest = ", ".join(f"{name} = excluded.{name}" for name in columns if name.strip('"') not in key)
        action = f"UPDATE SET {rest}" if rest else "NOTHING"
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ("
        tail = f") ON CONFLICT ({', '.join(quoted(key))}) DO {action};"
        return (
            f"SELECT $q${head}$q$ || {values} || $q${tail}$q$ FROM {table} t WHERE {key_object(key)} IN {changed};\n"
        )

    def deletes(self, table, changed):
        key = self.key_of(table)
        condition = " || ' AND ' || ".join(
            f"""'"{name}" = ' || {literal(f"(gone.key ->> '{name}')")}""" for name in key
        )
        return (
            f"SELECT 'DELETE FROM {table} WHERE ' || {condition} || ';' FROM (SELECT DISTINCT key FROM {changed} x) gone"
            f" WHERE key NOT IN (SELECT {key_object(key)} FROM {table} t);\n"
        )

    def session(self, sid):
        if sid not in self.sessions:
            raise xmlrpc.client.Fault(1, "there is no such session")
        return self.sessions[sid]

    def key_of(self, table):
        return self.ask(
            f"SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
            f" WHERE indrelid = '{table}'::regclass AND indisprimary ORDER BY attnum"
        ).split("\n")

    def columns_of(self, table):
        return self.ask(
            f"SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
            f" AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
        ).split("\n")

    def ask(self, query):
        return self.psql(query).decode().strip()

    def psql(self, script, *flags, options=""):
        command = [self.args.psql, "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", *flags, "-d", self.args.database]
        data = script if isinstance(script, bytes) else script.encode()
        environment = {**os.environ, "PGOPTIONS": options, "PGCLIENTENCODING": "UTF8"}
        done = subprocess.run(command, input=data, capture_output=True, env=environment, check=False)
        if done.returncode != 0:
            print(done.stderr.decode(), file=sys.stderr)
            raise xmlrpc.client.Fault(9, "the database refused a statement")
        return done.stdout


class Base:
    """Lets the base methods through, says which one is called, and knows no other."""

    METHODS = ["clean", "sql_prepare", "sql_create", "sql_finish", "setidstart", "diff"]

    def __init__(self, shop):
        self.shop = shop

    def _dispatch(self, method, params):
        print(method, len(params), flush=True)
        if method not in self.METHODS:
            raise Exception(f'method "{method}" is not supported')
        return getattr(self.shop, method)(*params)


def literal(value):
    return f"coalesce('''' || replace({value}::text, '''', '''''') || '''', 'NULL')"


def quoted(names):
    return [f'"{name}"' for name in names]


def key_object(key):
    return "jsonb_build_object(" + ", ".join(f"'{name}', t.\"{name}\"" for name in key) + ")"


def main():
    parser = argparse.ArgumentParser()
    for flag in ["--database", "--schema", "--tables", "--sends"]:
        parser.add_argument(flag, required=True)
    parser.add_argument("--psql", default="psql")
    parser.add_argument("--port", type=int, default=0)
    server_args = parser.parse_args()

    class Handler(xmlrpc.server.SimpleXMLRPCRequestHandler):
        rpc_paths = ("/", "/RPC2")

        def log_request(self, code="-", size="-"):
            pass

    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", server_args.port), Handler, allow_none=True)
    server.register_instance(Base(Shop(server_args)))
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", file=sys.stderr)
    server.serve_forever()


if __name__ == "__main__":
    main()
