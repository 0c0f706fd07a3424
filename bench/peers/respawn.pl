# A manager of Parallel::Prefork with one worker, which says when its code runs.
use strict;
use warnings;
use Parallel::Prefork;
use Time::HiRes qw(clock_gettime CLOCK_REALTIME);

my $pm = Parallel::Prefork->new({
    max_workers          => 1,
    err_respawn_interval => 0,
    trap_signals         => { TERM => 'TERM' },
});
while ($pm->signal_received ne 'TERM') {
    $pm->start(sub {
        syswrite STDOUT, sprintf("%.3f %d\n", clock_gettime(CLOCK_REALTIME) * 1000, $$);
        sleep 1000;
    });
}
$pm->wait_all_children;
