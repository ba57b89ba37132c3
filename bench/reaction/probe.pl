#!/usr/bin/perl
# Sees when packets begin to follow a change: a UDP datagram every half millisecond, each the first of a flow of its own.
#   probe.pl serve ADDRESS PORT...            answers datagrams
#   probe.pl client                           reads lines: SOURCE ADDRESS PORT allowed|denied MILLISECONDS
# The first answer to a line is "begun": datagrams are on their way and, where denial is waited for, one of them came back. The second
# is the wall clock (ms since the epoch) at which the first datagram was sent that is treated so, and so all after it; or "never" after
# that many milliseconds.
use strict;
use warnings;
use IO::Select;
use Socket;
use Time::HiRes qw(time sleep);

$| = 1;
my ($role, @args) = @ARGV;
use constant { INTERVAL => 0.0005, SILENCE => 0.04 };
my $port = 1024;

if ($role eq 'serve') {
    my ($address, @ports) = @args;
    my $select = IO::Select->new(map { open_udp($address, $_) } @ports);
    print "ready\n";
    while (1) {
        for my $socket ($select->can_read) {
            my $from = recv($socket, my $data, 64, 0);
            send($socket, $data, 0, $from) if defined $from;
        }
    }
}

print "ready\n";
while (my $line = <STDIN>) {
    my ($source, $address, $to, $wanted, $timeout) = split ' ', $line;
    my $at = follow($source, pack_sockaddr_in($to, inet_aton($address)), $wanted eq 'allowed', $timeout / 1000);
    printf "%s\n", defined $at ? sprintf('%.3f', $at * 1000) : 'never';
}

sub open_udp {
    my ($address, $number) = @_;
    socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die "socket: $!\n";
    bind($socket, pack_sockaddr_in($number, inet_aton($address))) or die "bind $address $number: $!\n";
    return $socket;
}

sub follow {
    my ($source, $target, $wanted, $timeout) = @_;
    my $select = IO::Select->new;
    my (%sent, @order);
    my ($began, $answered, $told) = (time, undef, 0);
    my $next = $began;
    while (time - $began < $timeout) {
        my $now = time;
        if ($now >= $next) {
            $next = $now + INTERVAL;
            $port = $port >= 65_000 ? 1024 : $port + 1;
            my $socket = open_udp($source, $port);
            my $at = time;
            send($socket, 'x', 0, $target);
            $sent{fileno $socket} = $at;
            $select->add($socket);
            push @order, [$socket, $at];
            begun(\$told) if $wanted;
        }
        for my $socket ($select->can_read($next > time ? $next - time : 0)) {
            recv($socket, my $data, 64, 0);
            my $at = $sent{fileno $socket};
            $select->remove($socket);
            return $at if $wanted;
            $answered = $at if !defined $answered || $at > $answered;
            begun(\$told);
        }
        if (defined $answered && time - $answered > SILENCE) {
            for (@order) { return $_->[1] if $_->[1] > $answered }
        }
        while (@order && time - $order[0][1] > 2 * SILENCE) {
            my ($socket) = @{ shift @order };
            $select->remove($socket);
            delete $sent{fileno $socket};
            close $socket;
        }
    }
    begun(\$told);
    return undef;
}

sub begun {
    my ($told) = @_;
    print "begun\n" if !$$told;
    $$told = 1;
}
