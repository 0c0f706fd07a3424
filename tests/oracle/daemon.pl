#!/usr/bin/perl
# The daemon of the oracle test on the real Parallel::Prefork. daemon.ts is the same program, line by line.
use strict;
use warnings;
use Config;
use Fcntl;
use JSON::PP;
use Parallel::Prefork;
use Time::HiRes;

my $config_path  = shift;
my $json         = JSON::PP->new->canonical;
my @signal_names = split ' ', $Config{sig_name};

sub emit {
    my ($event, %fields) = @_;
    my $at = 1000 * Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC());
    syswrite STDOUT, $json->encode({ event => $event, pid => $$, at => $at, %fields }) . "\n";
}

sub read_config {
    open my $file, '<', $config_path or die "cannot read $config_path: $!";
    local $/;
    return $json->decode(<$file>);
}

sub load_config {
    my $config = read_config();
    emit('loading');
    Time::HiRes::sleep(0.01) until -e $config->{gate};
    emit('load_config', version => $config->{version});
    return $config;
}

# True for the first config.failures workers of this configuration, whoever comes first.
sub must_fail {
    my $config = shift;
    for my $n (1 .. $config->{failures}) {
        return 1 if sysopen my $token, "$config->{tokens}/$n", O_CREAT | O_EXCL | O_WRONLY;
    }
    return 0;
}

sub status_text {
    my $status = shift;
    return $status & 127 ? 'signal SIG' . $signal_names[$status & 127] : 'exit ' . ($status >> 8);
}

my $pm = Parallel::Prefork->new({
    max_workers          => 3,
    err_respawn_interval => 1,
    trap_signals         => {
        TERM => 'TERM',
        HUP  => 'TERM',
        USR2 => undef,
        TTIN => ['TERM', 0.7],
    },
    before_fork   => sub { emit('before_fork', workers => $_[0]->num_workers) },
    after_fork    => sub { emit('after_fork', child => $_[1]) },
    on_child_reap => sub { emit('reap', child => $_[1], status => status_text($_[2])) },
});

sub work {
    my $config = shift;
    if (must_fail($config)) {
        emit('worker_fail', version => $config->{version});
        $pm->finish(3);
    }
    my $ignored = 0;
    $SIG{TERM} = sub {
        emit('worker_term');
        return if $ignored++ < $config->{ignoredTerms};
        $pm->finish($config->{termCode});
    };
    emit('worker_start', version => $config->{version}, manager => $pm->manager_pid);
    sleep 1000 while 1;
}

emit('manager');
while ($pm->signal_received ne 'TERM') {
    my $config = load_config();
    $pm->start(sub { work($config) });
    emit('start_return', signal => 'SIG' . $pm->signal_received);
}
emit('wait_begin');
my $left = $pm->wait_all_children();
emit('wait_done', left => $left);
