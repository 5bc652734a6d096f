<?php
// PHP's xmlrpc extension, which declares ISO-8859-1 on every request. See README.md for the words.
[, $task, $url] = $argv;

function answer($method, ...$params) {
    global $url;
    $body = xmlrpc_encode_request($method, $params);
    $context = stream_context_create(["http" => ["method" => "POST", "header" => "Content-Type: text/xml", "content" => $body]]);
    $said = file_get_contents($url, false, $context);
    if ($said === false) {
        fwrite(STDERR, "$method: no answer\n");
        exit(1);
    }
    return xmlrpc_decode($said, "UTF-8");
}

function value($method, ...$params) {
    $answer = answer($method, ...$params);
    if (is_array($answer) && xmlrpc_is_fault($answer)) {
        fwrite(STDERR, "$method: fault $answer[faultCode]: $answer[faultString]\n");
        exit(1);
    }
    return $answer;
}

function base64($bytes) {
    xmlrpc_set_type($bytes, "base64");
    return $bytes;
}

function said($word, $value) {
    echo "$word=", $value === null ? "nil" : $value, "\n";
}

if ($task === "cycle") {
    [, , , $dir, $ids] = $argv;
    said("clean", value("clean"));
    said("setidstart", value("setidstart", $ids));
    $sid = value("sql_prepare");
    said("sid", is_int($sid) && $sid > 0 ? "ok" : $sid);
    $chunks = glob("$dir/chunk-*");
    sort($chunks);
    foreach ($chunks as $path) {
        value("sql_create", $sid, base64(file_get_contents($path)));
    }
    said("finish", value("sql_finish", $sid));
    said("again", value("sql_finish", $sid));
    $methods = value("system.listMethods");
    said("methods", in_array("sql_create", $methods) && strlen(value("system.methodHelp", "diff")) ? "ok" : join(" ", $methods));
    said("fault", answer("sql_finish", 2147483646)["faultCode"]);
    said("unknown", answer("no_such_method")["faultCode"]);
    // the extension escapes what is beyond Latin-1 byte by byte: é is as far as it goes
    $text = "\xe9 <&> ]]>";
    $back = value("sync.echo", $text, 7, 1.5, true, ["a" => [1, "b"]]);
    $same = $back === ["é <&> ]]>", 7, 1.5, true, ["a" => [1, "b"]]];
    said("echo", $same ? "ok" : json_encode($back));
} else {
    [, , , $since, $file] = $argv;
    $answer = value("diff", $since);
    if ($answer !== null) {
        file_put_contents($file, $answer->scalar);
    }
    said("diff", $answer === null ? null : strlen($answer->scalar));
}
