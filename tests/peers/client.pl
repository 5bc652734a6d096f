# Perl's RPC::XML. See README.md for the words.
use strict;
use warnings;
use utf8;
use RPC::XML;
use RPC::XML::Client;

$RPC::XML::ENCODING = 'utf-8';
my ($task, $url, @args) = @ARGV;
my $shop = RPC::XML::Client->new($url);

sub call {
    my $answer = $shop->send_request(@_);
    die "no answer: $answer\n" unless ref $answer;
    return $answer;
}

sub value {
    my $answer = call(@_);
    die 'fault ' . $answer->code . ': ' . $answer->string . "\n" if $answer->is_fault;
    my $value = $answer->value;
    return defined $value ? $value : 'nil';
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or die "$path: $!";
    local $/ = undef;
    return scalar <$in>;
}

if ($task eq 'cycle') {
    my ($dir, $ids) = @args;
    print 'clean=', value('clean'), "\n";
    print 'setidstart=', value('setidstart', RPC::XML::string->new($ids)), "\n";
    my $sid = value('sql_prepare');
    print 'sid=', ($sid > 0 ? 'ok' : $sid), "\n";
    value('sql_create', RPC::XML::int->new($sid), RPC::XML::base64->new(slurp($_))) for sort glob "$dir/chunk-*";
    print 'finish=', value('sql_finish', RPC::XML::int->new($sid)), "\n";
    print 'again=',  value('sql_finish', RPC::XML::int->new($sid)), "\n";
    my $methods = value('system.listMethods');
    my $known   = grep { $_ eq 'sql_create' } @$methods;
    print 'methods=', ($known && length value('system.methodHelp', 'diff') ? 'ok' : "@$methods"), "\n";
    print 'fault=',   call('sql_finish', RPC::XML::int->new(2147483646))->code, "\n";
    print 'unknown=', call('no_such_method')->code, "\n";
    my $text = "é漢字 <&> ]]>";
    my $back = value(
        'sync.echo', RPC::XML::string->new($text), RPC::XML::int->new(7), RPC::XML::double->new('1.5'),
        RPC::XML::boolean->new('true'), RPC::XML::struct->new(a => RPC::XML::array->new(1, 'b')),
    );
    utf8::decode($back->[0]) unless utf8::is_utf8($back->[0]);
    my $same = $back->[0] eq $text && $back->[1] == 7 && $back->[2] == 1.5 && $back->[3] == 1 && $back->[4]{a}[1] eq 'b';
    print 'echo=', ($same ? 'ok' : join '|', @$back), "\n";
}
else {
    my ($since, $file) = @args;
    my $answer = value('diff', RPC::XML::string->new($since));
    if ($answer ne 'nil') {
        open my $out, '>:raw', $file or die "$file: $!";
        print {$out} $answer;
        close $out or die "$file: $!";
    }
    print 'diff=', ($answer eq 'nil' ? 'nil' : length $answer), "\n";
}
