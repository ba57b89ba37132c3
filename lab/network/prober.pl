#!/usr/bin/perl
# Sends and answers probes in the network namespace it is started in. Needs no module outside of Debian's perl-base.
#
# One command per line on stdin, one answer per line on stdout, matched by ID; ends when stdin does. Fields are parted by
# one space, an absent one is "-". NAME, the only argument, is what servers call themselves; it holds no space.
#
#   serve ID ADDRESSES LISTENERS           comma lists, LISTENERS as tcp/80,udp/53,sctp/9; replaces what was served before
#       ID ok | ID error TEXT
#   probe ID PROTOCOL ADDRESS PORT SOURCE-ADDRESS SOURCE-PORT TIMEOUT-MS ATTEMPTS          PROTOCOL: tcp udp sctp icmp
#       ID reached|blocked|refused|error RTT-US SERVER SEEN-ADDRESS SEEN-PORT SENT-PACKETS AT-MS DETAIL...
#   flow-open ID tcp|udp ADDRESS PORT SOURCE-PORT push-server|push-client|talk INTERVAL-MS     answered when open or failed
#       ID ok | ID error TEXT
#   flow-stat ID FLOW-ID, flow-close ID FLOW-ID        FLOW-ID, REPEAT-ID: the ID of the command that opened it
#       ID ok STATE SERVER SENT DELIVERED RECEIVED SILENT-MS LONGEST-SILENCE-MS DETAIL...
#   repeat-open ID (as probe) INTERVAL-MS
#       ID ok
#   repeat-stat ID REPEAT-ID, repeat-stop ID REPEAT-ID
#       ID ok REACHED BLOCKED REFUSED ERROR AT-MS:OUTCOME...     the changes, oldest first, wall clock
#   repeat-times ID REPEAT-ID reached|blocked|refused|error
#       ID ok AT-MS...                     when the probes with this outcome were sent, oldest first, the first few
#   life ID SINCE-MS                       when this process did not run though it should have; its answer shows that it runs
#       ID ok NOW-MS FROM-MS:TO-MS...
#
# A TCP server greets with "NAME CLIENT-ADDRESS CLIENT-PORT\n"; the UDP echo and the cookie of an SCTP INIT-ACK say the same.
use strict;
use warnings;
use Config;
use Errno qw(ECONNREFUSED ECONNRESET EHOSTUNREACH ENETUNREACH ENOPROTOOPT EACCES);
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use Socket qw(:DEFAULT IPPROTO_TCP IPPROTO_UDP IPPROTO_ICMP IPPROTO_ICMPV6 IPPROTO_SCTP IPPROTO_IPV6 IPV6_V6ONLY
  SOCK_NONBLOCK SOCK_CLOEXEC TCP_NODELAY inet_pton inet_ntop pack_sockaddr_in6 unpack_sockaddr_in6);

use constant {
    GREETING_WAIT   => 10,            # timeouts between a connection and its greeting: the server may be starved, not blocked
    FLOW_OPEN_WAIT  => 2,
    ABORT_GRACE     => 0.02,          # a kernel with SCTP of its own answers with an ABORT beside our INIT-ACK
    UDP_PUSH_LIMIT  => 600,           # seconds a UDP server pushes to a client that may be gone
    MESSAGE         => 16,            # bytes of one message of a TCP flow
    KEPT_CHANGES    => 500,
    KEPT_TIMES      => 300,
    HEARTBEAT       => 0.1,
    STALL           => 0.2,           # between two heartbeats: this process, or the machine, stood still
    KEPT_STALLS     => 500,
    TIOCOUTQ        => 0x5411,        # bytes not yet acknowledged by the peer
    LINGER_RESET    => pack('ii', 1, 0),    # close with RST: no TIME_WAIT, so a source port can be used again
    MAX_DATAGRAM    => 2048,
};

my $name = shift(@ARGV) // 'unnamed';
my %PROTOCOL_NUMBER = (tcp => IPPROTO_TCP, udp => IPPROTO_UDP, sctp => IPPROTO_SCTP);

# ---- clock: perl-base has no Time::HiRes ------------------------------------------------------------------------------

my ($CLOCK_REALTIME, $CLOCK_MONOTONIC) = (0, 1);
my %CLOCK_GETTIME = (x86_64 => 228, aarch64 => 113, riscv64 => 113, ppc64le => 246, powerpc64le => 246, s390x => 260);
my ($machine) = $Config{archname} =~ /^([^-]+)/;
my $clock_gettime = $CLOCK_GETTIME{ $machine // '' };
require Time::HiRes unless defined $clock_gettime;

sub clock {
    my ($which) = @_;
    return Time::HiRes::clock_gettime($which) unless defined $clock_gettime;
    my $timespec = pack 'qq', 0, 0;
    syscall($clock_gettime, $which, $timespec) == 0 or die "clock_gettime: $!\n";
    my ($seconds, $nanoseconds) = unpack 'qq', $timespec;
    return $seconds + $nanoseconds / 1e9;
}

sub now { return clock($CLOCK_MONOTONIC) }
sub wall_ms { return int(clock($CLOCK_REALTIME) * 1000) }

# ---- event loop -------------------------------------------------------------------------------------------------------

my (%reader, %writer, %timer);
my ($read_set, $write_set, $last_timer) = ('', '', 0);
my $output = '';

sub watch_read  { my ($fh, $code) = @_; $reader{ fileno $fh } = $code; vec($read_set,  fileno $fh, 1) = 1; return }
sub watch_write { my ($fh, $code) = @_; $writer{ fileno $fh } = $code; vec($write_set, fileno $fh, 1) = 1; return }
sub stop_write  { my ($fh) = @_; delete $writer{ fileno $fh }; vec($write_set, fileno $fh, 1) = 0; return }

sub forget {
    my ($fh) = @_;
    my $fd = $fh ? fileno $fh : undef;
    return unless defined $fd;
    delete $reader{$fd};
    delete $writer{$fd};
    vec($read_set, $fd, 1) = 0;
    vec($write_set, $fd, 1) = 0;
    close $fh;
    return;
}

sub after { my ($seconds, $code) = @_; $timer{ ++$last_timer } = [ now() + $seconds, $code ]; return $last_timer }
sub cancel { my ($id) = @_; delete $timer{$id} if defined $id; return }

# Calls $code every $seconds until it returns false; ticks missed in a stall are left out.
sub every {
    my ($seconds, $code) = @_;
    my $due = now() + $seconds;
    my $tick;
    $tick = sub {
        if (!$code->()) { undef $tick; return }
        my $now = now();
        $due += $seconds;
        $due = $now if $due < $now;
        after($due - $now, $tick);
    };
    after($seconds, $tick);
    return;
}

sub guarded {
    my ($code, @arguments) = @_;
    eval { $code->(@arguments); 1 } or warn "prober $name: $@";
    return;
}

sub loop_once {
    my $wait = 3600;
    my $asked_at = now();
    for my $timer (values %timer) {
        my $left = $timer->[0] - $asked_at;
        $wait = $left if $left < $wait;
    }
    $wait = 0 if $wait < 0;
    my $ready = select(my $read = $read_set, my $write = $write_set, undef, $wait);
    if ($ready > 0) {
        for my $fd (keys %writer) { guarded($writer{$fd}) if vec($write, $fd, 1) && $writer{$fd} }
        for my $fd (keys %reader) { guarded($reader{$fd}) if vec($read,  $fd, 1) && $reader{$fd} }
    }
    # Only what was due before the packets were looked at: an answer that lay waiting while this process was not
    # running must win over the deadline.
    for my $id (sort { $a <=> $b } keys %timer) {
        next unless $timer{$id} && $timer{$id}[0] <= $asked_at;
        guarded((delete $timer{$id})->[1]);
    }
    return;
}

sub answer {
    my (@fields) = @_;
    my $line = join ' ', map { defined && length ? $_ : '-' } @fields;
    $line =~ s/[\r\n]+/ /g;
    $output .= "$line\n";
    watch_write(\*STDOUT, \&flush_output);
    return;
}

sub flush_output {
    my $written = syswrite STDOUT, $output;
    if (defined $written) { substr($output, 0, $written) = '' }
    elsif (!$!{EAGAIN} && !$!{EINTR}) { exit 0 }
    stop_write(\*STDOUT) unless length $output;
    return;
}

# ---- sockets ----------------------------------------------------------------------------------------------------------

sub family_of { my ($address) = @_; return $address =~ /:/ ? AF_INET6 : AF_INET }

sub socket_address {
    my ($address, $port) = @_;
    my $family = family_of($address);
    my $packed = inet_pton($family, $address) or die "not an address: $address\n";
    return $family == AF_INET6 ? pack_sockaddr_in6($port, $packed) : pack_sockaddr_in($port, $packed);
}

sub address_and_port {
    my ($packed) = @_;
    my $family = sockaddr_family($packed);
    my ($port, $address) = $family == AF_INET6 ? unpack_sockaddr_in6($packed) : unpack_sockaddr_in($packed);
    return (inet_ntop($family, $address), $port);
}

sub new_socket {
    my ($address, $type, $protocol) = @_;
    my $family = family_of($address);
    socket(my $fh, $family, $type | SOCK_NONBLOCK | SOCK_CLOEXEC, $protocol) or die "socket: $!\n";
    setsockopt $fh, SOL_SOCKET, SO_REUSEADDR, 1;
    setsockopt $fh, IPPROTO_IPV6, IPV6_V6ONLY, 1 if $family == AF_INET6 && $type != SOCK_RAW;
    return $fh;
}

# A socket bound to the wanted source and connected, for TCP perhaps still connecting.
sub client_socket {
    my ($to, $type, $protocol) = @_;
    my $fh = new_socket($to->{address}, $type, $protocol);
    if (defined $to->{source_address} || defined $to->{source_port}) {
        my $any = $to->{address} =~ /:/ ? '::' : '0.0.0.0';
        my $port = $type == SOCK_RAW ? 0 : $to->{source_port} // 0;
        bind $fh, socket_address($to->{source_address} // $any, $port) or die "bind: $!\n";
    }
    my $port = $type == SOCK_RAW ? 0 : $to->{port};
    connect($fh, socket_address($to->{address}, $port)) or $!{EINPROGRESS} or die "connect: $!\n";
    return $fh;
}

# ---- SCTP, as much of it as a handshake's first half needs (RFC 9260) ---------------------------------------------------

my @crc32c_table = map {
    my $crc = $_;
    $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    $crc;
} 0 .. 255;

sub crc32c {
    my ($bytes) = @_;
    my $crc = 0xffffffff;
    $crc = ($crc >> 8) ^ $crc32c_table[ ($crc ^ $_) & 0xff ] for unpack 'C*', $bytes;
    return $crc ^ 0xffffffff;
}

use constant { SCTP_INIT => 1, SCTP_INIT_ACK => 2, SCTP_ABORT => 6, SCTP_COOKIE_PARAMETER => 7 };

sub sctp_packet {
    my ($from_port, $to_port, $tag, $type, $body) = @_;
    my $chunk = pack('CCn', $type, 0, 4 + length $body) . $body;
    $chunk .= "\0" x (-length($chunk) % 4);
    my $crc = crc32c(pack('nnNN', $from_port, $to_port, $tag, 0) . $chunk);
    return pack('nnNV', $from_port, $to_port, $tag, $crc) . $chunk;
}

sub sctp_init_body { my ($tag) = @_; return pack 'NNnnN', $tag, 65535, 1, 1, 1 }

# (from port, to port, tag, type, body of the first chunk); nothing if it is not SCTP.
sub read_sctp {
    my ($packet, $family) = @_;
    $packet = substr $packet, 4 * (ord($packet) & 15) if $family == AF_INET && length $packet >= 20;
    return unless length $packet >= 16;
    my ($from_port, $to_port, $tag, $crc, $type, undef, $length) = unpack 'nnNVCCn', $packet;
    my $chunks = substr $packet, 12;
    return unless $crc == crc32c(pack('nnNN', $from_port, $to_port, $tag, 0) . $chunks);
    return unless $length >= 4 && $length <= length $chunks;
    return ($from_port, $to_port, $tag, $type, substr $chunks, 4, $length - 4);
}

sub random_tag { return 1 + int rand 0xfffffffe }

# ---- serving ----------------------------------------------------------------------------------------------------------

# "tcp 4 80" -> listening socket; "udp ADDRESS 53", "sctp ADDRESS" -> one socket per address, so that the answer comes
# from the address that was asked, which a wildcard socket cannot promise on a host with several.
my %served;
my %sctp_ports;

sub serve {
    my ($id, $addresses, $listeners) = @_;
    my @addresses = $addresses eq '-' ? () : split /,/, $addresses;
    my @listeners = $listeners eq '-' ? () : map { [ split m{/} ] } split /,/, $listeners;
    my %wanted;
    %sctp_ports = ();
    for my $listener (@listeners) {
        my ($protocol, $port) = @$listener;
        $sctp_ports{$port} = 1 if $protocol eq 'sctp';
        for my $address (@addresses) {
            my $any = $address =~ /:/ ? '::' : '0.0.0.0';
            my $key = $protocol eq 'tcp' ? "tcp $any $port" : $protocol eq 'udp' ? "udp $address $port" : "sctp $address 0";
            $wanted{$key} = 1;
        }
    }
    for my $key (grep { !$wanted{$_} } keys %served) { forget(delete $served{$key}) }
    my @failures;
    for my $key (grep { !$served{$_} } sort keys %wanted) {
        my ($protocol, $address, $port) = split / /, $key;
        eval { $served{$key} = open_listener($protocol, $address, $port); 1 } or push @failures, "$key: $@";
    }
    return answer($id, @failures ? ('error', @failures) : 'ok');
}

sub open_listener {
    my ($protocol, $address, $port) = @_;
    my $type = { tcp => SOCK_STREAM, udp => SOCK_DGRAM, sctp => SOCK_RAW }->{$protocol};
    my $fh = new_socket($address, $type, $PROTOCOL_NUMBER{$protocol});
    bind $fh, socket_address($address, $port) or die "bind: $!\n";
    if ($protocol eq 'tcp') {
        listen $fh, 1024 or die "listen: $!\n";
        watch_read($fh, sub { accept_clients($fh) });
    }
    elsif ($protocol eq 'udp') { watch_read($fh, sub { answer_datagrams($fh) }) }
    else                       { watch_read($fh, sub { answer_sctp($fh) }) }
    return $fh;
}

sub accept_clients {
    my ($listener) = @_;
    while (my $peer = accept my $fh, $listener) {
        fcntl $fh, F_SETFL, fcntl($fh, F_GETFL, 0) | O_NONBLOCK;
        setsockopt $fh, IPPROTO_TCP, TCP_NODELAY, 1;
        my $client = { fh => $fh, input => '' };
        syswrite $fh, join(' ', $name, address_and_port($peer)) . "\n";
        watch_read($fh, sub { read_client($client) });
    }
    return;
}

# What a client says: nothing (a probe), or once "flow MODE INTERVAL-MS\n" and then its messages.
sub read_client {
    my ($client) = @_;
    my $count = sysread $client->{fh}, my $bytes, 65536;
    return if !defined $count && ($!{EAGAIN} || $!{EINTR});
    if (!$count) {
        $client->{gone} = 1;
        return forget($client->{fh});
    }
    if ($client->{mode}) {
        syswrite $client->{fh}, $bytes if $client->{mode} eq 'talk';
        return;
    }
    $client->{input} .= $bytes;
    return unless $client->{input} =~ s/^flow (\S+) (\d+)\n//;
    $client->{mode} = $1;
    my $messages = 0;
    every($2 / 1000, sub { $client->{gone} ? 0 : do { send_message($client->{fh}, ++$messages); 1 } })
      if $1 eq 'push-server';
    return;
}

sub send_message { my ($fh, $number) = @_; return syswrite $fh, sprintf('%0*d', MESSAGE - 1, $number) . "\n" }

my %pushing;    # UDP flows in which this side speaks

# "probe NONCE" -> "NONCE NAME ADDRESS PORT"; "flow ID MODE INTERVAL-MS NUMBER" -> "ID NAME", now or regularly; "end ID".
sub answer_datagrams {
    my ($fh) = @_;
    while (defined(my $peer = recv $fh, my $datagram, MAX_DATAGRAM, 0)) {
        next unless length $peer;
        my ($verb, $id, $mode, $interval, $number) = split / /, $datagram;
        next unless defined $id;
        if    ($verb eq 'probe') { send $fh, join(' ', $id, $name, address_and_port($peer)), 0, $peer }
        elsif ($verb eq 'end')   { delete $pushing{$id} }
        elsif ($verb eq 'flow' && defined $number) {
            send $fh, "$id $name", 0, $peer if $mode eq 'talk' || $number == 0;
            push_datagrams($fh, $peer, $id, $interval / 1000) if $mode eq 'push-server' && !$pushing{$id}++;
        }
    }
    return;
}

sub push_datagrams {
    my ($fh, $peer, $id, $seconds) = @_;
    my $until = now() + UDP_PUSH_LIMIT;
    every($seconds, sub {
        return 0 if !$pushing{$id} || now() > $until || !defined fileno $fh;
        send $fh, "$id $name", 0, $peer;
        return 1;
    });
    return;
}

sub answer_sctp {
    my ($fh) = @_;
    while (defined(my $peer = recv $fh, my $packet, MAX_DATAGRAM, 0)) {
        next unless length $peer;
        my ($from_port, $to_port, undef, $type, $body) = read_sctp($packet, sockaddr_family($peer)) or next;
        next unless $type == SCTP_INIT && length $body >= 16;
        my $tag = unpack 'N', $body;
        my ($address) = address_and_port($peer);
        my $cookie = "$name $address $from_port";
        my $reply = $sctp_ports{$to_port}
          ? sctp_packet($to_port, $from_port, $tag, SCTP_INIT_ACK,
            sctp_init_body(random_tag()) . pack('nn', SCTP_COOKIE_PARAMETER, 4 + length $cookie) . $cookie)
          : sctp_packet($to_port, $from_port, $tag, SCTP_ABORT, '');
        send $fh, $reply, 0, $peer;
    }
    return;
}

# ---- probing ----------------------------------------------------------------------------------------------------------

my %attempt = (tcp => \&attempt_tcp, udp => \&attempt_udp, sctp => \&attempt_sctp, icmp => \&attempt_icmp);
my $last_probe = int rand 0x10000;

sub read_target {
    my ($protocol, $address, $port, $source_address, $source_port, $timeout_ms, $attempts) = @_;
    my $optional = sub { my ($field) = @_; return !defined $field || $field eq '-' ? undef : $field };
    return (
        protocol       => $protocol,
        address        => $address,
        port           => $optional->($port) // 0,
        source_address => $optional->($source_address),
        source_port    => $optional->($source_port),
        timeout        => ($optional->($timeout_ms) // 250) / 1000,
        attempts       => defined $optional->($source_port) ? 1 : $optional->($attempts) // 2,
    );
}

# $done gets (outcome, microseconds, server, seen address, seen port, packets sent, wall clock of the start, detail), once.
sub start_probe {
    my ($target, $done) = @_;
    my $probe = { %$target, done => $done, started => now(), at_ms => wall_ms(), sent => 0, sockets => [], timers => [], number => ++$last_probe & 0xffff };
    my $send = $attempt{ $probe->{protocol} } or return finish($probe, 'error', detail => 'unknown protocol');
    for my $index (1 .. $probe->{attempts} - 1) {
        push @{ $probe->{timers} }, after($probe->{timeout} * $index / $probe->{attempts}, sub { try($probe, $send) });
    }
    push @{ $probe->{timers} }, after($probe->{timeout}, sub { finish($probe, 'blocked') });
    return try($probe, $send);
}

sub try {
    my ($probe, $send) = @_;
    $probe->{sent}++;
    return if eval { $send->($probe); 1 };
    $probe->{sent}--;
    chomp(my $why = $@);
    # A host that refuses itself does so inside of connect().
    local $! = ECONNREFUSED;
    return finish($probe, $why eq "connect: $!" ? 'refused' : 'error', detail => $why);
}

sub finish {
    my ($probe, $outcome, %found) = @_;
    my $done = delete $probe->{done} or return;
    my $microseconds = int((now() - $probe->{started}) * 1e6);
    cancel($_) for @{ $probe->{timers} };
    for my $fh (@{ $probe->{sockets} }) {
        setsockopt $fh, SOL_SOCKET, SO_LINGER, LINGER_RESET if $probe->{protocol} eq 'tcp';
        forget($fh);
    }
    $probe->{sockets} = [];
    return $done->($outcome, $microseconds, @found{qw(server seen_address seen_port)}, @$probe{qw(sent at_ms)}, $found{detail});
}

my %IS_REFUSAL = map { $_ => 1 } ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, EACCES;

# What a socket says instead of an answer. EPERM is this host's own OUTPUT chain dropping the packet: silence, as elsewhere.
sub refused {
    my ($probe, $error) = @_;
    local $! = $error;
    return if $!{EAGAIN} || $!{EINTR} || $!{EPERM};
    return finish($probe, $IS_REFUSAL{ $error + 0 } ? 'refused' : 'error', detail => "$!");
}

sub reached {
    my ($probe, $server, $seen_address, $seen_port) = @_;
    return finish($probe, 'reached', server => $server, seen_address => $seen_address, seen_port => $seen_port);
}

# A second attempt is a second connection beside the first: the kernel itself would repeat the SYN only after a second.
sub attempt_tcp {
    my ($probe) = @_;
    my $fh = client_socket($probe, SOCK_STREAM, IPPROTO_TCP);
    push @{ $probe->{sockets} }, $fh;
    watch_write($fh, sub {
        stop_write($fh);
        my $error = unpack 'i', getsockopt($fh, SOL_SOCKET, SO_ERROR);
        return refused($probe, $error) if $error;
        cancel($_) for @{ $probe->{timers} };
        push @{ $probe->{timers} }, after(GREETING_WAIT * $probe->{timeout}, sub { finish($probe, 'error', detail => 'connected, but not greeted') });
        watch_read($fh, sub { read_greeting($probe, $fh) });
    });
    return;
}

sub read_greeting {
    my ($probe, $fh) = @_;
    my $count = sysread $fh, my $greeting, 1024;
    return refused($probe, $!) unless defined $count;
    return reached($probe, split / /, $1) if $greeting =~ /^(\S+ \S+ \d+)\n/;
    return finish($probe, 'error', detail => 'connected, but not greeted');
}

sub attempt_udp {
    my ($probe) = @_;
    my $fh = $probe->{sockets}[0];
    if (!$fh) {
        $fh = client_socket($probe, SOCK_DGRAM, IPPROTO_UDP);
        push @{ $probe->{sockets} }, $fh;
        watch_read($fh, sub {
            defined recv $fh, my $datagram, MAX_DATAGRAM, 0 or return refused($probe, $!);
            my ($nonce, @found) = split / /, $datagram;
            reached($probe, @found) if ($nonce // '') eq $probe->{number};
        });
    }
    send $fh, "probe $probe->{number}", 0 or refused($probe, $!);
    return;
}

sub attempt_sctp {
    my ($probe) = @_;
    my $fh = $probe->{sockets}[0];
    if (!$fh) {
        $probe->{tag} = random_tag();
        $probe->{from_port} = $probe->{source_port} // 32768 + $probe->{number} % 28000;
        $fh = client_socket($probe, SOCK_RAW, IPPROTO_SCTP);
        push @{ $probe->{sockets} }, $fh;
        watch_read($fh, sub { read_sctp_answer($probe, $fh) });
    }
    my $init = sctp_packet($probe->{from_port}, $probe->{port}, 0, SCTP_INIT, sctp_init_body($probe->{tag}));
    send $fh, $init, 0 or refused($probe, $!);
    return;
}

sub read_sctp_answer {
    my ($probe, $fh) = @_;
    defined recv $fh, my $packet, MAX_DATAGRAM, 0 or return refused($probe, $!);
    my ($from_port, $to_port, $tag, $type, $body) = read_sctp($packet, family_of($probe->{address})) or return;
    return unless $from_port == $probe->{port} && $to_port == $probe->{from_port} && $tag == $probe->{tag};
    if ($type == SCTP_ABORT) {
        push @{ $probe->{timers} }, after(ABORT_GRACE, sub { finish($probe, 'refused', detail => 'ABORT') });
    }
    return unless $type == SCTP_INIT_ACK && length $body >= 20;
    my ($peer_tag, $parameter, $length) = unpack 'N x12 nn', $body;
    # Says goodbye, so that no half-open association stays in anyone's connection table.
    send $fh, sctp_packet($probe->{from_port}, $probe->{port}, $peer_tag, SCTP_ABORT, ''), 0;
    return reached($probe) unless $parameter == SCTP_COOKIE_PARAMETER && $length > 4;
    return reached($probe, split / /, substr $body, 20, $length - 4);
}

sub internet_checksum {
    my ($bytes) = @_;
    my $sum = unpack '%32n*', $bytes;
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return ~$sum & 0xffff;
}

sub attempt_icmp {
    my ($probe) = @_;
    my $v6 = $probe->{address} =~ /:/;
    my ($request, $reply) = $v6 ? (128, 129) : (8, 0);
    my $identifier = $$ & 0xffff;
    my $fh = $probe->{sockets}[0];
    if (!$fh) {
        $fh = client_socket($probe, SOCK_RAW, $v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
        push @{ $probe->{sockets} }, $fh;
        watch_read($fh, sub {
            defined recv $fh, my $packet, MAX_DATAGRAM, 0 or return refused($probe, $!);
            $packet = substr $packet, 4 * (ord($packet) & 15) if !$v6 && length $packet >= 20;
            return unless length $packet >= 8;
            my ($type, undef, undef, $seen, $number) = unpack 'CCnnn', $packet;
            reached($probe) if $type == $reply && $seen == $identifier && $number == $probe->{number};
        });
    }
    my $data = 'portcullis lab';
    my $checksum = $v6 ? 0 : internet_checksum(pack('CCnnn', $request, 0, 0, $identifier, $probe->{number}) . $data);
    send $fh, pack('CCnnn', $request, 0, $checksum, $identifier, $probe->{number}) . $data, 0 or refused($probe, $!);
    return;
}

# ---- flows ------------------------------------------------------------------------------------------------------------

my %flow;

sub open_flow {
    my ($id, $protocol, $address, $port, $source_port, $mode, $interval_ms) = @_;
    my $flow = $flow{$id} = {
        read_target($protocol, $address, $port, undef, $source_port),
        id => $id, mode => $mode, interval_ms => $interval_ms, state => 'connecting', input => '',
        sent => 0, received => 0, acknowledged => 0, longest => 0, progress => now(),
    };
    $flow->{opened} = sub {
        my ($state, $detail) = @_;
        return end_flow($flow, $state, $detail) unless $flow->{state} eq 'connecting';
        @$flow{qw(state detail progress)} = ($state, $detail, now());
        cancel($flow->{timer});
        answer($id, $state eq 'open' ? 'ok' : ('error', $detail));
    };
    $flow->{timer} = after(FLOW_OPEN_WAIT, sub { $flow->{opened}->('failed', 'no answer'); forget($flow->{fh}) });
    my $open = $protocol eq 'tcp' ? \&open_tcp_flow : \&open_udp_flow;
    eval { $open->($flow); 1 } or do { chomp(my $why = $@); $flow->{opened}->('failed', $why) };
    return;
}

sub end_flow {
    my ($flow, $state, $detail) = @_;
    @$flow{qw(state detail)} = ($state, $detail) if $flow->{state} eq 'open' || $flow->{state} eq 'connecting';
    forget($flow->{fh});
    return;
}

sub progress {
    my ($flow) = @_;
    my $now = now();
    my $silence = $now - $flow->{progress};
    $flow->{longest} = $silence if $silence > $flow->{longest};
    $flow->{progress} = $now;
    return;
}

sub open_tcp_flow {
    my ($flow) = @_;
    my $fh = $flow->{fh} = client_socket($flow, SOCK_STREAM, IPPROTO_TCP);
    watch_write($fh, sub {
        stop_write($fh);
        local $! = unpack 'i', getsockopt($fh, SOL_SOCKET, SO_ERROR);
        return $flow->{opened}->('failed', "$!") if $!;
        setsockopt $fh, IPPROTO_TCP, TCP_NODELAY, 1;
        watch_read($fh, sub { read_tcp_flow($flow) });
    });
    return;
}

sub read_tcp_flow {
    my ($flow) = @_;
    my $count = sysread $flow->{fh}, my $bytes, 65536;
    return if !defined $count && ($!{EAGAIN} || $!{EINTR});
    return $flow->{opened}->('failed', "$!") unless defined $count;
    return $flow->{opened}->('closed', 'closed by the server') unless $count;
    $flow->{input} .= $bytes;
    if ($flow->{state} eq 'connecting') {
        return unless $flow->{input} =~ s/^(\S+) \S+ \d+\n//;
        $flow->{server} = $1;
        syswrite $flow->{fh}, "flow $flow->{mode} $flow->{interval_ms}\n";
        $flow->{opened}->('open');
        speak($flow, sub { (send_message($flow->{fh}, $flow->{sent} + 1) // 0) == MESSAGE }) if $flow->{mode} ne 'push-server';
    }
    my $messages = int(length($flow->{input}) / MESSAGE) or return;
    substr($flow->{input}, 0, $messages * MESSAGE) = '';
    $flow->{received} += $messages;
    progress($flow);
    return;
}

# Sends regularly for as long as the flow is open; what does not fit is not sent.
sub speak {
    my ($flow, $send) = @_;
    every($flow->{interval_ms} / 1000, sub {
        return 0 unless $flow->{state} eq 'open';
        $flow->{sent}++ if $send->();
        delivered($flow);
        return 1;
    });
    return;
}

# Messages that the other side's kernel acknowledged.
sub delivered {
    my ($flow) = @_;
    return $flow->{sent} if $flow->{protocol} eq 'udp';
    my $queued = pack 'i', 0;
    return $flow->{acknowledged} unless $flow->{state} eq 'open' && ioctl $flow->{fh}, TIOCOUTQ, $queued;
    my $delivered = $flow->{sent} - int((unpack('i', $queued) + MESSAGE - 1) / MESSAGE);
    if ($delivered > $flow->{acknowledged}) {
        $flow->{acknowledged} = $delivered;
        progress($flow) if $flow->{mode} eq 'push-client';
    }
    return $flow->{acknowledged};
}

sub open_udp_flow {
    my ($flow) = @_;
    my $fh = $flow->{fh} = client_socket($flow, SOCK_DGRAM, IPPROTO_UDP);
    my $key = "$name/$$/$flow->{id}";
    my $request = sub { my ($number) = @_; return defined send $fh, "flow $key $flow->{mode} $flow->{interval_ms} $number", 0 };
    watch_read($fh, sub {
        if (!defined recv $fh, my $datagram, MAX_DATAGRAM, 0) {
            return if $!{EAGAIN} || $!{EINTR};
            return $flow->{opened}->('failed', "$!");
        }
        else { receive_datagram($flow, $request, $datagram) }
    });
    $request->(0) or die "send: $!\n";
    return;
}

sub receive_datagram {
    my ($flow, $request, $datagram) = @_;
    if ($flow->{state} eq 'connecting') {
        (undef, $flow->{server}) = split / /, $datagram;
        $flow->{opened}->('open');
        speak($flow, sub { $request->($flow->{sent} + 1) }) if $flow->{mode} ne 'push-server';
        return;
    }
    $flow->{received}++;
    progress($flow);
    return;
}

sub flow_stat {
    my ($id, $which) = @_;
    my $flow = $flow{$which} or return answer($id, 'error', "no flow $which");
    my $delivered = delivered($flow);
    my $silence = now() - $flow->{progress};
    my $longest = $silence > $flow->{longest} ? $silence : $flow->{longest};
    return answer($id, 'ok', @$flow{qw(state server sent)}, $delivered, $flow->{received},
        int($silence * 1000), int($longest * 1000), $flow->{detail});
}

sub flow_close {
    my ($id, $which) = @_;
    flow_stat($id, $which);
    my $flow = delete $flow{$which} or return;
    send $flow->{fh}, "end $name/$$/$which", 0 if $flow->{protocol} eq 'udp' && defined fileno $flow->{fh};
    return end_flow($flow, 'closed');
}

# ---- repeated probes --------------------------------------------------------------------------------------------------

my %repeat;

sub open_repeat {
    my ($id, @fields) = @_;
    my $interval_ms = pop @fields;
    my %target = read_target(@fields);
    my $repeat = $repeat{$id} = { counts => {}, changes => [], at => {}, last => '' };
    my $probe = sub {
        return 0 unless $repeat{$id};
        my $at_ms = wall_ms();
        start_probe(\%target, sub {
            my ($outcome) = @_;
            $repeat->{counts}{$outcome}++;
            my $times = $repeat->{at}{$outcome} //= [];
            push @$times, $at_ms if @$times < KEPT_TIMES;
            return if $outcome eq $repeat->{last} || @{ $repeat->{changes} } >= KEPT_CHANGES;
            push @{ $repeat->{changes} }, "$at_ms:$outcome";
            $repeat->{last} = $outcome;
        });
        return 1;
    };
    answer($id, 'ok');
    $probe->();
    return every($interval_ms / 1000, $probe);
}

sub repeat_stat {
    my ($id, $which) = @_;
    my $repeat = $repeat{$which} or return answer($id, 'error', "no repeated probe $which");
    my @counts = map { $repeat->{counts}{$_} // 0 } qw(reached blocked refused error);
    return answer($id, 'ok', @counts, @{ $repeat->{changes} });
}

sub repeat_times {
    my ($id, $which, $outcome) = @_;
    my $repeat = $repeat{$which} or return answer($id, 'error', "no repeated probe $which");
    return answer($id, 'ok', @{ $repeat->{at}{$outcome} // [] });
}

# ---- signs of life ----------------------------------------------------------------------------------------------------

# A packet that is not answered because nobody ran who could answer it says nothing about what was done to the packet.
my @stalls;
my ($beat, $beat_ms) = (now(), wall_ms());

sub heartbeat {
    my ($now, $now_ms) = (now(), wall_ms());
    push @stalls, [ $beat_ms, $now_ms ] if $now - $beat > STALL;
    shift @stalls if @stalls > KEPT_STALLS;
    ($beat, $beat_ms) = ($now, $now_ms);
    return 1;
}

sub life {
    my ($id, $since_ms) = @_;
    heartbeat();
    return answer($id, 'ok', wall_ms(), map { "$_->[0]:$_->[1]" } grep { $_->[1] >= $since_ms } @stalls);
}

# ---- commands ---------------------------------------------------------------------------------------------------------

my %command = (
    'serve'       => \&serve,
    'probe'       => sub { my ($id, @fields) = @_; start_probe({ read_target(@fields) }, sub { answer($id, @_) }) },
    'flow-open'   => \&open_flow,
    'flow-stat'   => \&flow_stat,
    'flow-close'  => \&flow_close,
    'repeat-open' => \&open_repeat,
    'repeat-stat' => \&repeat_stat,
    'repeat-times' => \&repeat_times,
    'life'        => \&life,
    'repeat-stop' => sub { my ($id, $which) = @_; repeat_stat($id, $which); delete $repeat{$which} },
);

sub obey {
    my ($line) = @_;
    my ($verb, $id, @fields) = split / /, $line;
    return unless defined $id;
    my $code = $command{$verb} or return answer($id, 'error', "unknown command $verb");
    eval { $code->($id, @fields); 1 } or do { chomp(my $why = $@); answer($id, 'error', $why) };
    return;
}

my $input = '';

sub read_commands {
    my $count = sysread STDIN, $input, 65536, length $input;
    return if !defined $count && ($!{EAGAIN} || $!{EINTR});
    exit 0 unless $count;
    obey($1) while $input =~ s/^([^\n]*)\n//;
    return;
}

# Ctrl-C goes to the whole terminal; this process ends when its parent has cleaned up.
$SIG{$_} = 'IGNORE' for qw(PIPE INT);
$0 = "portcullis-lab-prober $name";
for my $fh (\*STDIN, \*STDOUT) { fcntl $fh, F_SETFL, fcntl($fh, F_GETFL, 0) | O_NONBLOCK }
watch_read(\*STDIN, \&read_commands);
every(HEARTBEAT, \&heartbeat);
loop_once() while 1;
