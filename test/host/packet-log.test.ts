/** The reader of logged packets; the program it runs is played, or is a script. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/core/clock.ts';
import type { LineProgramOptions } from '../../src/host/line-program.ts';
import { type LoggedPacket, PacketLog, type PacketLogState } from '../../src/host/packet-log.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

/** As ulogd 2.0.8 prints a SYN. */
const SYN = {
  timestamp: '2026-11-29T07:22:00.983166',
  dvc: 'Netfilter',
  'raw.pktlen': 60,
  'oob.prefix': 'denied ingress PCL-I-abcdefghijklmnop',
  'oob.mark': 0,
  'oob.hook': 2,
  'oob.seq.local': 0,
  'oob.family': 2,
  'ip.protocol': 6,
  src_port: 59700,
  dest_port: 80,
  'tcp.syn': 1,
  'oob.in': 'eni1',
  'oob.out': 'eni2',
  src_ip: '10.0.0.1',
  dest_ip: '10.0.0.2',
};

function played() {
  const clock = new VirtualClock();
  const runs: LineProgramOptions[] = [];
  const packets: LoggedPacket[] = [];
  const states: PacketLogState[] = [];
  let lost = 0;
  const log = new PacketLog({
    group: 7,
    onPacket: (packet) => packets.push(packet),
    onLost: (count) => (lost += count),
    onState: (state) => states.push(state),
    clock,
    start: (options) => {
      runs.push(options);
      return { write: () => Promise.resolve(), endInput() {}, kill() {} };
    },
  });
  const line = (fields: object): void => runs.at(-1)!.onLine(JSON.stringify({ ...SYN, ...fields }));
  const end = (complaint = '', isMissing = false): void => runs.at(-1)!.ended({ isMissing, code: 1, complaint });
  return { clock, runs, packets, states, lost: () => lost, log, line, end };
}

describe('packets as ulogd prints them', () => {
  it('are read with prefix, addresses, ports, type and interfaces', () => {
    const { log, line, packets, runs } = played();
    log.start();
    line({});
    line({
      'ip.protocol': 58,
      src_ip: '2001:DB8:0::1',
      dest_ip: '::2',
      'icmpv6.type': 128,
      src_port: undefined,
      dest_port: undefined,
    });
    line({ 'ip.protocol': 1, 'icmp.type': 8, src_port: undefined, dest_port: undefined, 'oob.out': '' });
    const { prefix } = packets[0]!;
    assert.equal(prefix, SYN['oob.prefix']);
    const between = { prefix, source: '10.0.0.1', destination: '10.0.0.2', inInterface: 'eni1', outInterface: 'eni2' };
    assert.deepEqual(packets, [
      { ...between, protocol: 6, sourcePort: 59700, destinationPort: 80 },
      { ...between, protocol: 58, source: '2001:db8::1', destination: '::2', icmpType: 128 },
      { ...between, protocol: 1, icmpType: 8, outInterface: '' },
    ]);
    for (const odd of ['', 'x', '{', '[]', 'null', '{"src_ip":"10.0.0.1"}']) runs[0]!.onLine(odd);
    line({ src_ip: 'x' });
    line({ 'ip.protocol': 'x' });
    assert.equal(packets.length, 3);
    log.stop();
  });

  it('that were lost are counted by the gap they leave; a reader that starts anew counts anew', () => {
    const { log, line, end, lost, clock } = played();
    log.start();
    line({ 'oob.seq.local': 0 });
    line({ 'oob.seq.local': 1 });
    assert.equal(lost(), 0);
    line({ 'oob.seq.local': 12 });
    assert.equal(lost(), 10);
    end();
    clock.advance(1000);
    line({ 'oob.seq.local': 500 });
    line({ 'oob.seq.local': 501 });
    assert.equal(lost(), 10);
    log.stop();
  });

  it('are not read beyond a thousand a second, and counted', () => {
    const { log, line, lost, packets, clock } = played();
    log.start();
    for (let sequence = 0; sequence < 5_000; sequence++) line({ 'oob.seq.local': sequence });
    assert.equal(packets.length, 1_000);
    clock.advance(1000);
    line({ 'oob.seq.local': 5_000 });
    assert.equal(packets.length, 1_001);
    assert.equal(lost(), 4_000);
    log.stop();
  });
});

describe('fault: the reader of denied packets', () => {
  it('ends: it is started again, at once where it had run', () => {
    const { log, end, runs, states, clock } = played();
    log.start();
    clock.advance(600);
    assert.deepEqual(log.state, { kind: 'reading' });
    end('killed');
    assert.deepEqual(log.state, { kind: 'starting' });
    clock.advance(300);
    assert.equal(runs.length, 2);
    clock.advance(600);
    assert.deepEqual(
      states.map(({ kind }) => kind),
      ['reading', 'starting', 'reading'],
    );
    log.stop();
    end();
    clock.advance(60_000);
    assert.equal(runs.length, 2);
  });

  it('cannot begin: it is tried less and less often, and says why', () => {
    const { log, end, runs, states, clock } = played();
    log.start();
    const complaint =
      'Sun Nov 29 07:22:41 2026 <7> ulogd_inppkt_NFLOG.c:600 unable to open netlink socket\n' +
      "Sun Nov 29 07:22:41 2026 <7> ulogd.c:945 error starting `log1'\nFatal error.\n";
    const waits: number[] = [];
    for (let round = 1; round <= 10; round++) {
      end(complaint);
      const endedMs = clock.now();
      while (runs.length === round) clock.advance(100);
      waits.push(clock.now() - endedMs);
    }
    assert.deepEqual(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    assert.deepEqual(states, [{ kind: 'failing', complaint: 'unable to open netlink socket' }]);
    clock.advance(600);
    assert.deepEqual(log.state, { kind: 'reading' });
    log.stop();
  });

  it('is not installed, or without the part that prints JSON, or finds the group taken', () => {
    const rows: readonly [complaint: string, isMissing: boolean, kind: string][] = [
      ['', true, 'missing'],
      ['sh: 1: exec: ulogd: not found', true, 'missing'],
      ["<8> ulogd.c:1000 can't find requested plugin JSON\nFatal error.", false, 'missing'],
      ['<7> ulogd_inppkt_NFLOG.c:619 unable to bind to log group 9847\nFatal error.', false, 'taken'],
      ['', false, 'failing'],
    ];
    for (const [complaint, isMissing, kind] of rows) {
      const { log, end } = played();
      log.start();
      end(complaint, isMissing);
      assert.equal(log.state.kind, kind, complaint);
      log.stop();
    }
  });
});

describe('the program that reads packets', () => {
  /** Runs the reader with a script in place of ulogd; gives what it read within a second. */
  async function withUlogd(
    script: string,
    missing?: string,
  ): Promise<{ readonly packets: LoggedPacket[]; readonly state: PacketLogState }> {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-test-'));
    writeFileSync(join(folder, 'ulogd'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, 'ulogd'), 0o755);
    if (missing !== undefined) {
      writeFileSync(join(folder, missing), `#!/bin/sh\necho 'sh: 1: ${missing}: not found' >&2\nexit 127\n`);
      chmodSync(join(folder, missing), 0o755);
    }
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path}`;
    const packets: LoggedPacket[] = [];
    const log = new PacketLog({
      group: 4711,
      onPacket: (packet) => packets.push(packet),
      onLost: () => {},
      onState: () => {},
      clock: systemClock,
    });
    try {
      log.start();
      for (let round = 0; round < 100 && packets.length === 0; round++) await sleep(10);
      await sleep(600);
      return { packets, state: log.state };
    } finally {
      process.env.PATH = path;
      log.stop();
      rmSync(folder, { recursive: true });
    }
  }

  const print = `printf '%s\\n' '${JSON.stringify(SYN)}'`;

  it('reads its configuration more than once, and prints by the name of its output', async () => {
    const before = leftovers();
    const twice = 'grep -q "^group=4711$" "$3" && grep -q "^stack=.*JSON$" "$3"';
    const { packets, state } = await withUlogd(`${twice} && ${print} >>/dev/stdout; exec sleep 60`);
    assert.equal(packets.length, 1);
    assert.deepEqual(state, { kind: 'reading' });
    assert.deepEqual(leftovers(), before);
  });

  it('that ends at once is not taken for one that reads', async () => {
    const { state } = await withUlogd('echo "unable to bind to log group 4711" >&2; exit 1');
    assert.deepEqual(state, { kind: 'taken' });
  });

  it('fault: a program that starts the reader of denied packets is missing: said, and nothing is left of each try', async () => {
    const before = leftovers();
    const { state } = await withUlogd('exec sleep 60', 'mkfifo');
    assert.deepEqual(state, { kind: 'missing', complaint: 'sh: 1: mkfifo: not found' });
    assert.deepEqual(leftovers(), before);
  });

  /** Folders that these readers made. */
  function leftovers(): string[] {
    return ['/dev/shm', tmpdir()]
      .flatMap((place) => readdirSync(place).map((name) => join(place, name, 'conf')))
      .filter((file) => file.includes('portcullis-') && existsSync(file))
      .filter((file) => readFileSync(file, 'utf8').includes('\ngroup=4711\n'));
  }
});
