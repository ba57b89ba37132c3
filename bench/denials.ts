/**
 * Suite *denials*: a thousand denied datagrams a second, beside edits of a policy of which the time until packets follow is taken. What
 * the drop log costs is the difference between the rows.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, type AgentProcess, until } from '../test/support/agent-lab.ts';
import { backendsOf, isIptables, type MeasuredBackend } from './backends.ts';
import { describeMachine } from './machine.ts';
import { median } from './statistics.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

const SECONDS = 60;
const QUICK_SECONDS = 3;
const PER_SECOND = 1_000;
const EDIT_PAUSE_MS = 400;
/** Whatever else the machine does. */
const READY_MS = 60_000;
/** One command that runs inside of a pod has 20 s. */
const PORTION_SECONDS = 10;

/** Datagrams to one port, or each to another; ARGV: address, seconds, a second, how many ports. */
const FLOOD =
  'use Socket; use Time::HiRes qw(sleep time); socket(my $s, PF_INET, SOCK_DGRAM, 0); my $to = inet_aton($ARGV[0]); my ($n, $began) = (0, time);' +
  'while ((my $t = time - $began) < $ARGV[1]) { while ($n < $t * $ARGV[2]) { send($s, "x", 0, sockaddr_in(2000 + $n++ % $ARGV[3], $to)) } sleep 0.005 } print $n';

interface Case {
  readonly what: string;
  readonly flags: readonly string[];
  /** 0: no datagrams. */
  readonly ports: number;
}

const CASES: readonly Case[] = [
  { what: '--drop-log=false, no datagrams', flags: ['--drop-log=false'], ports: 0 },
  { what: '--drop-log=false', flags: ['--drop-log=false'], ports: 1 },
  { what: 'default rate, one flow', flags: [], ports: 1 },
  { what: 'default rate, each to another port', flags: [], ports: 60_000 },
  { what: 'all handed over, one flow', flags: ['--drop-log-rate=5000'], ports: 1 },
  { what: 'all handed over, each to another port', flags: ['--drop-log-rate=5000'], ports: 60_000 },
];

interface Used {
  readonly agentMs: number;
  readonly readerMs: number;
  readonly logged: number;
  readonly leftOut: number;
}

export async function run(options: SuiteOptions): Promise<SuiteResult> {
  const seconds = options.quick ? QUICK_SECONDS : SECONDS;
  const tables: Table[] = [];
  for (const backend of backendsOf(options, ['iptables-nft', 'nftables'])) {
    const t = await AgentLab.create({ backend: isIptables(backend) ? backend : 'iptables-nft' });
    try {
      tables.push(await tableOf(t, backend, seconds));
    } finally {
      await t.close();
    }
  }
  return { suite: 'denials', machine: describeMachine(), tables, raw: tables.map(({ rows }) => rows) };
}

async function tableOf(t: AgentLab, backend: MeasuredBackend, seconds: number): Promise<Table> {
  await t.pods({ 'x/server': {}, 'x/client': {}, 'x/other': {} });
  t.policy('x/none', { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] });
  const rows: (readonly (string | number)[])[] = [];
  for (const each of CASES) rows.push(await measure(t, backend, each, seconds));
  return {
    title: `${PER_SECOND} denied datagrams a second for ${seconds} s, ${backend}, agent run from source`,
    note: 'CPU of one core. Beside them a policy is made or deleted every 0.4 s: until packets follow, median. Probes of that are denied and told as well.',
    columns: ['rules', 'sent', 'agent CPU', 'ulogd CPU', 'agent MB', 'lines', 'left out', 'edits', 'in force, ms'],
    rows,
  };
}

async function measure(
  t: AgentLab,
  backend: MeasuredBackend,
  { what, flags, ports }: Case,
  seconds: number,
): Promise<(string | number)[]> {
  const agent = t.launch('node-1', { flags, dataplane: isIptables(backend) ? 'iptables' : backend });
  try {
    await agent.ready(READY_MS);
    if (isIptables(backend)) await t.restingText();
    await sleep(1_000);
    const before = await used(agent);
    const began = performance.now();
    const flood = ports === 0 ? sleep(seconds * 1000).then(() => 0) : sendAll(t, seconds, ports);
    const edits = await editUntil(t, flood);
    const tookMs = performance.now() - began;
    const after = await used(agent);
    const percent = (ms: number): string => `${((100 * ms) / tookMs).toFixed(1)} %`;
    return [
      what,
      await flood,
      percent(after.agentMs - before.agentMs),
      percent(after.readerMs - before.readerMs),
      Math.round(residentMB(agent.pid)),
      after.logged - before.logged,
      after.leftOut - before.leftOut,
      edits.length,
      Math.round(median(edits)),
    ];
  } finally {
    await agent.end('SIGTERM');
  }
}

async function sendAll(t: AgentLab, seconds: number, ports: number): Promise<number> {
  let sent = 0;
  for (let left = seconds; left > 0; left -= PORTION_SECONDS) {
    const argv = [t.address('x/server'), Math.min(left, PORTION_SECONDS), PER_SECOND, ports].map(String);
    sent += Number(await t.inside('x/client', ['perl', '-e', FLOOD, ...argv]));
  }
  return sent;
}

/** Milliseconds from each edit to packets that follow it. */
async function editUntil(t: AgentLab, end: Promise<unknown>): Promise<readonly number[]> {
  const late = { podSelector: { matchLabels: { pod: 'other' } }, policyTypes: ['Ingress'] };
  const took: number[] = [];
  let isOver = false;
  void end.then(() => (isOver = true));
  for (let denies = true; !isOver || !denies; denies = !denies) {
    await sleep(EDIT_PAUSE_MS);
    const began = performance.now();
    if (denies) t.policy('x/late', late);
    else t.deletePolicy('x/late');
    const wanted = denies ? ('x/client -x x/other' as const) : ('x/client -> x/other' as const);
    await until(async () => (await t.wrong([wanted])).length === 0, wanted, 20_000);
    took.push(performance.now() - began);
  }
  return took;
}

async function used(agent: AgentProcess): Promise<Used> {
  const reader = readerOf(agent.pid);
  return {
    agentMs: ownCpuMs(agent.pid),
    readerMs: reader === undefined ? 0 : ownCpuMs(reader),
    logged: await agent.metric('portcullis_denials_logged_total'),
    leftOut: await agent.metric('portcullis_denials_left_out_total'),
  };
}

/** proc(5): utime and stime are fields 14 and 15; what follows the name in parentheses begins with field 3. A tick is 10 ms. */
function ownCpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[14 - 3]) + Number(fields[15 - 3])) * 10;
}

function residentMB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

function readerOf(pid: number): number | undefined {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
  const isReader = (child: number): boolean => readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'ulogd';
  return children.find(isReader) ?? children.map(readerOf).find((found) => found !== undefined);
}
