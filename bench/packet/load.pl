#!/usr/bin/perl
# Makes and answers the traffic that suite packet measures. Needs no module outside of Debian's perl-base.
#
#   load.pl serve ADDRESS PORT         prints "ready"; serves until stdin ends
#   load.pl client ADDRESS PORT        reads one command per line from stdin: KIND N PARTS
#
# A command is carried out PARTS times; the answer is the nanoseconds that the fastest took, because whatever else the machine
# does can only make one slower. The kinds:
#
#   rr N     N times one byte there and back on an open TCP connection
#   udp N    the same in datagrams, one socket
#   crr N    N times: connect, one byte there and back, close
#   dns N    N times: a new UDP socket, one datagram there and back, close
#   bulk N   N MiB on an open TCP connection, until the other side has read them all
#   new N    N datagrams that nobody answers: each is the first of its flow to whoever looks at its state
#   denied N the same to the next port
#
# Every other kind of traffic goes to the same port, so that the same rules let it through.
use strict;
use warnings;
use Config;
use Socket qw(:DEFAULT IPPROTO_TCP IPPROTO_UDP TCP_NODELAY);

my ($role, $address, $port) = @ARGV;
my $target = pack_sockaddr_in($port, inet_aton($address));

# Source port of unanswered datagrams; the server has a socket for it that it never reads.
my $SILENT_PORT = 9;
my $CHUNK       = 256 * 1024;
my $MEBIBYTE    = 1024 * 1024;
# Of TCP connections: a size of one's own, or each connection would have grown to another one.
my $BUFFER = 192 * 1024;

# perl-base has no Time::HiRes.
my %CLOCK_GETTIME = (x86_64 => 228, aarch64 => 113, riscv64 => 113, ppc64le => 246, powerpc64le => 246, s390x => 260);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my $clock_gettime = $CLOCK_GETTIME{ $machine // '' };
require Time::HiRes unless defined $clock_gettime;

sub nanoseconds {
    return int(Time::HiRes::clock_gettime(1) * 1e9) unless defined $clock_gettime;
    my $timespec = pack 'qq', 0, 0;
    syscall($clock_gettime, 1, $timespec) == 0 or die "clock_gettime: $!\n";
    my ($seconds, $nanoseconds) = unpack 'qq', $timespec;
    return $seconds * 1_000_000_000 + $nanoseconds;
}

$| = 1;
$SIG{PIPE} = 'IGNORE';
if    ($role eq 'serve')  { serve() }
elsif ($role eq 'client') { client() }
else                      { die "role is serve or client\n" }

# ---- server -----------------------------------------------------------------------------------------------------------

sub serve {
    socket(my $listener, PF_INET, SOCK_STREAM, IPPROTO_TCP) or die "socket: $!\n";
    setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1) or die "SO_REUSEADDR: $!\n";
    bind($listener, $target)  or die "bind: $!\n";
    fix_buffers($listener);
    listen($listener, 128)    or die "listen: $!\n";
    my $echo = datagram_socket($target);
    my @children = (in_child(sub { accept_connections($listener) }), in_child(sub { echo_datagrams($echo) }));
    print "ready\n";
    while (<STDIN>) { }
    kill 'TERM', @children;
    exit 0;
}

sub in_child {
    my ($code) = @_;
    my $pid = fork() // die "fork: $!\n";
    return $pid if $pid;
    close STDIN;
    $code->();
    exit 0;
}

# The first byte of a connection says what it is for.
sub accept_connections {
    my ($listener) = @_;
    $SIG{CHLD} = 'IGNORE';
    my @children;
    $SIG{TERM} = sub { kill 'TERM', @children; exit 0 };
    while (1) {
        accept(my $connection, $listener) or next;
        sysread($connection, my $kind, 1) or next;
        if ($kind eq 'c') { syswrite $connection, $kind }
        else              { push @children, in_child(sub { close $listener; serve_connection($connection, $kind) }) }
        close $connection;
    }
}

sub serve_connection {
    my ($connection, $kind) = @_;
    $SIG{TERM} = 'DEFAULT';
    setsockopt($connection, IPPROTO_TCP, TCP_NODELAY, 1) or die "TCP_NODELAY: $!\n";
    syswrite $connection, $kind;
    my $data;
    if ($kind eq 'r') {
        while (sysread($connection, $data, 1)) { syswrite $connection, $data }
        return;
    }
    while (sysread($connection, my $length, 4)) {
        my $left = unpack('N', $length) * $MEBIBYTE;
        while ($left > 0) {
            my $read = sysread($connection, $data, $left < $CHUNK ? $left : $CHUNK) or return;
            $left -= $read;
        }
        syswrite $connection, 'b';
    }
}

sub echo_datagrams {
    my ($socket) = @_;
    my $silent;
    while (1) {
        my $from = recv($socket, my $data, 16, 0) // next;
        if (!$silent && $data eq 'silence') {
            # More specific than ours, so it gets the unanswered datagrams; its buffer fills up, and the kernel drops the rest.
            my (undef, $host) = unpack_sockaddr_in($from);
            $silent = datagram_socket($target);
            setsockopt($silent, SOL_SOCKET, SO_RCVBUF, 1) or die "SO_RCVBUF: $!\n";
            connect($silent, pack_sockaddr_in($SILENT_PORT, $host)) or die "connect: $!\n";
        }
        send($socket, $data, 0, $from);
    }
}

sub fix_buffers {
    my ($socket) = @_;
    for my $option (SO_SNDBUF, SO_RCVBUF) { setsockopt($socket, SOL_SOCKET, $option, $BUFFER) or die "SO_SNDBUF, SO_RCVBUF: $!\n" }
    return;
}

sub datagram_socket {
    my ($own) = @_;
    socket(my $socket, PF_INET, SOCK_DGRAM, IPPROTO_UDP) or die "socket: $!\n";
    setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) or die "SO_REUSEADDR: $!\n";
    bind($socket, $own) or die "bind: $!\n";
    return $socket;
}

# ---- client -----------------------------------------------------------------------------------------------------------

sub client {
    my $datagrams = datagram_socket(pack_sockaddr_in(0, INADDR_ANY));
    connect($datagrams, $target) or die "connect: $!\n";
    send($datagrams, 'silence', 0) and recv($datagrams, my $answer, 16, 0);
    my $silent = datagram_socket(pack_sockaddr_in($SILENT_PORT, INADDR_ANY));
    connect($silent, $target) or die "connect: $!\n";
    my $denied = datagram_socket(pack_sockaddr_in(0, INADDR_ANY));
    connect($denied, pack_sockaddr_in($port + 1, inet_aton($address))) or die "connect: $!\n";
    my %open = (udp => $datagrams, new => $silent, denied => $denied, rr => open_stream('r'), bulk => open_stream('b'));
    my %run = (rr => \&ping_pong, udp => \&ping_pong, crr => \&connect_close, dns => \&ask_once, bulk => \&write_all);
    $run{$_} = \&send_all for qw(new denied);
    print "ready\n";
    while (my $line = <STDIN>) {
        my ($kind, $count, $parts) = split ' ', $line;
        my $fastest;
        for (1 .. $parts) {
            my $began = nanoseconds();
            $run{$kind}->($count, $open{$kind});
            my $took = nanoseconds() - $began;
            $fastest = $took if !defined $fastest || $took < $fastest;
        }
        print "$fastest\n";
    }
    exit 0;
}

sub open_stream {
    my ($kind) = @_;
    socket(my $connection, PF_INET, SOCK_STREAM, IPPROTO_TCP) or die "socket: $!\n";
    fix_buffers($connection);
    connect($connection, $target) or die "connect: $!\n";
    setsockopt($connection, IPPROTO_TCP, TCP_NODELAY, 1) or die "TCP_NODELAY: $!\n";
    syswrite $connection, $kind;
    sysread($connection, my $answer, 1) or die "no answer\n";
    return $connection;
}

sub ping_pong {
    my ($count, $socket) = @_;
    my $answer;
    for (1 .. $count) {
        syswrite $socket, 'r';
        sysread($socket, $answer, 1) or die "no answer: $!\n";
    }
}

sub connect_close {
    my ($count) = @_;
    for (1 .. $count) {
        socket(my $connection, PF_INET, SOCK_STREAM, IPPROTO_TCP) or die "socket: $!\n";
        connect($connection, $target) or die "connect: $!\n";
        syswrite $connection, 'c';
        sysread($connection, my $answer, 1) or die "no answer: $!\n";
        close $connection;
    }
}

sub ask_once {
    my ($count) = @_;
    for (1 .. $count) {
        socket(my $socket, PF_INET, SOCK_DGRAM, IPPROTO_UDP) or die "socket: $!\n";
        connect($socket, $target) or die "connect: $!\n";
        syswrite $socket, 'd';
        sysread($socket, my $answer, 1) or die "no answer: $!\n";
        close $socket;
    }
}

sub write_all {
    my ($mebibytes, $connection) = @_;
    my $data = 'x' x $CHUNK;
    syswrite $connection, pack('N', $mebibytes);
    for (1 .. $mebibytes * $MEBIBYTE / $CHUNK) {
        my $written = 0;
        while ($written < $CHUNK) {
            $written += syswrite($connection, $data, $CHUNK - $written, $written) // die "write: $!\n";
        }
    }
    sysread($connection, my $answer, 1) or die "no answer: $!\n";
}

sub send_all {
    my ($count, $socket) = @_;
    for (1 .. $count) { syswrite $socket, 'n' }
}
