# The same by Parallel::ForkManager: a process for each, so many at a time.
use strict;
use warnings;
use Parallel::ForkManager;
use Time::HiRes 'time';

my ($most, $count) = @ARGV;
my $manager = Parallel::ForkManager->new($most);
$manager->set_waitpid_blocking_sleep(0); # by default it looks once a second who has ended

sub do_all {
    for my $number (1 .. shift) {
        $manager->start($number) and next;
        $manager->finish;
    }
    $manager->wait_all_children;
}

do_all(20);
my $begun = time;
do_all($count);
printf "%f\n", (time - $begun) * 1e6 / $count;
