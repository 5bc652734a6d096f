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
  puts "echo=#{shop.call("sync.echo", *sent) == sent ? "ok" : shop.call("sync.echo", *sent)}"
when "diff"
  since, file = args
  answer = shop.call("diff", since)
  File.binwrite(file, answer) if answer
  puts "diff=#{answer ? answer.bytesize : "nil"}"
end
