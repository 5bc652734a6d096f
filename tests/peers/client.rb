# Ruby's xmlrpc. See README.md for the words.
require "xmlrpc/client"

# the library takes nil only where it is told to
XMLRPC::Config.module_eval do
  remove_const(:ENABLE_NIL_PARSER)
  const_set(:ENABLE_NIL_PARSER, true)
end

task, url, *args = ARGV
shop = XMLRPC::Client.new2(url)

def fault
  yield
  "none"
rescue XMLRPC::FaultException => refusal
  refusal.faultCode
end

case task
when "cycle"
  dir, ids = args
  puts "clean=#{shop.call("clean").inspect}"
  puts "setidstart=#{shop.call("setidstart", ids).inspect}"
  sid = shop.call("sql_prepare")
  puts "sid=#{sid.is_a?(Integer) && sid.positive? ? "ok" : sid}"
  Dir["#{dir}/chunk-*"].sort.each { |path| shop.call("sql_create", sid, XMLRPC::Base64.new(File.binread(path))) }
  puts "finish=#{shop.call("sql_finish", sid).inspect}"
  puts "again=#{shop.call("sql_finish", sid).inspect}"
  methods = shop.call("system.listMethods")
  puts "methods=#{methods.include?("sql_create") && shop.call("system.methodHelp", "diff").length.positive? ? "ok" : methods}"
  puts "fault=#{fault { shop.call("sql_finish", 2_147_483_646) }}"
  puts "unknown=#{fault { shop.call("no_such_method") }}"
  sent = ["é漢字 <&> ]]>", 7, 1.5, true, { "a" => [1, "b"], "" => "" }]
  calendar = { "2000" => { "04" => { "01" => { "moe" => 1, "larry" => 20, "curly" => 300 } } } }
  entities = { "ctLeftAngleBrackets" => 2, "ctRightAngleBrackets" => 1, "ctAmpersands" => 1, "ctApostrophes" => 1, "ctQuotes" => 1 }
  many = [7, true, "wah", -1.5, XMLRPC::DateTime.new(1998, 7, 17, 14, 8, 55)]
  right = [
    shop.call("validator1.arrayOfStructsTest", [{ "moe" => 1, "curly" => 3 }, { "curly" => -40 }]) == -37,
    shop.call("validator1.countTheEntities", "<a<b>&'\"") == entities,
    shop.call("validator1.easyStructTest", { "moe" => 5, "larry" => -2, "curly" => 10 }) == 13,
    shop.call("validator1.echoStructTest", calendar) == calendar,
    shop.call("validator1.manyTypesTest", *many, XMLRPC::Base64.new("you")) == [*many, "you"],
    shop.call("validator1.moderateSizeArrayCheck", ["first"] + ["middle"] * 150 + ["last"]) == "firstlast",
    shop.call("validator1.nestedStructTest", calendar) == 321,
    shop.call("validator1.simpleStructReturnTest", -13) == { "times10" => -130, "times100" => -1300, "times1000" => -13_000 },
  ]
  puts "validator=#{right.count(true)}"
  puts "echo=#{shop.call("sync.echo", *sent) == sent ? "ok" : shop.call("sync.echo", *sent)}"
when "diff"
  since, file = args
  answer = shop.call("diff", since)
  File.binwrite(file, answer) if answer
  puts "diff=#{answer ? answer.bytesize : "nil"}"
end
