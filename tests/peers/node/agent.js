// A shop's agent with the six base methods and nothing else: npm's xmlrpc, and psql behind it.
//
//   agent.js --database DB --schema FILE --tables product,sale,... --sends sale,... [--psql PSQL]
//
// As ../agent.py, for tables whose key is the column id: triggers note the key of every row that changes here, and
// what comes from the office is applied in psql with session_replication_role = replica, past those triggers.
"use strict";
const { execFileSync } = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const { parseArgs } = require("util");
const zlib = require("zlib");
const xmlrpc = require("xmlrpc");

const text = { type: "string" };
const { values: args } = parseArgs({
  options: { database: text, schema: text, tables: text, sends: text, psql: { type: "string", default: "psql" } },
});
const tables = args.tables.split(",");
const sends = args.sends.split(",");
const sessions = new Map();

const NOTES = `
CREATE SCHEMA IF NOT EXISTS notes;
CREATE TABLE IF NOT EXISTS notes.change (at timestamptz NOT NULL DEFAULT clock_timestamp(), "table" text NOT NULL, id bigint NOT NULL);
CREATE OR REPLACE FUNCTION notes.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN INSERT INTO notes.change ("table", id) VALUES (TG_ARGV[0], OLD.id); END IF;
    IF TG_OP <> 'DELETE' THEN INSERT INTO notes.change ("table", id) VALUES (TG_ARGV[0], NEW.id); END IF;
    RETURN NULL;
END $$;
TRUNCATE notes.change;
`;

class Fault extends Error {
  constructor(code, message) {
    super(message);
    Object.assign(this, { faultCode: code, faultString: message });
  }
}

function psql(script, options = "", ...flags) {
  const words = ["--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", ...flags, "-d", args.database];
  try {
    const env = { ...process.env, PGOPTIONS: options, PGCLIENTENCODING: "UTF8" };
    return execFileSync(args.psql, words, { input: script, env, maxBuffer: 1 << 28, stdio: "pipe" }).toString();
  } catch (error) {
    console.error(String(error.stderr));
    throw new Fault(9, "the database refused a statement");
  }
}

function session(sid) {
  if (!sessions.has(sid)) throw new Fault(1, "there is no such session");
  return sessions.get(sid);
}

const literal = (value) => `coalesce('''' || replace((${value})::text, '''', '''''') || '''', 'NULL')`;
const columnsOf = (table) =>
  psql(`SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attnum > 0
        AND NOT attisdropped AND attgenerated = '' ORDER BY attnum;`).trim().split("\n");

const methods = {
  clean() {
    const isNew = psql(`SELECT to_regclass('${tables[0]}') IS NULL;`).trim() === "t";
    const schema = isNew ? fs.readFileSync(args.schema, "utf8") : "";
    const triggers = sends.map((table) => `DROP TRIGGER IF EXISTS notes ON ${table}; CREATE TRIGGER notes AFTER INSERT OR UPDATE
        OR DELETE ON ${table} FOR EACH ROW EXECUTE FUNCTION notes.note(${table});`);
    psql(`BEGIN;\n${schema}\n${NOTES}TRUNCATE ${tables.join(", ")} CASCADE;\n${triggers.join("\n")}\nCOMMIT;\n`);
    return null;
  },
  sql_prepare() {
    const sid = crypto.randomInt(1, 2 ** 31 - 1);
    sessions.set(sid, []);
    return sid;
  },
  sql_create(sid, data) {
    session(sid).push(zlib.gunzipSync(data));
    return null;
  },
  sql_finish(sid) {
    psql(Buffer.concat(session(sid)), "-c session_replication_role=replica", "-1");
    sessions.set(sid, []);
    return null;
  },
  setidstart(id) {
    for (const table of sends) psql(`SELECT setval(pg_get_serial_sequence('${table}', 'id'), ${BigInt(id)});`);
    return null;
  },
  diff(since) {
    const from = since && String(since) !== "0" ? String(since) : "-infinity";
    let script = "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET extra_float_digits = 3;\n";
    script += "BEGIN;\nLOCK TABLE notes.change IN SHARE MODE;\n";
    for (const table of sends) {
      const changed = `(SELECT id FROM notes.change WHERE at > '${from}' AND "table" = '${table}')`;
      const columns = columnsOf(table);
      const row = columns.map((name) => literal(`t.${name}`)).join(" || ', ' || ");
      const rest = columns.filter((name) => name !== "id").map((name) => `${name} = excluded.${name}`);
      script += `SELECT 'INSERT INTO ${table} (${columns.join(", ")}) VALUES (' || ${row} || ') ON CONFLICT (id) DO UPDATE SET ${rest.join(", ")};'
        FROM ${table} t WHERE id IN ${changed};
        SELECT 'DELETE FROM ${table} WHERE id = ' || id || ';' FROM (SELECT DISTINCT id FROM ${changed} x) gone
        WHERE id NOT IN (SELECT id FROM ${table});\n`;
    }
    script += `SELECT to_char(max(at) AT TIME ZONE 'UTC', '"-- watermark: "YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM notes.change
        WHERE at > '${from}';\nCOMMIT;\n`;
    const said = psql(script).trimEnd();
    const end = said.lastIndexOf("\n-- watermark: ");
    if (end < 0) return null;
    const head = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n";
    return zlib.gzipSync(`${head}${said.slice(0, end)}\nCOMMIT;${said.slice(end)}\n`);
  },
};

const server = xmlrpc.createServer({ host: "127.0.0.1", port: 0 });
for (const [name, method] of Object.entries(methods)) {
  server.on(name, (error, params, reply) => {
    console.log(name);
    try {
      reply(null, method(...params));
    } catch (fault) {
      reply(fault.faultCode ? fault : new Fault(1, String(fault)));
    }
  });
}
server.on("NotFound", (method, params) => console.log("unknown", method));
server.httpServer.on("listening", () => console.error(`listening on http://127.0.0.1:${server.httpServer.address().port}`));
