/**
 * A program for tests: follows nf_tables as the agent does, in the network namespace it is started in, while it does what its first argument
 * names. With a second argument `program` by the tools, else by a socket. Prints JSON: what was heard, in order.
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { FAMILIES } from '../../src/core/vocabulary.ts';
import { systemClock } from '../../src/core/clock.ts';
import { NetfilterMonitor } from '../../src/dataplane/iptables/drift/netfilter-monitor.ts';
import { OwnCommits } from '../../src/dataplane/iptables/drift/own-commits.ts';
import { NetlinkWriter } from '../../src/dataplane/nftables/kernel/netlink-writer.ts';
import { createNftKernel } from '../../src/dataplane/nftables/kernel/nft-kernel.ts';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import { TableMonitor } from '../../src/dataplane/nftables/kernel/table-monitor.ts';
import { TableWriter } from '../../src/dataplane/nftables/table/write-table.ts';
import { runCommand } from '../../src/host/command.ts';
import { listenToCommits } from '../../src/host/commit-listener.ts';
import { openCommitSessions } from '../../src/host/commit-session.ts';
import { versionedMap } from '../../src/core/versioned-map.ts';

/** The programs need a moment to begin, and to print. */
const BEGIN_MS = 500;
const TOLD_MS = 300;
const TABLE = 'portcullis';
const MANY = 5_000;

const [scenario = '', by = 'socket', ...others] = process.argv.slice(2);
const heard: string[] = [];
/** What is asked for is what is tried: no program stands in for a socket. */
const listen = (bufferBytes?: number): typeof listenToCommits => {
  return (options) => {
    if (by === 'program') return undefined;
    const socket = listenToCommits({ ...options, ...(bufferBytes === undefined ? {} : { bufferBytes }) });
    if (!socket) throw new Error('there is no such socket here');
    return socket;
  };
};

/** What is told of others' commits, of iptables and of our table. */
function follow(bufferBytes?: number) {
  const own = new OwnCommits(() => systemClock.now());
  const monitors = FAMILIES.map((family) => {
    const monitor = new NetfilterMonitor({
      family,
      onChange: (change) => {
        if (!own.isOurs(change)) heard.push(`IPv${family} ${change.touched} by ${change.program}`);
      },
      onLoss: (loss) => heard.push(`IPv${family} ${loss}`),
      onListening: () => heard.push(`IPv${family} listening`),
      onMissing: () => heard.push('missing'),
      clock: systemClock,
      listen: listen(bufferBytes),
    });
    monitor.start();
    return monitor;
  });
  const table = new TableMonitor({
    table: TABLE,
    onForeign: (program) => heard.push(`table by ${program}`),
    onLoss: (loss) => heard.push(`table ${loss}`),
    onListening: () => heard.push('table listening'),
    clock: systemClock,
    listen: listen(bufferBytes),
  });
  table.start();
  return { table, own, monitors };
}

function run(command: string, input = ''): void {
  const [program = '', ...args] = command.split(' ');
  execFileSync(program, args, { input, stdio: ['pipe', 'ignore', 'inherit'] });
}

/** In one commit, while this process does nothing else. */
function restoreMany(chain: string, table = 'mangle'): void {
  const rules = Array.from({ length: MANY }, (_, n) => `-A ${chain} -s 10.0.${n >> 8}.${n & 255} -j RETURN`);
  run('iptables-nft-restore --noflush', [`*${table}`, `:${chain} - [0:0]`, ...rules, 'COMMIT', ''].join('\n'));
}

const writer = new TableWriter(TABLE);
const set = { name: 'pods', type: 'ipv4_addr', elements: versionedMap<string, true>() };
const elementOf = (n: number) => writer.addElements(set, [[`10.0.${n >> 8}.${n & 255}`, true]]);

const SCENARIOS: Readonly<Record<string, () => Promise<void>>> = {
  /** Each of the commands that follow. */
  commands: async () => {
    follow();
    await sleep(BEGIN_MS);
    for (const command of others) {
      heard.push(`# ${command}`);
      run(command);
      await sleep(TOLD_MS);
    }
  },
  /** After each of the commands that follow: whether all that was committed was told of, for certain. */
  certain: async () => {
    const { monitors } = follow();
    await sleep(BEGIN_MS);
    for (const command of ['true', ...others]) {
      try {
        run(command);
      } catch {
        // Refused, as it should be.
      }
      const answers = await Promise.all(monitors.map((monitor) => monitor.isToldOfAll()));
      heard.push(`${command}: ${answers.join(' ')}`);
    }
  },
  /** After each of the commands that follow, and after a write of ours: whether our table is as it was left, for certain. */
  'as-left': async () => {
    const { table } = follow();
    const session = new NftSession();
    const netlink = new NetlinkWriter();
    const kernel = table.watched(createNftKernel({ table: TABLE, run: runCommand, session, netlink }));
    await sleep(BEGIN_MS);
    await kernel.write([writer.addTable('inet'), writer.addSet(set)]);
    let writes = 0;
    for (const command of ['true', ...others]) {
      await kernel.read();
      try {
        run(command);
      } catch {
        // Refused, as it should be.
      }
      const isLeft = await kernel.isAsLeft!();
      await kernel.write(elementOf(++writes)).catch(() => {});
      heard.push(`${command}: ${isLeft} ${await kernel.isAsLeft!()}`);
    }
    session.stop();
    netlink.stop();
  },
  many: async () => {
    follow();
    await sleep(BEGIN_MS);
    restoreMany('PCL-MANY');
    await sleep(TOLD_MS);
    run('iptables-nft -t mangle -F PCL-MANY');
    await sleep(TOLD_MS);
  },
  /** Of a socket that holds less than that. */
  overrun: async () => {
    follow(4_096);
    await sleep(BEGIN_MS);
    restoreMany('OTHER');
    await sleep(BEGIN_MS);
    await sleep(BEGIN_MS);
    heard.push('# again');
    run('iptables-nft -t mangle -A FORWARD -j ACCEPT');
    await sleep(TOLD_MS);
  },
  /** More than there is room for, in a table of others. */
  elsewhere: async () => {
    follow(4_096);
    await sleep(BEGIN_MS);
    restoreMany('OTHER', 'nat');
    await sleep(TOLD_MS);
  },
  /** Ours, as fast as they go; then one of others by the same program. */
  own: async () => {
    const { table, own } = follow();
    const session = new NftSession();
    const netlink = new NetlinkWriter();
    const kernel = table.watched(createNftKernel({ table: TABLE, run: runCommand, session, netlink }));
    const byNft = table.watched(createNftKernel({ table: TABLE, run: runCommand, session }));
    await sleep(BEGIN_MS);
    await kernel.write([writer.addTable('inet'), writer.addSet(set)]);
    for (let n = 0; n < 200; n++) {
      await kernel.write(elementOf(n));
      if (n % 4 === 0) await byNft.write([writer.addSet({ ...set, name: `set-${n}` })]);
    }
    const argv = ['iptables-nft-restore', '--noflush', '-w', '5'] as const;
    const sessions = openCommitSessions({ stays: ([program]) => program === argv[0], run: runCommand });
    for (let n = 0; n < 50; n++) {
      own.began(4);
      await sessions.run({
        argv: [...argv],
        stdin: `*mangle\n:PCL-X${n} - [0:0]\n-A PCL-X${n} -j RETURN\nCOMMIT\n`,
        timeoutMs: 10_000,
      });
      own.ended(4, true, true);
      // So that one may be started that stays.
      if (n === 0) await sleep(TOLD_MS);
    }
    await sleep(TOLD_MS);
    heard.push('# others');
    run('iptables-nft-restore --noflush', '*mangle\n-A PCL-X0 -j DROP\nCOMMIT\n');
    run(`nft add element inet ${TABLE} pods { 10.9.9.9 }`);
    await sleep(TOLD_MS);
    session.stop();
    netlink.stop();
    sessions.stop();
  },
  element: async () => {
    await new NetlinkWriter().write(TABLE, elementOf(2));
  },
  /** Somebody else’s netlink message while one of ours is waited for. */
  'same-thread': async () => {
    const { table } = follow();
    const ours = new NetlinkWriter();
    run(`nft add table inet ${TABLE}; add set inet ${TABLE} pods { type ipv4_addr; }`);
    await sleep(BEGIN_MS);
    heard.length = 0;
    const kernel = table.watched({
      read: async () => undefined,
      write: async (commands) => {
        run(`${process.execPath} ${import.meta.filename} element`);
        await ours.write(TABLE, commands);
      },
    });
    await kernel.write(elementOf(1));
    // A program may tell late, and of nothing else it is told here.
    for (let waited = 0; heard.length === 0 && waited < 3_000; waited += TOLD_MS) await sleep(TOLD_MS);
    await sleep(TOLD_MS);
    ours.stop();
  },
};

await SCENARIOS[scenario]!();
process.stdout.write(`${JSON.stringify(heard)}\n`, () => process.exit(0));
