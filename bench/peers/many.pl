# A manager of Parallel::Prefork with WORKERS workers, each of which says when it is up, and when a signal reaches it.
use strict;
use warnings;
use Parallel::Prefork;

sub say_so { syswrite STDOUT, "$_[0] $$\n" }

my $pm = Parallel::Prefork->new({
    max_workers          => $ENV{WORKERS},
    err_respawn_interval => 0,
    trap_signals         => { TERM => 'TERM', USR2 => 'USR2' },
});
while ($pm->signal_received ne 'TERM') {
    $pm->start and next;
    my $over = 0;
    $SIG{USR2} = sub { say_so('got') };
    $SIG{TERM} = sub { $over = 1 };
    say_so('up');
    select undef, undef, undef, 1000 until $over;
    $pm->finish;
}
$pm->wait_all_children;
