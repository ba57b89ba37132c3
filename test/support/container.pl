# container.pl ROOT SHARED COMMAND... -- becomes COMMAND as the DaemonSet's container: ROOT as its root, read-only, with the mounts of the
# manifests, the capabilities NET_ADMIN and NET_RAW and no way to more. SHARED, a folder below /run, is seen at the same path. The network
# namespace is the caller's. Call it in a mount namespace of its own.
use strict;
use warnings;
use POSIX ();

my ($root, $shared, @command) = @ARGV;
my %prctl = (x86_64 => 157, aarch64 => 167);
my $prctl = $prctl{ (POSIX::uname())[4] } or die "no number of prctl for this machine\n";
my ($PR_CAPBSET_READ, $PR_CAPBSET_DROP, $PR_SET_NO_NEW_PRIVS) = (23, 24, 38);
my %kept = (12 => 'NET_ADMIN', 13 => 'NET_RAW');

sub run { system(@_) == 0 or die "@_ failed\n" }

run('mount', '--bind', $root, $root);
run('mount', '--rbind', "/$_", "$root/$_") for qw(proc sys dev);
run('mount', '-t', 'tmpfs', 'tmpfs', "$root/$_") for 'run', 'var/lib/portcullis';
run('mkdir', '-p', "$root/run/portcullis", "$root$shared");
run('touch', "$root/run/xtables.lock");
run('mount', '--bind', $shared, "$root$shared");
run('mount', '-o', 'remount,bind,ro', $root);
chroot $root or die "chroot: $!\n";
chdir '/' or die "chdir: $!\n";
for my $capability (0 .. 63) {
    next if $kept{$capability} or syscall($prctl, $PR_CAPBSET_READ, $capability, 0, 0, 0) < 0;
    syscall($prctl, $PR_CAPBSET_DROP, $capability, 0, 0, 0) == 0 or die "capability $capability: $!\n";
}
syscall($prctl, $PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 or die "no_new_privs: $!\n";
exec { $command[0] } @command or die "$command[0]: $!\n";
