// Java with nothing but its own library: an HTTP client and a DOM parser, as a programmer would write it from docs/PROTOCOL.md.
// See README.md for the words.

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Element;
import org.w3c.dom.Node;

public class Client {
    record Fault(int code, String text) {}

    static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    static URI url;

    public static void main(String[] args) throws Exception {
        url = URI.create(args[1]);
        if (args[0].equals("cycle")) {
            cycle(Path.of(args[2]), args[3]);
        } else {
            Object answer = value("diff", args[2]);
            if (answer instanceof byte[] bytes) {
                Files.write(Path.of(args[3]), bytes);
            }
            System.out.println("diff=" + (answer instanceof byte[] bytes ? bytes.length : "nil"));
        }
    }

    static void cycle(Path dir, String ids) throws Exception {
        say("clean", value("clean"));
        say("setidstart", value("setidstart", Long.parseLong(ids)));
        int sid = (Integer) value("sql_prepare");
        say("sid", sid > 0 ? "ok" : sid);
        List<Path> chunks;
        try (var paths = Files.list(dir)) {
            chunks = paths.filter(path -> path.getFileName().toString().startsWith("chunk-")).sorted().toList();
        }
        for (Path chunk : chunks) {
            value("sql_create", sid, Files.readAllBytes(chunk));
        }
        say("finish", value("sql_finish", sid));
        say("again", value("sql_finish", sid));
        boolean known = ((List<?>) value("system.listMethods")).contains("sql_create");
        say("methods", known && !((String) value("system.methodHelp", "diff")).isEmpty() ? "ok" : "missing");
        say("fault", ((Fault) call("sql_finish", 2147483646)).code());
        say("unknown", ((Fault) call("no_such_method")).code());
        List<Object> sent = List.of("é漢字 😀 <&> ]]>", 7, 5_000_000_000L, 1.5, true, Map.of("a", List.of(1, "b")));
        Object back = value("sync.echo", sent.toArray());
        say("echo", back.equals(sent) ? "ok" : back);
        Map<String, Object> calendar =
            Map.of("2000", Map.of("04", Map.of("01", Map.of("moe", 1, "larry", 20, "curly", 300))));
        Map<String, Integer> entities = Map.of(
            "ctLeftAngleBrackets", 2, "ctRightAngleBrackets", 1, "ctAmpersands", 1, "ctApostrophes", 1, "ctQuotes", 1);
        List<String> strings = new ArrayList<>(List.of("first"));
        strings.addAll(java.util.Collections.nCopies(150, "middle"));
        strings.add("last");
        Map<Object, Object> right = new LinkedHashMap<>();
        right.put(value("validator1.arrayOfStructsTest", List.of(Map.of("moe", 1, "curly", 3), Map.of("curly", -40))), -37);
        right.put(value("validator1.countTheEntities", "<a<b>&'\""), entities);
        right.put(value("validator1.easyStructTest", Map.of("moe", 5, "larry", -2, "curly", 10)), 13);
        right.put(value("validator1.echoStructTest", calendar), calendar);
        right.put(value("validator1.moderateSizeArrayCheck", strings), "firstlast");
        right.put(value("validator1.nestedStructTest", calendar), 321);
        right.put(value("validator1.simpleStructReturnTest", -13), Map.of("times10", -130, "times100", -1300, "times1000", -13000));
        say("validator", right.entrySet().stream().filter(each -> each.getKey().equals(each.getValue())).count());
    }

    static void say(String word, Object value) {
        System.out.println(word + "=" + (value == null ? "nil" : value));
    }

    static Object value(String method, Object... params) throws Exception {
        Object answer = call(method, params);
        if (answer instanceof Fault fault) {
            throw new IllegalStateException(method + ": " + fault);
        }
        return answer;
    }

    static Object call(String method, Object... params) throws Exception {
        StringBuilder xml = new StringBuilder("<?xml version=\"1.0\"?><methodCall><methodName>" + method + "</methodName><params>");
        for (Object param : params) {
            write(xml.append("<param>"), param);
            xml.append("</param>");
        }
        xml.append("</params></methodCall>");
        HttpRequest request = HttpRequest.newBuilder(url).header("Content-Type", "text/xml; charset=utf-8")
            .POST(HttpRequest.BodyPublishers.ofString(xml.toString())).build();
        HttpResponse<byte[]> response = HTTP.send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(method + ": status " + response.statusCode());
        }
        var parser = DocumentBuilderFactory.newInstance().newDocumentBuilder();
        Element root = parser.parse(new ByteArrayInputStream(response.body())).getDocumentElement();
        Element first = children(root).get(0);
        if (first.getTagName().equals("fault")) {
            Map<?, ?> fault = (Map<?, ?>) read(children(first).get(0));
            return new Fault((Integer) fault.get("faultCode"), (String) fault.get("faultString"));
        }
        return read(children(children(first).get(0)).get(0));
    }

    static void write(StringBuilder xml, Object value) {
        xml.append("<value>");
        if (value instanceof Integer number) {
            xml.append("<int>").append(number).append("</int>");
        } else if (value instanceof Long number) {
            xml.append("<i8>").append(number).append("</i8>");
        } else if (value instanceof Boolean truth) {
            xml.append("<boolean>").append(truth ? 1 : 0).append("</boolean>");
        } else if (value instanceof Double number) {
            xml.append("<double>").append(number).append("</double>");
        } else if (value instanceof byte[] bytes) {
            // broken into lines, as MIME has it
            xml.append("<base64>").append(Base64.getMimeEncoder().encodeToString(bytes)).append("</base64>");
        } else if (value instanceof List<?> items) {
            xml.append("<array><data>");
            items.forEach(item -> write(xml, item));
            xml.append("</data></array>");
        } else if (value instanceof Map<?, ?> members) {
            xml.append("<struct>");
            members.forEach((name, member) -> {
                write(xml.append("<member><name>").append(name).append("</name>"), member);
                xml.append("</member>");
            });
            xml.append("</struct>");
        } else {
            String text = value.toString().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
            xml.append("<string>").append(text).append("</string>");
        }
        xml.append("</value>");
    }

    static Object read(Element value) {
        List<Element> typed = children(value);
        if (typed.isEmpty()) {
            return value.getTextContent();
        }
        Element type = typed.get(0);
        String text = type.getTextContent();
        return switch (type.getTagName()) {
            case "int", "i4" -> Integer.parseInt(text.trim());
            case "i8" -> Long.parseLong(text.trim());
            case "boolean" -> text.trim().equals("1");
            case "double" -> Double.parseDouble(text.trim());
            case "base64" -> Base64.getMimeDecoder().decode(text);
            case "nil" -> null;
            case "array" -> {
                List<Object> items = new ArrayList<>();
                children(children(type).get(0)).forEach(item -> items.add(read(item)));
                yield items;
            }
            case "struct" -> {
                Map<String, Object> members = new LinkedHashMap<>();
                for (Element member : children(type)) {
                    members.put(children(member).get(0).getTextContent(), read(children(member).get(1)));
                }
                yield members;
            }
            default -> text;
        };
    }

    static List<Element> children(Element parent) {
        List<Element> found = new ArrayList<>();
        for (Node node = parent.getFirstChild(); node != null; node = node.getNextSibling()) {
            if (node instanceof Element element) {
                found.add(element);
            }
        }
        return found;
    }
}
