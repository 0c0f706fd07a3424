# What every server of the suite answers, for Plack.
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

die "this build is broken\n" if -e ($ENV{BENCH_BROKEN} // "");

my $json = do { local (@ARGV, $/) = $ENV{BENCH_JSON}; <> };

sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    if ($env->{REQUEST_METHOD} eq 'POST') {
        my ($length, $chunk) = (0);
        while (my $read = $env->{'psgi.input'}->read($chunk, 65536)) { $length += $read }
        return [200, ['Content-Length' => length $length], [$length]];
    }
    if ($path eq '/json') {
        return [200, ['Content-Type' => 'application/json', 'Content-Length' => length $json], [$json]];
    }
    if ($path eq '/cpu') {
        my $end = clock_gettime(CLOCK_MONOTONIC) + 0.001;
        1 while clock_gettime(CLOCK_MONOTONIC) < $end;
    }
    my $body = $path eq '/pid' ? $$ : 'hello';
    return [200, ['Content-Length' => length $body], [$body]];
};
