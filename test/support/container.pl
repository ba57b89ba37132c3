# container.pl ROOT SHARED FILTER COMMAND... -- becomes COMMAND as the DaemonSet's container: ROOT as its root, read-only, with the mounts of the
# manifests, the capabilities NET_ADMIN and NET_RAW and no way to more. SHARED, a folder below /run, is seen at the same path. FILTER: a file
# with a BPF program for seccomp; empty: none. The network namespace is the caller's. Call it in a mount namespace of its own.
use strict;
use warnings;
use POSIX ();

my ($root, $shared, $filter, @command) = @ARGV;
my %prctl = (x86_64 => 157, aarch64 => 167);
my $prctl = $prctl{ (POSIX::uname())[4] } or die "no number of prctl for this machine\n";
my ($PR_SET_SECCOMP, $PR_CAPBSET_READ, $PR_CAPBSET_DROP, $PR_SET_NO_NEW_PRIVS) = (22, 23, 24, 38);
my $SECCOMP_MODE_FILTER = 2;
my %kept = (12 => 'NET_ADMIN', 13 => 'NET_RAW');

sub run { system(@_) == 0 or die "@_ failed\n" }

my $program = '';
if ($filter ne '') {
    open my $file, '<:raw', $filter or die "$filter: $!\n";
    local $/;
    $program = <$file>;
}
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
if ($program ne '') {
    # struct sock_fprog: how many instructions, of 8 bytes each, and where they are.
    my $given = pack 'S x![P] P', length($program) / 8, $program;
    syscall($prctl, $PR_SET_SECCOMP, $SECCOMP_MODE_FILTER, $given, 0, 0) == 0 or die "seccomp: $!\n";
}
exec { $command[0] } @command or die "$command[0]: $!\n";
