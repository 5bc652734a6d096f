// npm's xmlrpc. See ../README.md for the words.
"use strict";
const fs = require("fs");
const path = require("path");
const { isDeepStrictEqual } = require("util");
const xmlrpc = require("xmlrpc");

const [task, url, ...args] = process.argv.slice(2);
const shop = xmlrpc.createClient(url);

const call = (method, ...params) =>
  new Promise((done, failed) => shop.methodCall(method, params, (error, value) => (error ? failed(error) : done(value))));
const fault = (promise) => promise.then(() => "none", (error) => error.faultCode);
const nil = (value) => (value === null || value === undefined ? "nil" : value);
const say = (word, value) => console.log(`${word}=${nil(value)}`);

async function cycle(dir, ids) {
  say("clean", await call("clean"));
  say("setidstart", await call("setidstart", ids));
  const sid = await call("sql_prepare");
  say("sid", Number.isInteger(sid) && sid > 0 ? "ok" : sid);
  for (const name of fs.readdirSync(dir).filter((name) => name.startsWith("chunk-")).sort()) {
    await call("sql_create", sid, fs.readFileSync(path.join(dir, name)));
  }
  say("finish", await call("sql_finish", sid));
  say("again", await call("sql_finish", sid));
  const methods = await call("system.listMethods");
  say("methods", methods.includes("sql_create") && (await call("system.methodHelp", "diff")) ? "ok" : methods);
  say("fault", await fault(call("sql_finish", 2147483646)));
  say("unknown", await fault(call("no_such_method")));
  const sent = ["é漢字 😀 <&>", 7, 1.5, true, { a: [1, "b"] }];
  const back = await call("sync.echo", ...sent);
  say("echo", isDeepStrictEqual(back, sent) ? "ok" : JSON.stringify(back));
  const calendar = { 2000: { "04": { "01": { moe: 1, larry: 20, curly: 300 } } } };
  const entities = { ctLeftAngleBrackets: 2, ctRightAngleBrackets: 1, ctAmpersands: 1, ctApostrophes: 1, ctQuotes: 1 };
  const many = [7, true, "wah", -1.5, new Date(1998, 6, 17, 14, 8, 55), Buffer.from("you")];
  const right = [
    [await call("validator1.arrayOfStructsTest", [{ moe: 1, curly: 3 }, { curly: -40 }]), -37],
    [await call("validator1.countTheEntities", "<a<b>&'\""), entities],
    [await call("validator1.easyStructTest", { moe: 5, larry: -2, curly: 10 }), 13],
    [await call("validator1.echoStructTest", calendar), calendar],
    [await call("validator1.manyTypesTest", ...many), many],
    [await call("validator1.moderateSizeArrayCheck", ["first", ...Array(150).fill("middle"), "last"]), "firstlast"],
    [await call("validator1.nestedStructTest", calendar), 321],
    [await call("validator1.simpleStructReturnTest", -13), { times10: -130, times100: -1300, times1000: -13000 }],
  ];
  say("validator", right.filter(([found, wanted]) => isDeepStrictEqual(found, wanted)).length);
}

async function diff(since, file) {
  const answer = await call("diff", since);
  if (nil(answer) !== "nil") fs.writeFileSync(file, answer);
  say("diff", nil(answer) === "nil" ? "nil" : answer.length);
}

({ cycle, diff })[task](...args).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
