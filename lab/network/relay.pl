#!/usr/bin/perl
# Carries bytes between a socket in this network namespace and a unix socket, which belongs to no network namespace: how a
# process of the lab's node talks to one outside of the lab although no packet can go from one to the other.
# Needs no module outside of Debian's perl-base.
#
# One command per line on stdin, one answer per line on stdout; ends when stdin does. ENDPOINT: tcp:PORT (127.0.0.1),
# tcp:ADDRESS,PORT or unix:PATH.
#
#   open ID LISTEN-ENDPOINT TARGET-ENDPOINT         ID ok | ID error TEXT
#   close ID OPENED-ID                              ID ok; no more connections, those there are cut
use strict;
use warnings;
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use Socket qw(:DEFAULT SOCK_CLOEXEC inet_pton pack_sockaddr_in6);

use constant CHUNK => 262144;    # bytes read but not yet written, per connection and direction

my (%listener, %connection);     # by opened ID; by file number, both ends
my ($read_set, $write_set, $commands) = ('', '', '');

sub answer { my ($line) = @_; $line =~ s/\n+/ /g; syswrite STDOUT, "$line\n"; return }

sub new_end {
    my ($endpoint) = @_;
    my ($kind, $where) = split /:/, $endpoint, 2;
    my $unix = $kind eq 'unix';
    my ($address, $port) = !$unix && $where =~ /^(.+),(\d+)$/ ? ($1, $2) : ('127.0.0.1', $where);
    if (!$unix && $address =~ /:/) {
        socket my $fh6, AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0 or die "socket: $!\n";
        return ($fh6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)), undef);
    }
    socket my $fh, $unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0 or die "socket: $!\n";
    setsockopt $fh, SOL_SOCKET, SO_REUSEADDR, 1 unless $unix;
    return ($fh, $unix ? pack_sockaddr_un($where) : pack_sockaddr_in($port, inet_pton(AF_INET, $address)), $unix ? $where : undef);
}

sub open_listener {
    my ($id, $endpoint, $target) = @_;
    my ($fh, $address, $path) = new_end($endpoint);
    unlink $path if defined $path;
    bind $fh, $address or die "bind $endpoint: $!\n";
    listen $fh, 128 or die "listen $endpoint: $!\n";
    fcntl $fh, F_SETFL, fcntl($fh, F_GETFL, 0) | O_NONBLOCK;
    $listener{$id} = { fh => $fh, target => $target };
    vec($read_set, fileno $fh, 1) = 1;
    return;
}

sub close_listener {
    my ($id) = @_;
    my $gone = delete $listener{$id} or return;
    vec($read_set, fileno $gone->{fh}, 1) = 0;
    close $gone->{fh};
    my @cut = grep { $_->{listener} eq $id } values %connection;
    cut($_) for @cut;
    return;
}

sub accept_connection {
    my ($id) = @_;
    accept my $near, $listener{$id}{fh} or return;
    my ($far, $address) = new_end($listener{$id}{target});
    connect $far, $address or return;    # closing both is the answer
    my @ends = map { { fh => $_, listener => $id, output => '' } } $near, $far;
    ($ends[0]{peer}, $ends[1]{peer}) = @ends[1, 0];
    for my $end (@ends) {
        fcntl $end->{fh}, F_SETFL, fcntl($end->{fh}, F_GETFL, 0) | O_NONBLOCK;
        $connection{ fileno $end->{fh} } = $end;
        vec($read_set, fileno $end->{fh}, 1) = 1;
    }
    return;
}

sub cut {
    my ($end) = @_;
    my @sides = grep { defined } $end, $end->{peer};
    for my $side (@sides) {
        my $fd = fileno $side->{fh};
        next unless defined $fd;
        delete $connection{$fd};
        vec($read_set, $fd, 1) = 0;
        vec($write_set, $fd, 1) = 0;
        close $side->{fh};
        delete $side->{peer};
    }
    return;
}

# Bytes that arrive at $end leave at its peer. The end of one direction is passed on; of both, it is over.
sub read_end {
    my ($end) = @_;
    my $peer = $end->{peer};
    my $count = sysread $end->{fh}, $peer->{output}, CHUNK, length $peer->{output};
    return if !defined $count && ($!{EAGAIN} || $!{EINTR});
    return cut($end) unless defined $count;
    $end->{ended} = 1 unless $count;
    return write_end($peer);
}

sub write_end {
    my ($end) = @_;
    my $fd = fileno $end->{fh};
    if (length $end->{output}) {
        my $written = syswrite $end->{fh}, $end->{output};
        return cut($end) unless defined $written || $!{EAGAIN} || $!{EINTR};
        substr($end->{output}, 0, $written // 0) = '';
    }
    my $source = $end->{peer};
    my $waiting = length $end->{output};
    vec($write_set, $fd, 1) = $waiting ? 1 : 0;
    # No reading ahead of a slow writer.
    vec($read_set, fileno $source->{fh}, 1) = $source->{ended} || $waiting ? 0 : 1;
    return if $waiting || !$source->{ended};
    return cut($end) if $end->{ended};
    shutdown $end->{fh}, 1;
    return;
}

sub obey {
    my ($verb, $id, @fields) = split / /, $_[0];
    return unless defined $id;
    my $done = eval {
        if    ($verb eq 'open')  { open_listener($id, @fields) }
        elsif ($verb eq 'close') { close_listener(@fields) }
        else                     { die "unknown command $verb\n" }
        1;
    };
    return answer($done ? "$id ok" : "$id error $@");
}

# Ctrl-C goes to the whole terminal; this process ends when its parent has cleaned up.
$SIG{$_} = 'IGNORE' for qw(PIPE INT);
$0 = 'portcullis-lab-relay';
vec($read_set, fileno STDIN, 1) = 1;
while (1) {
    next if select(my $read = $read_set, my $write = $write_set, undef, undef) <= 0;
    if (vec $read, fileno STDIN, 1) {
        exit 0 unless sysread STDIN, $commands, 65536, length $commands;
        obey($1) while $commands =~ s/^([^\n]*)\n//;
    }
    for my $id (keys %listener) { accept_connection($id) if $listener{$id} && vec $read, fileno $listener{$id}{fh}, 1 }
    for my $fd (keys %connection) {
        write_end($connection{$fd}) if $connection{$fd} && vec $write, $fd, 1;
        read_end($connection{$fd}) if $connection{$fd} && vec $read, $fd, 1;
    }
}
